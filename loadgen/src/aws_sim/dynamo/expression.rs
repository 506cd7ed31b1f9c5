//! Condition, update, projection and key expressions: parsed once, kept by their text, evaluated
//! against items.
//!
//! Hostile input costs bounded work: lengths, nesting and the number of kept expressions are
//! limited.

mod evaluate;
mod lexer;
mod parser;
mod reserved;
mod tree;
mod update;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::value::Value;
use crate::aws_sim::refusal::Refusal;
use crate::shared::lock;

pub(super) use self::evaluate::{Scope, project, test};
pub(super) use self::lexer::Token;
pub(super) use self::parser::Parser;
pub(super) use self::tree::{Comparison, Condition, Operand, Path, Step, Update, Uses};
pub(super) use self::update::apply;

/// Programs use few expressions; who makes up a new one for every call pays for parsing.
const KEPT_MAX: usize = 1_000;

/// Which language a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `ConditionExpression` and its like.
    Expression,
    /// `PartiQL`.
    Statement,
}

/// Why a text cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Syntax(pub(crate) String);

impl Syntax {
    fn at(rest: &str) -> Self {
        let near: String = rest.chars().take(12).collect();
        Self(format!("Syntax error; token: {near:?}"))
    }
}

/// Something parsed, and what it refers to.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    pub(super) tree: T,
    pub(super) uses: Uses,
}

/// Parsed texts of one kind.
#[derive(Debug)]
pub(super) struct Kept<T> {
    kind: &'static str,
    by_text: Mutex<HashMap<String, Arc<Parsed<T>>>>,
}

impl<T> Kept<T> {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, by_text: Mutex::default() }
    }

    /// The meaning of `text`.
    pub(super) fn parse(
        &self,
        text: &str,
        dialect: Dialect,
        read: impl FnOnce(&mut Parser) -> Result<T, Syntax>,
    ) -> Result<Arc<Parsed<T>>, Refusal> {
        if let Some(parsed) = lock(&self.by_text).get(text) {
            return Ok(Arc::clone(parsed));
        }
        let read_all = || {
            let mut parser = Parser::new(text, dialect)?;
            let tree = read(&mut parser)?;
            parser.end()?;
            Ok(Parsed { tree, uses: parser.uses })
        };
        let parsed = read_all().map_err(|error: Syntax| match dialect {
            Dialect::Expression => Refusal::invalid(format!("Invalid {}: {error}", self.kind)),
            Dialect::Statement => Refusal::invalid(format!(
                "Statement wasn't well formed, can't be processed: {error}"
            )),
        })?;
        let parsed = Arc::new(parsed);
        let mut by_text = lock(&self.by_text);
        if by_text.len() >= KEPT_MAX {
            by_text.clear();
        }
        by_text.insert(text.to_owned(), Arc::clone(&parsed));
        Ok(parsed)
    }
}

/// Every kind of expression.
#[derive(Debug)]
pub(super) struct Expressions {
    condition: Kept<Condition>,
    filter: Kept<Condition>,
    key: Kept<Condition>,
    update: Kept<Update>,
    projection: Kept<Vec<Path>>,
}

impl Expressions {
    pub(super) fn new() -> Self {
        Self {
            condition: Kept::new("ConditionExpression"),
            filter: Kept::new("FilterExpression"),
            key: Kept::new("KeyConditionExpression"),
            update: Kept::new("UpdateExpression"),
            projection: Kept::new("ProjectionExpression"),
        }
    }

    pub(super) fn condition(&self, text: Option<&str>) -> MaybeParsed<Condition> {
        optional(&self.condition, text, Parser::condition)
    }

    pub(super) fn filter(&self, text: Option<&str>) -> MaybeParsed<Condition> {
        optional(&self.filter, text, Parser::condition)
    }

    pub(super) fn key(&self, text: Option<&str>) -> MaybeParsed<Condition> {
        optional(&self.key, text, Parser::condition)
    }

    pub(super) fn update(&self, text: Option<&str>) -> MaybeParsed<Update> {
        optional(&self.update, text, Parser::update)
    }

    pub(super) fn projection(&self, text: Option<&str>) -> MaybeParsed<Vec<Path>> {
        optional(&self.projection, text, Parser::projection)
    }
}

type MaybeParsed<T> = Result<Option<Arc<Parsed<T>>>, Refusal>;

fn optional<T>(
    kept: &Kept<T>,
    text: Option<&str>,
    read: impl FnOnce(&mut Parser) -> Result<T, Syntax>,
) -> MaybeParsed<T> {
    text.map(|text| kept.parse(text, Dialect::Expression, read)).transpose()
}

/// The names and values that come with a call's expressions.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) aliases: HashMap<String, String>,
    pub(super) values: HashMap<String, Value>,
}

impl Names {
    pub(super) fn new(
        aliases: Option<HashMap<String, String>>,
        values: Option<HashMap<String, Value>>,
    ) -> Self {
        Self { aliases: aliases.unwrap_or_default(), values: values.unwrap_or_default() }
    }

    /// Checks that all that is used is given, and all that is given is used.
    pub(super) fn check(&self, uses: &[Option<&Uses>]) -> Result<(), Refusal> {
        let used = || uses.iter().copied().flatten();
        for alias in used().flat_map(|uses| &uses.aliases) {
            if !self.aliases.contains_key(alias) {
                return Err(Refusal::invalid(format!(
                    "An expression attribute name used in the document path is not defined; \
                     attribute name: {alias}"
                )));
            }
        }
        for placeholder in used().flat_map(|uses| &uses.placeholders) {
            if !self.values.contains_key(placeholder) {
                return Err(Refusal::invalid(format!(
                    "An expression attribute value used in expression is not defined; \
                     attribute value: {placeholder}"
                )));
            }
        }
        let is_used = |alias: &&String| used().any(|uses| uses.aliases.contains(alias));
        if let Some(alias) = self.aliases.keys().filter(|alias| !is_used(alias)).min() {
            return Err(Refusal::invalid(format!(
                "Value provided in ExpressionAttributeNames unused in expressions: \
                 keys: {{{alias}}}"
            )));
        }
        let is_used = |name: &&String| used().any(|uses| uses.placeholders.contains(name));
        if let Some(name) = self.values.keys().filter(|name| !is_used(name)).min() {
            return Err(Refusal::invalid(format!(
                "Value provided in ExpressionAttributeValues unused in expressions: \
                 keys: {{{name}}}"
            )));
        }
        Ok(())
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            aliases: &self.aliases,
            values: &self.values,
            parameters: &[],
            dialect: Dialect::Expression,
        }
    }
}

#[cfg(test)]
mod tests;
