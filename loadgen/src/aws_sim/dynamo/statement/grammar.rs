//! The grammar of `PartiQL`, as far as DynamoDB has it.

use crate::aws_sim::dynamo::expression::{
    Condition, Operand, Parser, Path, Step, Syntax, Token, Update,
};

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    Select(Select),
    Insert { table: String, item: Operand },
    Update { table: String, update: Update, condition: Condition, returning: Option<Returning> },
    Delete { table: String, condition: Condition, returning: Option<Returning> },
}

/// `SELECT`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Select {
    pub(super) table: String,
    pub(super) index: Option<String>,
    /// `None` for all.
    pub(super) paths: Option<Vec<Path>>,
    pub(super) condition: Option<Condition>,
    /// Whether the order is the reverse of the sort key's.
    pub(super) descending: bool,
}

/// What a write gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returning {
    AllOld,
    AllNew,
    ModifiedOld,
    ModifiedNew,
}

impl Statement {
    pub(super) fn table(&self) -> &str {
        match self {
            Self::Select(Select { table, .. })
            | Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. } => table,
        }
    }
}

pub(super) fn read(parser: &mut Parser) -> Result<Statement, Syntax> {
    if parser.word("UPDATE") {
        return update(parser);
    }
    if parser.word("INSERT") {
        parser.expect_word("INTO")?;
        let table = name(parser)?;
        parser.expect_word("VALUE")?;
        let item = parser.operand()?;
        return Ok(Statement::Insert { table, item });
    }
    if parser.word("DELETE") {
        parser.expect_word("FROM")?;
        let table = name(parser)?;
        parser.expect_word("WHERE")?;
        let condition = parser.condition()?;
        let returning = returning(parser)?;
        return Ok(Statement::Delete { table, condition, returning });
    }
    parser.expect_word("SELECT")?;
    select(parser)
}

fn name(parser: &mut Parser) -> Result<String, Syntax> {
    // The name of a table is one step of a path, whose text is taken as it is.
    match parser.step()? {
        Step::Name(name) => Ok(name),
        Step::Alias(_) | Step::Index(_) => parser.unexpected(),
    }
}

fn update(parser: &mut Parser) -> Result<Statement, Syntax> {
    let table = name(parser)?;
    let mut update = Update::default();
    loop {
        if parser.word("SET") {
            loop {
                let path = parser.path()?;
                parser.expect("=")?;
                update.set.push((path, parser.sum()?));
                if !parser.symbol(",") {
                    break;
                }
            }
        } else if parser.word("REMOVE") {
            update.remove.push(parser.path()?);
            while parser.symbol(",") {
                update.remove.push(parser.path()?);
            }
        } else {
            break;
        }
    }
    if update.paths().next().is_none() {
        return parser.unexpected();
    }
    parser.expect_word("WHERE")?;
    let condition = parser.condition()?;
    let returning = returning(parser)?;
    Ok(Statement::Update { table, update, condition, returning })
}

fn returning(parser: &mut Parser) -> Result<Option<Returning>, Syntax> {
    if !parser.word("RETURNING") {
        return Ok(None);
    }
    let all = parser.word("ALL");
    if !all {
        parser.expect_word("MODIFIED")?;
    }
    let old = parser.word("OLD");
    if !old {
        parser.expect_word("NEW")?;
    }
    parser.expect("*")?;
    Ok(Some(match (all, old) {
        (true, true) => Returning::AllOld,
        (true, false) => Returning::AllNew,
        (false, true) => Returning::ModifiedOld,
        (false, false) => Returning::ModifiedNew,
    }))
}

fn select(parser: &mut Parser) -> Result<Statement, Syntax> {
    let paths = match parser.symbol("*") {
        true => None,
        false => Some(parser.projection()?),
    };
    parser.expect_word("FROM")?;
    let table = name(parser)?;
    let index = match parser.symbol(".") {
        true => Some(name(parser)?),
        false => None,
    };
    let condition = match parser.word("WHERE") {
        true => Some(parser.condition()?),
        false => None,
    };
    let mut descending = false;
    if parser.word("ORDER") {
        parser.expect_word("BY")?;
        // Only the sort key can be meant.
        parser.path()?;
        descending = parser.word("DESC");
        if !descending {
            parser.word("ASC");
        }
    }
    if let Some(token) = parser.peek() {
        let token: Token = token.clone();
        return Err(Syntax(format!("Unexpected {token:?}")));
    }
    Ok(Statement::Select(Select { table, index, paths, condition, descending }))
}
