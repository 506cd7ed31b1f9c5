//! Reads conditions, updates and projections, by recursive descent. Statements share it.

use super::lexer::{Token, tokens};
use super::reserved::is_reserved;
use super::tree::{Comparison, Condition, Operand, Path, Step, Update, Uses};
use super::{Dialect, Syntax};
use crate::aws_sim::dynamo::number::Number;
use crate::aws_sim::dynamo::value::Value;

/// Deeper nesting is refused, so that a hostile expression cannot exhaust the stack.
const DEPTH_MAX: u32 = 64;

#[derive(Debug)]
pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    dialect: Dialect,
    depth: u32,
    pub(crate) uses: Uses,
}

impl Parser {
    pub(crate) fn new(text: &str, dialect: Dialect) -> Result<Self, Syntax> {
        let tokens = tokens(text, dialect)?;
        if tokens.is_empty() {
            return Err(Syntax("The expression can not be empty;".to_owned()));
        }
        Ok(Self { tokens, at: 0, dialect, depth: 0, uses: Uses::default() })
    }

    /// The error at this place.
    pub(crate) fn unexpected<T>(&self) -> Result<T, Syntax> {
        let near: Vec<_> = self.tokens.iter().skip(self.at.saturating_sub(1)).take(3).collect();
        match self.tokens.get(self.at) {
            Some(token) => Err(Syntax(format!("Syntax error; token: {token:?}, near: {near:?}"))),
            None => Err(Syntax(format!("Syntax error; token: <EOF>, near: {near:?}"))),
        }
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Syntax> {
        if self.at == self.tokens.len() { Ok(()) } else { self.unexpected() }
    }

    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        match self.tokens.get(self.at + ahead) {
            Some(Token::Word(found)) => found.eq_ignore_ascii_case(word),
            _ => false,
        }
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol)
    }

    /// Takes a keyword, if it comes next.
    pub(crate) fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect_word(&mut self, word: &str) -> Result<(), Syntax> {
        if self.word(word) { Ok(()) } else { self.unexpected() }
    }

    pub(crate) fn expect(&mut self, symbol: &str) -> Result<(), Syntax> {
        if self.symbol(symbol) { Ok(()) } else { self.unexpected() }
    }

    fn enter(&mut self) -> Result<(), Syntax> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Syntax("The expression is nested too deeply".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn condition(&mut self) -> Result<Condition, Syntax> {
        self.enter()?;
        let mut left = self.conjunction()?;
        while self.word("OR") {
            left = Condition::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Condition, Syntax> {
        let mut left = self.negation()?;
        while self.word("AND") {
            left = Condition::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Condition, Syntax> {
        if !self.word("NOT") {
            return self.predicate();
        }
        self.enter()?;
        let inner = self.negation()?;
        self.depth -= 1;
        Ok(Condition::Not(Box::new(inner)))
    }

    fn predicate(&mut self) -> Result<Condition, Syntax> {
        if self.symbol("(") {
            let inner = self.condition()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if let Some(condition) = self.test()? {
            return Ok(condition);
        }
        let left = self.operand()?;
        if let Some(comparison) = self.comparison() {
            return Ok(Condition::Compare(left, comparison, self.operand()?));
        }
        if self.word("BETWEEN") {
            let low = self.operand()?;
            self.expect_word("AND")?;
            return Ok(Condition::Between(left, low, self.operand()?));
        }
        if self.word("IN") {
            let close = if self.dialect == Dialect::Statement && self.symbol("[") {
                "]"
            } else {
                self.expect("(")?;
                ")"
            };
            let mut list = vec![self.operand()?];
            while self.symbol(",") {
                list.push(self.operand()?);
            }
            self.expect(close)?;
            return Ok(Condition::In(left, list));
        }
        if self.dialect == Dialect::Statement && self.word("IS") {
            return self.is(left);
        }
        self.unexpected()
    }

    /// `IS [NOT] MISSING` and `IS [NOT] NULL`, of statements.
    fn is(&mut self, left: Operand) -> Result<Condition, Syntax> {
        let Operand::Path(path) = left else { return self.unexpected() };
        let negated = self.word("NOT");
        let condition = if self.word("MISSING") {
            Condition::Not(Box::new(Condition::Exists(path)))
        } else if self.word("NULL") {
            Condition::IsType(path, Operand::Literal(Value::S("NULL".to_owned())))
        } else {
            return self.unexpected();
        };
        Ok(if negated { Condition::Not(Box::new(condition)) } else { condition })
    }

    /// A function that is a condition.
    fn test(&mut self) -> Result<Option<Condition>, Syntax> {
        const TESTS: [&str; 5] = [
            "attribute_exists",
            "attribute_not_exists",
            "attribute_type",
            "begins_with",
            "contains",
        ];
        let Some(Token::Word(word)) = self.peek() else { return Ok(None) };
        // Names of functions are in lower case in expressions.
        let is_call = matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("(")));
        let Some(name) = TESTS.iter().find(|name| is_call && *name == word) else {
            return Ok(None);
        };
        self.at += 2;
        let condition = match *name {
            "attribute_exists" => Condition::Exists(self.path()?),
            "attribute_not_exists" => Condition::Not(Box::new(Condition::Exists(self.path()?))),
            "attribute_type" => {
                let path = self.path()?;
                self.expect(",")?;
                Condition::IsType(path, self.operand()?)
            }
            name => {
                let (left, right) = self.two()?;
                match name {
                    "contains" => Condition::Contains(left, right),
                    _ => Condition::BeginsWith(left, right),
                }
            }
        };
        self.expect(")")?;
        Ok(Some(condition))
    }

    fn two(&mut self) -> Result<(Operand, Operand), Syntax> {
        let left = self.operand()?;
        self.expect(",")?;
        Ok((left, self.operand()?))
    }

    pub(crate) fn comparison(&mut self) -> Option<Comparison> {
        let Some(Token::Symbol(symbol)) = self.peek() else { return None };
        let comparison = match *symbol {
            "=" => Comparison::Equal,
            "<>" | "!=" => Comparison::Differs,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::More,
            ">=" => Comparison::MoreOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    /// `operand`, `operand + operand` or `operand - operand`.
    pub(crate) fn sum(&mut self) -> Result<Operand, Syntax> {
        let left = self.operand()?;
        if self.symbol("+") {
            return Ok(Operand::Add(Box::new(left), Box::new(self.operand()?)));
        }
        if self.symbol("-") {
            return Ok(Operand::Subtract(Box::new(left), Box::new(self.operand()?)));
        }
        Ok(left)
    }

    pub(crate) fn operand(&mut self) -> Result<Operand, Syntax> {
        self.enter()?;
        let operand = match self.peek().cloned() {
            Some(Token::Placeholder(name)) => {
                self.at += 1;
                self.uses.placeholders.push(name.clone());
                Operand::Placeholder(name)
            }
            Some(Token::Word(word))
                if matches!(self.tokens.get(self.at + 1), Some(Token::Symbol("("))) =>
            {
                self.at += 2;
                let call = self.call(&word)?;
                self.expect(")")?;
                call
            }
            Some(_) if self.dialect == Dialect::Statement => self.literal()?,
            _ => Operand::Path(self.path()?),
        };
        self.depth -= 1;
        Ok(operand)
    }

    fn call(&mut self, name: &str) -> Result<Operand, Syntax> {
        match (name, self.dialect) {
            ("size", _) => Ok(Operand::Size(self.path()?)),
            ("if_not_exists", Dialect::Expression) => {
                let path = self.path()?;
                self.expect(",")?;
                Ok(Operand::IfNotExists(path, Box::new(self.operand()?)))
            }
            ("list_append", _) => {
                let (left, right) = self.two()?;
                Ok(Operand::ListAppend(Box::new(left), Box::new(right)))
            }
            ("set_add" | "set_delete", Dialect::Statement) => {
                let path = self.path()?;
                self.expect(",")?;
                let set = Box::new(self.operand()?);
                let is_add = name == "set_add";
                Ok(if is_add { Operand::SetAdd(path, set) } else { Operand::SetDelete(path, set) })
            }
            _ => Err(Syntax(format!("Invalid function name; function: {name}"))),
        }
    }

    /// A value of a statement, or a path.
    fn literal(&mut self) -> Result<Operand, Syntax> {
        if self.symbol("?") {
            self.uses.parameters += 1;
            return Ok(Operand::Parameter(self.uses.parameters - 1));
        }
        let negative = self.is_symbol("-");
        if let Some(Token::Number(text)) = self.tokens.get(self.at + usize::from(negative)) {
            let sign = if negative { "-" } else { "" };
            let number = Number::parse(&format!("{sign}{text}"));
            let number = number.map_err(|error| Syntax(error.to_string()))?;
            self.at += 1 + usize::from(negative);
            return Ok(Operand::Literal(Value::N(number)));
        }
        if let Some(Token::Text(text)) = self.peek() {
            let text = text.clone();
            self.at += 1;
            return Ok(Operand::Literal(Value::S(text)));
        }
        for (word, value) in
            [("TRUE", Value::Bool(true)), ("FALSE", Value::Bool(false)), ("NULL", Value::Null)]
        {
            if self.word(word) {
                return Ok(Operand::Literal(value));
            }
        }
        if self.symbol("[") {
            return Ok(Operand::List(self.list("]")?));
        }
        if self.symbol("{") {
            return self.map();
        }
        Ok(Operand::Path(self.path()?))
    }

    fn list(&mut self, close: &str) -> Result<Vec<Operand>, Syntax> {
        let mut list = Vec::new();
        while !self.symbol(close) {
            if !list.is_empty() {
                self.expect(",")?;
            }
            list.push(self.operand()?);
        }
        Ok(list)
    }

    fn map(&mut self) -> Result<Operand, Syntax> {
        let mut map = Vec::new();
        while !self.symbol("}") {
            if !map.is_empty() {
                self.expect(",")?;
            }
            let Some(Token::Text(name)) = self.peek().cloned() else { return self.unexpected() };
            self.at += 1;
            self.expect(":")?;
            map.push((name, self.operand()?));
        }
        Ok(Operand::Map(map))
    }

    pub(crate) fn path(&mut self) -> Result<Path, Syntax> {
        let mut path = vec![self.step()?];
        loop {
            if self.symbol(".") {
                path.push(self.step()?);
            } else if self.is_symbol("[") {
                self.at += 1;
                let Some(Token::Number(text)) = self.peek() else { return self.unexpected() };
                let Ok(index) = text.parse() else { return self.unexpected() };
                self.at += 1;
                self.expect("]")?;
                path.push(Step::Index(index));
            } else {
                return Ok(path);
            }
        }
    }

    pub(crate) fn step(&mut self) -> Result<Step, Syntax> {
        let step = match self.peek().cloned() {
            Some(Token::Alias(name)) => {
                self.uses.aliases.push(name.clone());
                Step::Alias(name)
            }
            Some(Token::Quoted(name)) => Step::Name(name),
            Some(Token::Word(word)) if is_reserved(&word) => match self.dialect {
                Dialect::Expression => {
                    return Err(Syntax(format!(
                        "Attribute name is a reserved keyword; reserved keyword: {word}"
                    )));
                }
                // Statements have reserved words of their own; these are the ones that ours use.
                Dialect::Statement if STATEMENT_WORDS.contains(&&*word.to_ascii_uppercase()) => {
                    return self.unexpected();
                }
                Dialect::Statement => Step::Name(word),
            },
            Some(Token::Word(word)) => Step::Name(word),
            _ => return self.unexpected(),
        };
        self.at += 1;
        Ok(step)
    }

    /// The clauses of an update expression.
    pub(crate) fn update(&mut self) -> Result<Update, Syntax> {
        let mut update = Update::default();
        let mut seen = Vec::new();
        while self.peek().is_some() {
            let clauses = ["SET", "REMOVE", "ADD", "DELETE"];
            let Some(clause) = clauses.into_iter().find(|clause| self.word(clause)) else {
                return self.unexpected();
            };
            if seen.contains(&clause) {
                return Err(Syntax(format!(
                    "The \"{clause}\" section can only be used once in an update expression;"
                )));
            }
            seen.push(clause);
            loop {
                let path = self.path()?;
                match clause {
                    "SET" => {
                        self.expect("=")?;
                        update.set.push((path, self.sum()?));
                    }
                    "REMOVE" => update.remove.push(path),
                    "ADD" => update.add.push((path, self.operand()?)),
                    _ => update.delete.push((path, self.operand()?)),
                }
                if !self.symbol(",") {
                    break;
                }
            }
        }
        Ok(update)
    }

    /// Paths, separated by commas.
    pub(crate) fn projection(&mut self) -> Result<Vec<Path>, Syntax> {
        let mut paths = vec![self.path()?];
        while self.symbol(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }
}

/// Words that end a name in a statement.
const STATEMENT_WORDS: [&str; 29] = [
    "SELECT",
    "FROM",
    "WHERE",
    "SET",
    "REMOVE",
    "RETURNING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "BETWEEN",
    "INSERT",
    "INTO",
    "VALUE",
    "UPDATE",
    "DELETE",
    "ORDER",
    "BY",
    "ALL",
    "MODIFIED",
    "OLD",
    "NEW",
    "MISSING",
    "NULL",
    "TRUE",
    "FALSE",
    "ASC",
    "DESC",
];
