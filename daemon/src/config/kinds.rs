//! What settings can be: how each kind of value is written, read, bounded and shown.
//!
//! A kind reads text, whatever the text came from; how it is quoted is checked here, so that
//! `attempts-max = "5"` and `attempt-timeout = 30` both fail with what would be right. No kind
//! accepts two ways of writing one value, and every number has bounds.

pub(super) mod addresses;
pub(super) mod files;
pub(super) mod levels;
pub(super) mod names;
pub(super) mod numbers;

use toml::Value;

use super::layers::{Form, Raw, Scalar};

/// A kind of value.
pub(super) trait Kind {
    /// What it is read into.
    type Value;
    /// How it is written in TOML.
    const WRITTEN: Written = Written::Quoted;
    /// Whether nobody may see it.
    const SECRET: bool = false;

    /// What is right, for messages and the example: "a number from 1 to 9".
    fn form(&self) -> String;

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with it, to be followed by what is right.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// The value as it would be written in TOML, in one spelling.
    fn show(&self, value: &Self::Value) -> Value;

    /// What tells two values apart that are shown alike (secrets, what is in a file), and tells
    /// nobody what they are.
    fn digest(&self, _value: &Self::Value) -> Vec<u8> {
        Vec::new()
    }

    /// Reads what stands in a file, a variable or a flag.
    ///
    /// # Errors
    /// As [`Kind::parse`].
    fn read(&self, raw: &Raw) -> Result<Self::Value, String> {
        match raw {
            Raw::One(scalar) => self.read_scalar(scalar),
            Raw::List(_) => Err("is a list".to_owned()),
            Raw::Table => Err("is a table".to_owned()),
        }
    }

    /// Reads one scalar.
    ///
    /// # Errors
    /// As [`Kind::parse`].
    fn read_scalar(&self, scalar: &Scalar) -> Result<Self::Value, String> {
        match (scalar.form, Self::WRITTEN) {
            (Form::Nested, _) => Err("is a list or a table".to_owned()),
            (Form::Quoted, Written::Bare) => Err(match self.parse(&scalar.text) {
                Ok(_) => format!("is in quotes: write {}", scalar.text),
                Err(fault) => fault,
            }),
            (Form::Bare, Written::Quoted) => Err(match self.parse(&scalar.text) {
                Ok(_) => format!("needs quotes: write {:?}", scalar.text),
                Err(fault) => fault,
            }),
            _ => self.parse(&scalar.text),
        }
    }
}

/// How a kind is written in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// As a string.
    Quoted,
    /// As a number or a boolean.
    Bare,
}

/// Several values of one kind; with commas between them where everything is text.
pub(super) struct List<K> {
    pub(super) item: K,
    pub(super) min: usize,
    pub(super) max: usize,
}

impl<K: Kind> List<K> {
    fn counted(&self, values: Vec<K::Value>) -> Result<Vec<K::Value>, String> {
        match values.len() {
            count if count < self.min => Err(format!("has {count} entries, too few")),
            count if count > self.max => Err(format!("has {count} entries, too many")),
            _ => Ok(values),
        }
    }
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;
    const SECRET: bool = K::SECRET;

    fn form(&self) -> String {
        format!("a list of {} to {}, each {}", self.min, self.max, self.item.form())
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text.trim().is_empty() {
            return self.counted(Vec::new());
        }
        let parse = |part: &str| {
            let part = part.trim();
            self.item.parse(part).map_err(|fault| format!("the entry {part:?} {fault}"))
        };
        self.counted(text.split(',').map(parse).collect::<Result<_, _>>()?)
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::Array(value.iter().map(|item| self.item.show(item)).collect())
    }

    fn digest(&self, value: &Self::Value) -> Vec<u8> {
        value.iter().flat_map(|item| self.item.digest(item)).collect()
    }

    fn read(&self, raw: &Raw) -> Result<Self::Value, String> {
        match raw {
            Raw::One(scalar) if scalar.form == Form::Plain => self.parse(&scalar.text),
            Raw::One(scalar) => Err(match self.item.read_scalar(scalar) {
                Ok(_) => format!("is not in brackets: write [{}]", raw.shown()),
                Err(fault) => fault,
            }),
            Raw::Table => Err("is a table".to_owned()),
            Raw::List(items) => {
                let read = |item: &Scalar| {
                    let shown = Raw::One(item.clone()).shown();
                    self.item
                        .read_scalar(item)
                        .map_err(|fault| format!("the entry {shown} {fault}"))
                };
                self.counted(items.iter().map(read).collect::<Result<_, _>>()?)
            }
        }
    }
}

