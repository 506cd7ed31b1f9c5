//! What the demo posts: JSON objects from a file, one a line or in one array, or the embedded ones.
//!
//! Every payload is looked at before anything is started, and keeps the bytes it has in the file.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use thiserror::Error;

/// Twelve real GitHub webhooks of 1 to 26 KB.
const EMBEDDED: &str = include_str!("../../../testdata/payloads/github-sample.ndjson");
/// More is no sample any more.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why a file has no payloads that can be posted.
#[derive(Debug, Error)]
pub(super) enum PayloadError {
    /// The file cannot be read.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("{path} is longer than 1 GiB", path = .path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// There is nothing in it.
    #[error("{path} has no payloads: it needs JSON objects, one a line, or one array of them",
        path = .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is no event.
    #[error("{path}:{line}: {fault}", path = .path.display())]
    Bad {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        fault: String,
    },
}

/// Reads the payloads of `path`, or takes the embedded ones. None is longer than `bytes_max`.
///
/// # Errors
/// [`PayloadError`], one line that names the file and the line in it.
pub(super) fn load(path: Option<&Path>, bytes_max: usize) -> Result<Vec<Bytes>, PayloadError> {
    let Some(path) = path else {
        return Ok(EMBEDDED.lines().map(|line| Bytes::from_static(line.as_bytes())).collect());
    };
    let named = || path.to_owned();
    let read = |source| PayloadError::Read { path: named(), source };
    if fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
        return Err(PayloadError::TooLong { path: named() });
    }
    let content = fs::read(path).map_err(read)?;
    let parsed = parse(&content, bytes_max);
    let payloads =
        parsed.map_err(|(line, fault)| PayloadError::Bad { path: named(), line, fault })?;
    if payloads.is_empty() { Err(PayloadError::Empty { path: named() }) } else { Ok(payloads) }
}

type Fault = (usize, String);

fn parse(content: &[u8], bytes_max: usize) -> Result<Vec<Bytes>, Fault> {
    let text = std::str::from_utf8(content).map_err(|error| {
        let good = &content[..error.valid_up_to()];
        (line_of(good), "not UTF-8 text".to_owned())
    })?;
    // A byte order mark is no JSON, but editors write it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('[') { array(text, bytes_max) } else { lines(text, bytes_max) }
}

fn lines(text: &str, bytes_max: usize) -> Result<Vec<Bytes>, Fault> {
    let mut payloads = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let fault = |fault: String| (index + 1, fault);
        serde_json::from_str::<IgnoredAny>(line).map_err(|error| {
            // The error's own line is always 1 here.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            fault(format!("not JSON (column {}): {what}", error.column()))
        })?;
        payloads.push(event(line, bytes_max).map_err(fault)?);
    }
    Ok(payloads)
}

fn array(text: &str, bytes_max: usize) -> Result<Vec<Bytes>, Fault> {
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or(&text);
        (error.line(), format!("not JSON (column {}): {what}", error.column()))
    })?;
    let mut payloads = Vec::new();
    for item in items {
        // Each item is a part of the text, so its place tells its line.
        let offset = item.get().as_ptr().addr() - text.as_ptr().addr();
        let line = line_of(&text.as_bytes()[..offset]);
        payloads.push(event(item.get(), bytes_max).map_err(|fault| (line, fault))?);
    }
    Ok(payloads)
}

fn event(json: &str, bytes_max: usize) -> Result<Bytes, String> {
    if !json.starts_with('{') {
        return Err("not a JSON object, and only objects can be events".to_owned());
    }
    if json.len() > bytes_max {
        let (long, most) = (json.len().div_ceil(1024), bytes_max / 1024);
        return Err(format!("{long} KiB long, and an event has at most {most} KiB"));
    }
    Ok(Bytes::copy_from_slice(json.as_bytes()))
}

/// The line that begins or goes on after these bytes, from 1.
fn line_of(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4096;

    fn parsed(content: &str) -> Vec<String> {
        let payloads = parse(content.as_bytes(), MAX).unwrap();
        payloads.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_embedded_payloads_are_objects() {
        let payloads = load(None, 256 * 1024).unwrap();
        assert_eq!(payloads.len(), 12);
        let text = EMBEDDED.as_bytes();
        assert_eq!(parse(text, 256 * 1024).unwrap(), payloads);
    }

    /// For both forms: the bytes stay as they are in the file.
    #[test]
    fn lines_and_arrays_keep_their_bytes() {
        let odd = r#"{"a" :1.0e+2, "ü":"\u00fc", "a":1}"#;
        assert_eq!(parsed(&format!("\u{feff}{odd}\r\n\n  {{}}\n")), [odd, "{}"]);
        assert_eq!(parsed(&format!("\n [\n{odd},\n  {{}} ]\n")), [odd, "{}"]);
    }

    /// For all faults: the line that has it is named.
    #[test]
    fn a_fault_is_named_with_its_line() {
        let cases = [
            ("{}\n{\"a\":}\n", 2, "not JSON (column 6)"),
            ("{}\n\n[1]\n", 3, "not a JSON object"),
            ("{\n}\n", 1, "EOF"),
            ("{} {}\n", 1, "trailing"),
            ("[{},\n{},\n 7]", 3, "not a JSON object"),
            ("[{},\n{,\n]", 2, "not JSON"),
            ("[{}", 1, "not JSON"),
            ("hello", 1, "not JSON"),
        ];
        for (content, line, what) in cases {
            let (at, fault) = parse(content.as_bytes(), MAX).unwrap_err();
            assert_eq!(at, line, "{content:?}: {fault}");
            assert!(fault.contains(what), "{content:?}: {fault}");
        }
        let (line, fault) = parse(b"{}\n{\"a\":\"\xff\"}", MAX).unwrap_err();
        assert_eq!((line, fault.as_str()), (2, "not UTF-8 text"));
        let long = format!("{{}}\n{{\"a\":\"{}\"}}", "x".repeat(MAX));
        let (line, fault) = parse(long.as_bytes(), MAX).unwrap_err();
        assert_eq!((line, fault.as_str()), (2, "5 KiB long, and an event has at most 4 KiB"));
    }

    #[test]
    fn a_file_without_payloads_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.ndjson");
        for content in ["", "\n \n", "[]"] {
            fs::write(&path, content).unwrap();
            let error = load(Some(&path), MAX).unwrap_err().to_string();
            assert!(error.contains("empty.ndjson has no payloads"), "{error}");
        }
        let error = load(Some(&folder.path().join("none")), MAX).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("none"), "{error}");
    }
}
