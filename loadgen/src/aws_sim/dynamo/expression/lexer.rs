//! Cuts expressions and statements into tokens.

use super::{Dialect, Syntax};

/// The longest expression that DynamoDB takes.
const EXPRESSION_BYTES_MAX: usize = 4_096;
/// The longest statement.
const STATEMENT_BYTES_MAX: usize = 8_192;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Word(String),
    /// `#name`.
    Alias(String),
    /// `:value`.
    Placeholder(String),
    /// `"name"`; statements only.
    Quoted(String),
    /// `'text'`; statements only.
    Text(String),
    Number(String),
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 22] = [
    "<>", "<=", ">=", "!=", "<<", ">>", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ".", "+",
    "-", "?", "*", ":",
];

pub(super) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token>, Syntax> {
    let longest = match dialect {
        Dialect::Expression => EXPRESSION_BYTES_MAX,
        Dialect::Statement => STATEMENT_BYTES_MAX,
    };
    if text.len() > longest {
        return Err(Syntax(format!(
            "Expression size has exceeded the maximum allowed size of {longest}"
        )));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = token(rest, first, dialect)?;
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn token(rest: &str, first: char, dialect: Dialect) -> Result<(Token, usize), Syntax> {
    let is_statement = dialect == Dialect::Statement;
    match first {
        'a'..='z' | 'A'..='Z' | '_' => {
            let length = name_length(rest);
            Ok((Token::Word(rest[..length].to_owned()), length))
        }
        '#' | ':' if !is_statement => {
            let length = 1 + name_length(&rest[1..]);
            if length == 1 {
                return Err(Syntax::at(rest));
            }
            let name = rest[..length].to_owned();
            let token = if first == '#' { Token::Alias(name) } else { Token::Placeholder(name) };
            Ok((token, length))
        }
        '0'..='9' => {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || (is_statement && byte == b'.');
            let length = rest.bytes().take_while(|&byte| is_part(byte)).count();
            Ok((Token::Number(rest[..length].to_owned()), length))
        }
        '"' if is_statement => {
            quoted(rest, '"').map(|(text, length)| (Token::Quoted(text), length))
        }
        '\'' if is_statement => {
            quoted(rest, '\'').map(|(text, length)| (Token::Text(text), length))
        }
        _ => {
            let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            let allowed = symbol.filter(|symbol| {
                is_statement || !["!=", "<<", ">>", "{", "}", "?", "*", ":"].contains(symbol)
            });
            allowed
                .map(|symbol| (Token::Symbol(symbol), symbol.len()))
                .ok_or_else(|| Syntax::at(rest))
        }
    }
}

fn name_length(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// A quote inside is doubled.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Syntax> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != quote {
            text.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Ok((text, at + 1));
        }
    }
    Err(Syntax::at(rest))
}
