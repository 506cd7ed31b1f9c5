//! Checks JSON without building anything: events are stored and delivered as the bytes they are.
//!
//! The grammar is RFC 8259's, over valid UTF-8. What it leaves open stays open: numbers of any
//! size, duplicate keys and lone surrogate escapes are somebody's data and pass. Nothing recurses,
//! so depth costs one bit a level, never stack.

use std::ops::Range;

use thiserror::Error;

/// Deepest nesting of an event: what serde_json and many other parsers take at most.
pub(crate) const DEPTH_MAX: usize = 128;

/// Why bytes are not the JSON that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum JsonError {
    /// Not UTF-8.
    #[error("not valid UTF-8 (byte {0})")]
    Utf8(usize),
    /// Nothing there.
    #[error("the body is empty")]
    Empty,
    /// Not JSON.
    #[error("not JSON (byte {0})")]
    Syntax(usize),
    /// Nested too deeply.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotObject,
    /// A batch that is neither an array nor an object with `events`.
    #[error("a batch is an array of events, or an object whose only field is \"events\"")]
    NotBatch,
    /// A batch of too many events.
    #[error("the batch has more than {0} events")]
    TooMany(usize),
}

/// One entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where its bytes stand in the batch.
    pub(crate) range: Range<usize>,
    /// Whether it can be an event.
    pub(crate) checked: Result<(), JsonError>,
}

/// Checks that `bytes` are one JSON object, with nothing but white space around it.
pub(crate) fn check_object(bytes: &[u8]) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(bytes)?;
    let value = scanner.value(DEPTH_MAX)?;
    scanner.end()?;
    if value.is_object { Ok(()) } else { Err(JsonError::NotObject) }
}

/// Finds the entries of a batch: `[{..}, ..]` or `{"events": [{..}, ..]}`.
///
/// The whole text must be JSON; an entry that is JSON but cannot be an event is its own error.
pub(crate) fn split_batch(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry>, JsonError> {
    let mut scanner = Scanner::new(bytes)?;
    let wrapped = match scanner.token()? {
        b'[' => false,
        b'{' => true,
        _ => {
            scanner.value(DEPTH_MAX)?;
            scanner.end()?;
            return Err(JsonError::NotBatch);
        }
    };
    if wrapped {
        scanner.at += 1;
        if scanner.token()? == b'}' || &bytes[scanner.key()?] != b"\"events\"" {
            return Err(JsonError::NotBatch);
        }
        if scanner.token()? != b'[' {
            return Err(JsonError::NotBatch);
        }
    }
    let entries = scanner.entries(entries_max)?;
    if wrapped {
        match scanner.token()? {
            b'}' => scanner.at += 1,
            b',' => return Err(JsonError::NotBatch),
            _ => return Err(scanner.fault()),
        }
    }
    scanner.end()?;
    Ok(entries)
}

struct Value {
    is_object: bool,
    depth: usize,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(JsonError::Utf8(error.valid_up_to()));
        }
        let mut scanner = Self { bytes, at: 0 };
        scanner.skip_space();
        if scanner.at == bytes.len() { Err(JsonError::Empty) } else { Ok(scanner) }
    }

    /// Passes a non-empty or empty array of entries.
    fn entries(&mut self, entries_max: usize) -> Result<Vec<Entry>, JsonError> {
        let mut entries = Vec::new();
        self.at += 1;
        if self.token()? == b']' {
            self.at += 1;
            return Ok(entries);
        }
        loop {
            if entries.len() == entries_max {
                return Err(JsonError::TooMany(entries_max));
            }
            self.token()?;
            let start = self.at;
            let value = self.value(usize::MAX)?;
            let checked = match value {
                Value { is_object: false, .. } => Err(JsonError::NotObject),
                Value { depth, .. } if depth > DEPTH_MAX => Err(JsonError::TooDeep),
                Value { .. } => Ok(()),
            };
            entries.push(Entry { range: start..self.at, checked });
            let next = self.token()?;
            if next != b',' && next != b']' {
                return Err(self.fault());
            }
            self.at += 1;
            if next == b']' {
                return Ok(entries);
            }
        }
    }

    /// Passes one value, nested at most `depth_max` levels.
    fn value(&mut self, depth_max: usize) -> Result<Value, JsonError> {
        let is_object = self.token()? == b'{';
        let mut open = OpenContainers::default();
        let mut depth = 0;
        loop {
            match self.token()? {
                opening @ (b'{' | b'[') => {
                    self.at += 1;
                    open.push(opening == b'{');
                    depth = depth.max(open.depth);
                    if depth > depth_max {
                        return Err(JsonError::TooDeep);
                    }
                    match (opening, self.token()?) {
                        // Empty; the closer is passed below.
                        (b'{', b'}') | (b'[', b']') => {}
                        (b'{', _) => {
                            self.key()?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            if !self.seek_value(&mut open)? {
                return Ok(Value { is_object, depth });
            }
        }
    }

    /// After a value: passes closers up to a comma, and the key behind it. False where no
    /// container is open any more.
    fn seek_value(&mut self, open: &mut OpenContainers) -> Result<bool, JsonError> {
        while let Some(in_object) = open.innermost() {
            match (self.token()?, in_object) {
                (b',', true) => {
                    self.at += 1;
                    self.key()?;
                    return Ok(true);
                }
                (b',', false) => {
                    self.at += 1;
                    return Ok(true);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    open.pop();
                }
                _ => return Err(self.fault()),
            }
        }
        Ok(false)
    }

    /// Passes a key and its colon; says where the key stands, quotes included.
    fn key(&mut self) -> Result<Range<usize>, JsonError> {
        if self.token()? != b'"' {
            return Err(self.fault());
        }
        let start = self.at;
        self.string()?;
        let key = start..self.at;
        if self.token()? != b':' {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(key)
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            self.at += plain_len(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                // A control character, or the end.
                _ => return Err(self.fault()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = &self.bytes[self.at + 1..];
        let length = match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') if rest.len() >= 5 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => 5,
            _ => return Err(self.fault()),
        };
        self.at += 1 + length;
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<(), JsonError> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.fault()) } else { Ok(()) }
    }

    /// The next byte that is not white space; the scanner stands on it.
    fn token(&mut self) -> Result<u8, JsonError> {
        self.skip_space();
        self.peek().ok_or_else(|| self.fault())
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault()) }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    const fn fault(&self) -> JsonError {
        JsonError::Syntax(self.at)
    }
}

/// How many bytes from the start are neither `"`, `\` nor a control character. Eight at a time:
/// most of a payload is inside strings.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of every byte of `word` that is below `limit` (at most 128); exact for the
    // lowest such byte, which is the one that counts.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let mut length = 0;
    let (words, rest) = bytes.as_chunks();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let special = below(word, 0x20) | quote | backslash;
        if special != 0 {
            return length + (special.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    length + rest.iter().take_while(plain).count()
}

/// Which containers are open, innermost last: one bit each, an object's is 1.
#[derive(Default)]
struct OpenContainers {
    top: u128,
    // Full blocks below `top`; empty unless something is nested deeper than 128 levels.
    spilled: Vec<u128>,
    depth: usize,
}

impl OpenContainers {
    const BLOCK: usize = 128;

    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(Self::BLOCK) {
            self.spilled.push(self.top);
        }
        self.top = (self.top << 1) | u128::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.top >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(Self::BLOCK)
            && let Some(block) = self.spilled.pop()
        {
            self.top = block;
        }
    }

    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.top & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