/// A value that may be absent: written as the empty string.
pub(super) struct Optional<K>(pub(super) K);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;
    const WRITTEN: Written = K::WRITTEN;
    const SECRET: bool = K::SECRET;

    fn form(&self) -> String {
        format!("{}, or \"\" for none", self.0.form())
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        if text.is_empty() { Ok(None) } else { self.0.parse(text).map(Some) }
    }

    fn show(&self, value: &Self::Value) -> Value {
        value.as_ref().map_or_else(|| Value::from(""), |value| self.0.show(value))
    }

    fn digest(&self, value: &Self::Value) -> Vec<u8> {
        value.as_ref().map_or_else(Vec::new, |value| self.0.digest(value))
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn form(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        words.join(" or ")
    }

    fn parse(&self, text: &str) -> Result<T, String> {
        let found = self.0.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| "is not one of the words".to_owned())
    }

    fn show(&self, value: &T) -> Value {
        let found = self.0.iter().find(|(_, candidate)| candidate == value);
        Value::from(found.map_or("", |(word, _)| *word))
    }
}

/// Yes or no.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;
    const WRITTEN: Written = Written::Bare;

    fn form(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, text: &str) -> Result<bool, String> {
        text.parse().map_err(|_| "is neither".to_owned())
    }

    fn show(&self, value: &bool) -> Value {
        Value::from(*value)
    }
}

/// Text that may stand in a header: printable ASCII, up to so many characters.
pub(super) struct HeaderText {
    pub(super) max: usize,
}

impl Kind for HeaderText {
    type Value = String;

    fn form(&self) -> String {
        format!("printable ASCII text of up to {} characters", self.max)
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        if let Some(bad) = text.chars().find(|c| !matches!(c, ' '..='~')) {
            return Err(format!("has the character {bad:?}"));
        }
        if text.trim() != text {
            return Err("begins or ends with a space".to_owned());
        }
        if text.len() > self.max {
            return Err(format!("is {} characters long", text.len()));
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> Value {
        Value::from(value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::numbers::{Count, Time};
    use super::*;

    fn toml(text: &str, form: Form) -> Raw {
        Raw::One(Scalar { text: text.to_owned(), form })
    }

    /// The message says what to write instead.
    #[test]
    fn wrong_quotes_are_told() {
        let count = Count::<u32>::new(1..=9);
        assert_eq!(count.read(&toml("5", Form::Bare)), Ok(5));
        assert_eq!(count.read(&toml("5", Form::Plain)), Ok(5));
        assert_eq!(count.read(&toml("5", Form::Quoted)).unwrap_err(), "is in quotes: write 5");
        assert_eq!(
            Switch.read(&toml("true", Form::Quoted)).unwrap_err(),
            "is in quotes: write true"
        );
        let address = addresses::Address;
        assert_eq!(
            address.read(&toml("x", Form::Bare)).unwrap_err(),
            address.parse("x").unwrap_err()
        );
    }

    #[test]
    fn a_list_is_read_from_brackets_and_from_commas() {
        let list = List { item: Time::new(1..=10_000), min: 1, max: 3 };
        let quoted = |text: &str| Scalar { text: text.to_owned(), form: Form::Quoted };
        assert_eq!(list.read(&Raw::List(vec![quoted("1s"), quoted("2s")])), Ok(vec![1000, 2000]));
        assert_eq!(list.read(&toml("1s, 2s", Form::Plain)), Ok(vec![1000, 2000]));
        let fault = list.read(&toml("1s", Form::Quoted)).unwrap_err();
        assert_eq!(fault, "is not in brackets: write [\"1s\"]");
        let fault = list.read(&Raw::List(vec![quoted("1s"), quoted("2")])).unwrap_err();
        assert!(fault.starts_with("the entry \"2\" has no unit"), "{fault}");
        assert_eq!(list.read(&toml("", Form::Plain)).unwrap_err(), "has 0 entries, too few");
        let fault = list.read(&toml("1s,1s,1s,1s", Form::Plain)).unwrap_err();
        assert_eq!(fault, "has 4 entries, too many");
    }

    #[test]
    fn header_text_takes_nothing_that_ends_a_header() {
        let kind = HeaderText { max: 5 };
        assert_eq!(kind.parse("a b"), Ok("a b".to_owned()));
        for bad in ["a\r\nb", "a\0", "é", " a", "a ", "abcdef"] {
            assert!(kind.parse(bad).is_err(), "{bad:?}");
        }
    }
}
