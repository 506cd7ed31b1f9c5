//! Names of things elsewhere: prefixes, regions, instances, addresses of services.

use toml::Value;

use super::Kind;

/// What stands for the absence of a value.
const NONE: &str = "none";

/// A name of letters, digits, `-`, `_` and `.`.
pub(in crate::config) struct Name {
    /// Its longest form, in bytes.
    pub(in crate::config) max: usize,
}

impl Kind for Name {
    type Value = String;

    fn form(&self) -> String {
        format!("a name of 1 to {} letters, digits, '-', '_' and '.'", self.max)
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        let lawful = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() {
            Err("is empty".to_owned())
        } else if text.len() > self.max {
            Err(format!("has {} characters", text.len()))
        } else if let Some(foreign) = text.chars().find(|c| !c.is_ascii() || !lawful(*c as u8)) {
            Err(format!("has a {foreign:?} in it"))
        } else {
            Ok(text.to_owned())
        }
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::String(value.clone())
    }
}

/// A name, or `none`.
pub(in crate::config) struct NameOrNone {
    /// Its longest form, in bytes.
    pub(in crate::config) max: usize,
}

impl Kind for NameOrNone {
    type Value = Option<String>;

    fn form(&self) -> String {
        format!("{}, or \"none\"", Name { max: self.max }.form())
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text == NONE { Ok(None) } else { Name { max: self.max }.parse(text).map(Some) }
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::String(value.clone().unwrap_or_else(|| NONE.to_owned()))
    }
}

/// The address of a service, or `none`.
pub(in crate::config) struct UrlOrNone;

impl Kind for UrlOrNone {
    type Value = Option<String>;

    fn form(&self) -> String {
        "an address such as \"http://127.0.0.1:4566\", or \"none\"".to_owned()
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text == NONE {
            return Ok(None);
        }
        let uri: http::Uri = text.parse().map_err(|_| "is not an address".to_owned())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(_)) => {}
            (Some("http" | "https"), None) => return Err("has no host".to_owned()),
            _ => return Err("does not begin with http:// or https://".to_owned()),
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("has a user in it".to_owned());
        }
        Ok(Some(text.trim_end_matches('/').to_owned()))
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::String(value.clone().unwrap_or_else(|| NONE.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        let parse = |text| NameOrNone { max: 10 }.parse(text);
        assert_eq!(parse("none"), Ok(None));
        assert_eq!(parse("eu-west-1"), Ok(Some("eu-west-1".to_owned())));
        for (text, fault) in
            [("", "is empty"), ("a b", "has a ' ' in it"), ("ä", "has a 'ä' in it")]
        {
            assert_eq!(parse(text), Err(fault.to_owned()));
        }
        assert_eq!(parse("eleven-long"), Err("has 11 characters".to_owned()));
    }

    #[test]
    fn addresses_are_addresses() {
        let parse = |text| UrlOrNone.parse(text);
        let plain = Ok(Some("http://127.0.0.1:4566".to_owned()));
        assert_eq!(parse("http://127.0.0.1:4566/"), plain);
        for text in ["sqs", "ftp://a", "http://", "http://u:p@a", "127.0.0.1:80"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
