//! API Gateway's REST v1 proxy events as HTTP requests, and answers the way back.
//!
//! ```text
//! httpMethod, path, multiValueHeaders, multiValueQueryStringParameters ─► head
//! body, isBase64Encoded ─────────────────────────────────────────────────► body
//! requestContext.authorizer {tenantId, status} ───────────────────────────► Caller, an extension
//! ```
//!
//! Queries come decoded and are encoded again; a path may come either way, so that what is lawful
//! in it stays and the rest is encoded. What a client sent stays what it was: a header comes as
//! often as it came, and one that is none, or a body that is not base64 although it says so, is a
//! 400. An event that is not of this kind at all is nobody's request, and an error.
//!
//! Refuses to look anywhere but at the context for who sent a request.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use posthaste_api::{Caller, Principal};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Names, each with the values that came under it.
type Several<'e> = BTreeMap<Cow<'e, str>, Vec<Cow<'e, str>>>;
/// The same where each came once.
type Single<'e> = BTreeMap<Cow<'e, str>, Cow<'e, str>>;

/// An event, as far as we need it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'e> {
    #[serde(borrow)]
    http_method: Cow<'e, str>,
    #[serde(borrow)]
    path: Cow<'e, str>,
    #[serde(borrow, default)]
    headers: Option<Single<'e>>,
    #[serde(borrow, default)]
    multi_value_headers: Option<Several<'e>>,
    #[serde(borrow, default)]
    query_string_parameters: Option<Single<'e>>,
    #[serde(borrow, default)]
    multi_value_query_string_parameters: Option<Several<'e>>,
    #[serde(borrow)]
    request_context: RequestContext<'e>,
    #[serde(borrow, default)]
    body: Option<Cow<'e, str>>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, Deserialize)]
struct RequestContext<'e> {
    #[serde(borrow, default)]
    authorizer: Option<AuthorizerContext<'e>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizerContext<'e> {
    #[serde(borrow, default)]
    tenant_id: Cow<'e, str>,
    #[serde(borrow, default)]
    status: Cow<'e, str>,
}

/// What makes an event no request: a 400, in these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoRequest {
    /// The method.
    #[error("the method is none")]
    Method,
    /// Path and query, which may have 64 KiB together.
    #[error("path and query are too long, or none")]
    Target,
    /// A header.
    #[error("a header is none")]
    Header,
    /// The body.
    #[error("the body is not base64, although the event says so")]
    Body,
}

impl Event<'_> {
    /// Who the authorizer says has sent it.
    #[must_use]
    pub fn caller(&self) -> Option<Caller> {
        let context = self.request_context.authorizer.as_ref()?;
        Principal::caller(&context.tenant_id, &context.status)
    }

    /// The request.
    ///
    /// # Errors
    /// [`NoRequest`].
    pub fn request(self) -> Result<Request<Full<Bytes>>, NoRequest> {
        let caller = self.caller();
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() =
            Method::from_bytes(self.http_method.as_bytes()).map_err(|_| NoRequest::Method)?;
        *request.uri_mut() = self.target()?;
        *request.headers_mut() = self.header_map()?;
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        *request.body_mut() = Full::new(self.bytes()?);
        Ok(request)
    }

    fn target(&self) -> Result<Uri, NoRequest> {
        let mut target = String::with_capacity(self.path.len() + 1);
        if !self.path.starts_with('/') {
            target.push('/');
        }
        encode(&mut target, &self.path, is_path);
        let mut mark = '?';
        let mut push = |name: &str, value: &str| {
            target.push(mark);
            mark = '&';
            encode(&mut target, name, is_unreserved);
            target.push('=');
            encode(&mut target, value, is_unreserved);
        };
        if let Some(several) = &self.multi_value_query_string_parameters {
            for (name, values) in several {
                values.iter().for_each(|value| push(name, value));
            }
        } else if let Some(single) = &self.query_string_parameters {
            single.iter().for_each(|(name, value)| push(name, value));
        }
        target.parse().map_err(|_| NoRequest::Target)
    }

    fn header_map(&self) -> Result<HeaderMap, NoRequest> {
        let mut headers = HeaderMap::new();
        let mut push = |name: &str, value: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| NoRequest::Header)?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| NoRequest::Header)?;
            headers.try_append(name, value).map(drop).map_err(|_| NoRequest::Header)
        };
        if let Some(several) = &self.multi_value_headers {
            for (name, values) in several {
                values.iter().try_for_each(|value| push(name, value))?;
            }
        } else if let Some(single) = &self.headers {
            single.iter().try_for_each(|(name, value)| push(name, value))?;
        }
        Ok(headers)
    }

    fn bytes(self) -> Result<Bytes, NoRequest> {
        match self.body {
            None => Ok(Bytes::new()),
            Some(text) if self.is_base64_encoded => {
                STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(|_| NoRequest::Body)
            }
            Some(text) => Ok(text.into_owned().into()),
        }
    }
}

/// Writes `text`, with everything else than `lawful` as escapes. An escape that is there already
/// stays where a `%` is lawful.
fn encode(to: &mut String, text: &str, lawful: fn(u8, &[u8]) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().copied().enumerate() {
        if lawful(byte, &bytes[index + 1..]) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(char::from(DIGITS[usize::from(byte >> 4)]));
            to.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

const fn is_unreserved(byte: u8, _: &[u8]) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_path(byte: u8, rest: &[u8]) -> bool {
    match byte {
        b'%' => matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
        b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
        | b';' | b'=' => true,
        _ => is_unreserved(byte, rest),
    }
}

/// An answer, as API Gateway takes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    status_code: u16,
    multi_value_headers: BTreeMap<String, Vec<String>>,
    body: String,
    is_base64_encoded: bool,
}

impl Answered {
    /// Of an HTTP response.
    #[must_use]
    pub fn of(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &head.headers {
            // Ours are all text.
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.entry(name.as_str().to_owned()).or_default().push(text);
        }
        let (body, is_base64_encoded) = match String::from_utf8(body.into()) {
            Ok(text) => (text, false),
            Err(error) => (STANDARD.encode(error.as_bytes()), true),
        };
        let status_code = head.status.as_u16();
        Self { status_code, multi_value_headers: headers, body, is_base64_encoded }
    }
}

#[cfg(test)]
mod tests;
