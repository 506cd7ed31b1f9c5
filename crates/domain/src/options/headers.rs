//! Headers that a tenant wants in its deliveries, beside those that we and HTTP own.
//!
//! Refuses every name that would change what a request is or whom it is from, and every value that
//! would end its line. Values may be secrets (`authorization`): `Debug` and errors never show one,
//! nor a name that is none, which may be a whole header with its value.
//!
//! Invariants: names are lower-case tokens, in order, each once · values are visible ASCII, spaces
//! and tabs, neither at an end · at most [`ExtraHeaders::COUNT_MAX`] and
//! [`ExtraHeaders::BYTES_MAX`].

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Names that HTTP or the request itself owns, in order.
const RESERVED: [&str; 17] = [
    "accept-encoding", // we read no compressed answers
    "connection",
    "content-encoding", // the body is passed on as it is
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "metadata-flavor", // opens metadata services: a third wall behind guard and kernel
    "stripe-signature",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// Beginnings of names that are ours (signatures, what is about the event), a proxy's, or a
/// metadata service's.
const RESERVED_PREFIXES: [&str; 6] =
    ["posthaste-", "proxy-", "webhook-", "x-aws-ec2-metadata-", "x-posthaste-", "x-webhook-"];

/// Why headers are refused. Never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Too many.
    #[error("more than {} headers", ExtraHeaders::COUNT_MAX)]
    TooMany,
    /// Too long.
    #[error("names and values together are longer than {} bytes", ExtraHeaders::BYTES_MAX)]
    TooLong,
    /// Not a token.
    #[error("a header name has ASCII letters, digits and !#$%&'*+-.^_`|~ only, and at least one")]
    Name,
    /// A name that is not the tenant's to set.
    #[error("{0} is refused: it is for posthaste, HTTP itself or a metadata service")]
    Reserved(Box<str>),
    /// A name that is there already, in whatever case.
    #[error("{0} is given twice")]
    Twice(Box<str>),
    /// A value that no header can have.
    #[error(
        "the value of {0} is refused: visible ASCII only, with spaces and tabs between but not \
         at its ends"
    )]
    Value(Box<str>),
}

/// Headers beside ours. Cheap to clone; `Debug` hides the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExtraHeaders(Arc<[(Box<str>, Box<str>)]>);

impl ExtraHeaders {
    /// No more than so many.
    pub const COUNT_MAX: usize = 16;
    /// Names and values together have no more bytes.
    pub const BYTES_MAX: usize = 4_096;

    /// Takes names and values. Names are compared without case and kept in lower case.
    ///
    /// # Errors
    /// [`HeaderError`] names the first header that is refused, and why.
    pub fn try_new<N: AsRef<str>, V: AsRef<str>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, HeaderError> {
        let mut taken: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut bytes = 0;
        for (name, value) in headers {
            let (name, value) = (name.as_ref(), value.as_ref());
            if taken.len() == Self::COUNT_MAX {
                return Err(HeaderError::TooMany);
            }
            bytes += name.len() + value.len();
            if bytes > Self::BYTES_MAX {
                return Err(HeaderError::TooLong);
            }
            taken.push((lawful_name(name)?, Box::from(value)));
        }
        taken.sort_unstable();
        if let Some([(name, _), _]) = taken.array_windows().find(|[one, next]| one.0 == next.0) {
            return Err(HeaderError::Twice(name.clone()));
        }
        if let Some((name, _)) = taken.iter().find(|(_, value)| !is_value(value)) {
            return Err(HeaderError::Value(name.clone()));
        }
        Ok(Self(taken.into()))
    }

    /// Takes what was lawful when it was stored: a name that has become reserved since is left out,
    /// for one header must not cost a tenant its deliveries.
    ///
    /// # Errors
    /// [`HeaderError`] where the others are not lawful: then something else is wrong with them.
    pub fn stored<N: AsRef<str>, V: AsRef<str>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, HeaderError> {
        let is_reserved = |name: &str| matches!(lawful_name(name), Err(HeaderError::Reserved(_)));
        Self::try_new(headers.into_iter().filter(|(name, _)| !is_reserved(name.as_ref())))
    }

    /// Names in lower case and their values, in the order of the names. Only for sending and
    /// storing: values may be secrets.
    pub fn expose(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ExtraHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

fn lawful_name(name: &str) -> Result<Box<str>, HeaderError> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError::Name);
    }
    let name = name.to_ascii_lowercase().into_boxed_str();
    let is_reserved = RESERVED.contains(&&*name)
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if is_reserved { Err(HeaderError::Reserved(name)) } else { Ok(name) }
}

fn is_value(value: &str) -> bool {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    // White space at the ends is not part of a value: it would be lost on the way.
    value.bytes().all(is_visible) && value.trim_ascii() == value
}
