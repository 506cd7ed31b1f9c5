//! What is not as it was written: named by file or table, and by key where it is one row's.

use std::fmt;

/// What kind of thing is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A journal, or commits that are missing in it.
    Journal,
    /// The witness.
    Witness,
    /// What names the store's parts.
    Manifest,
    /// A table's file.
    Table,
    /// A row that is not what was written.
    Row,
    /// A row that is missing, or that belongs to nothing.
    Reference,
}

impl Kind {
    /// The kind's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Witness => "witness",
            Self::Manifest => "manifest",
            Self::Table => "table",
            Self::Row => "row",
            Self::Reference => "reference",
        }
    }

    /// Whether it is a file's, which may be read more than once.
    pub(crate) const fn is_of_a_file(self) -> bool {
        !matches!(self, Self::Row | Self::Reference)
    }
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing is damaged.
    pub kind: Kind,
    /// A file, from the data directory on, or a table.
    pub place: String,
    /// Whose row it is.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, place, key, what } = self;
        write!(f, "{}: {place}: ", kind.as_str())?;
        if let Some(key) = key {
            write!(f, "{key}: ")?;
        }
        f.write_str(what)
    }
}
