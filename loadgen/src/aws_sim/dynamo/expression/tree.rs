//! What expressions and statements mean, once they are parsed.

use crate::aws_sim::dynamo::value::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    /// `#name`.
    Alias(String),
    Index(usize),
}

/// Where in an item: never empty, and begins with a name or an alias.
pub(crate) type Path = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Path(Path),
    /// `:value`.
    Placeholder(String),
    /// The `?` of this number.
    Parameter(usize),
    Literal(Value),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
    Size(Path),
    Add(Box<Self>, Box<Self>),
    Subtract(Box<Self>, Box<Self>),
    IfNotExists(Path, Box<Self>),
    ListAppend(Box<Self>, Box<Self>),
    SetAdd(Path, Box<Self>),
    SetDelete(Path, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Compare(Operand, Comparison, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    IsType(Path, Operand),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
}

/// Changes of an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Update {
    pub(crate) set: Vec<(Path, Operand)>,
    pub(crate) remove: Vec<Path>,
    pub(crate) add: Vec<(Path, Operand)>,
    pub(crate) delete: Vec<(Path, Operand)>,
}

impl Update {
    /// Every path that it changes.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let changes = self.set.iter().chain(&self.add).chain(&self.delete);
        changes.map(|(path, _)| path).chain(&self.remove)
    }
}

/// What an expression refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) aliases: Vec<String>,
    pub(crate) placeholders: Vec<String>,
    /// How many `?` there are.
    pub(crate) parameters: usize,
}
