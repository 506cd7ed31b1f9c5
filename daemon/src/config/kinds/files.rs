//! Secrets, directories, and files that are read together with the configuration.
//!
//! A file that a setting names is read here, so that a missing or wrong one is told with all the
//! other problems, and nothing changes under a running process. Never repeats what is in a key or
//! a key file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use posthaste_domain::ApiKey;
use posthaste_embedded::SealKey;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use toml::Value;

use super::Kind;

/// The certificates of every authority that browsers trust are a quarter of this.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// An API key, which nobody may see.
pub(in crate::config) struct Key;

impl Kind for Key {
    type Value = ApiKey;
    const SECRET: bool = true;

    fn form(&self) -> String {
        "a key as `posthaste key` makes it".to_owned()
    }

    fn parse(&self, text: &str) -> Result<ApiKey, String> {
        ApiKey::parse(text).map_err(|error| format!("is {error}"))
    }

    fn show(&self, _: &ApiKey) -> Value {
        Value::from("hidden")
    }

    fn digest(&self, value: &ApiKey) -> Vec<u8> {
        value.hash().as_bytes().to_vec()
    }
}

/// A key that seals tenants' records.
pub(in crate::config) struct Seal;

impl Kind for Seal {
    type Value = SealKey;
    const SECRET: bool = true;

    fn form(&self) -> String {
        "64 hexadecimal digits, as `openssl rand -hex 32` makes them".to_owned()
    }

    fn parse(&self, text: &str) -> Result<SealKey, String> {
        SealKey::from_hex(text).ok_or_else(|| "is no key of 64 hexadecimal digits".to_owned())
    }

    fn show(&self, _: &SealKey) -> Value {
        Value::from("hidden")
    }

    fn digest(&self, value: &SealKey) -> Vec<u8> {
        value.number().to_vec()
    }
}

/// A file that holds an API key and nothing else.
pub(in crate::config) struct KeyFile;

impl Kind for KeyFile {
    type Value = (PathBuf, ApiKey);

    fn form(&self) -> String {
        "the path of a file that holds a key and nothing else".to_owned()
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        let path = Directory.parse(text)?;
        let content = String::from_utf8(read(&path)?);
        let key = content.ok().and_then(|content| ApiKey::parse(content.trim()).ok());
        let key = key.ok_or_else(|| "holds something else".to_owned())?;
        Ok((path, key))
    }

    fn show(&self, value: &Self::Value) -> Value {
        Directory.show(&value.0)
    }

    fn digest(&self, value: &Self::Value) -> Vec<u8> {
        Key.digest(&value.1)
    }
}

/// A file of certificates that deliveries trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it: PEM, at least one certificate.
    pub content: Vec<u8>,
}

/// Reads a [`PemFile`].
pub(in crate::config) struct Certificates;

impl Kind for Certificates {
    type Value = PemFile;

    fn form(&self) -> String {
        "the path of a PEM file with certificates".to_owned()
    }

    fn parse(&self, text: &str) -> Result<PemFile, String> {
        let path = Directory.parse(text)?;
        let content = read(&path)?;
        let mut count = 0_usize;
        for certificate in CertificateDer::pem_slice_iter(&content) {
            certificate.map_err(|error| format!("is not a PEM file: {error}"))?;
            count += 1;
        }
        if count == 0 {
            Err("holds no certificate".to_owned())
        } else {
            Ok(PemFile { path, content })
        }
    }

    fn show(&self, value: &PemFile) -> Value {
        Directory.show(&value.path)
    }

    fn digest(&self, value: &PemFile) -> Vec<u8> {
        digest(&SHA256, &value.content).as_ref().to_vec()
    }
}

/// A path; relative ones begin where the process was started.
pub(in crate::config) struct Directory;

impl Kind for Directory {
    type Value = PathBuf;

    fn form(&self) -> String {
        "the path of a directory".to_owned()
    }

    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        match text {
            "" => Err("is empty".to_owned()),
            _ if text.contains('\0') => Err("has a NUL character".to_owned()),
            // A directory named ~ is never what anybody wants.
            _ if text == "~" || text.starts_with("~/") => {
                Err("begins with ~, which only shells know: write the path in full".to_owned())
            }
            _ => Ok(PathBuf::from(text)),
        }
    }

    fn show(&self, value: &PathBuf) -> Value {
        Value::from(value.to_string_lossy().into_owned())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut limited = file.take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut content).map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err("is longer than 1 MiB".to_owned());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    #[test]
    fn a_key_file_may_end_with_a_line_end() {
        let key = ApiKey::from_entropy(&[3; 32]);
        let (_folder, path) = file(format!("{}\n", key.expose()).as_bytes());
        assert_eq!(KeyFile.parse(&path).unwrap().1, key);
    }

    /// What is in the file may be somebody's password.
    #[test]
    fn a_wrong_key_file_is_not_repeated() {
        let (_folder, path) = file(b"hunter2");
        assert_eq!(KeyFile.parse(&path).unwrap_err(), "holds something else");
        assert!(KeyFile.parse("/nowhere/key").unwrap_err().starts_with("cannot be read: "));
        assert!(!Key.parse("hunter2").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn a_pem_file_has_a_certificate() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let (_folder, path) = file(pem);
        assert_eq!(Certificates.parse(&path).unwrap().content, pem);
        let (_folder, path) = file(b"nothing of that kind");
        assert_eq!(Certificates.parse(&path).unwrap_err(), "holds no certificate");
        let (_folder, path) = file(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n");
        assert!(Certificates.parse(&path).unwrap_err().starts_with("is not a PEM file: "));
        let (_folder, path) = file(&vec![b' '; 1024 * 1024 + 1]);
        assert_eq!(Certificates.parse(&path).unwrap_err(), "is longer than 1 MiB");
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(Directory.parse("a b/../c").unwrap(), Path::new("a b/../c"));
        for bad in ["", "~/data", "~", "a\0b"] {
            assert!(Directory.parse(bad).is_err(), "{bad:?}");
        }
    }
}
