//! What is constant for an endpoint while its configuration stands: prepared once, used for every
//! attempt, so that an attempt parses no URL and derives no key.
//!
//! Invariant: an endpoint whose target makes no HTTP request still exists; its attempts fail as
//! `invalid_request`, because the tenant must see that in the attempt log.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;
use http::uri::PathAndQuery;
use posthaste_domain::{DeliveryOptions, Host, SigningKey, SigningSecrets, TargetUrl, Timestamp};
use rustls::pki_types::ServerName;
use smallvec::SmallVec;
use thiserror::Error;

/// A target with its signing keys, ready for requests.
pub struct Endpoint {
    pub(crate) url: TargetUrl,
    pub(crate) target: TargetKey,
    form: Result<Form, InvalidTarget>,
    current: SigningKey,
    // Newest first, each with the time at which it ends.
    previous: SmallVec<[(SigningKey, Timestamp); 1]>,
    /// Headers beside ours, in the order in which they are sent.
    pub(crate) extra: Box<[(HeaderName, HeaderValue)]>,
    /// Its own deadline of an attempt; the client's holds where that is shorter.
    pub(crate) time_max: Option<Duration>,
}

/// Why an endpoint's target makes no HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidTarget(&'static str);

/// What connections are shared by: two endpoints with the same key use the same connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetKey {
    pub(crate) https: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// The prebuilt parts of a request.
pub(crate) struct Form {
    /// The lines of the head that are the same in each.
    pub(crate) start: Box<[u8]>,
    /// Whom the certificate must name; none without TLS.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl Endpoint {
    /// Prepares requests to `target`, signed with `secrets`.
    ///
    /// Costs some microseconds (a key schedule per secret); keep the result for as long as the
    /// tenant's record stays the same.
    #[must_use]
    pub fn new(target: &TargetUrl, secrets: &SigningSecrets) -> Self {
        let previous = secrets.previous().iter();
        Self {
            url: target.clone(),
            target: TargetKey {
                https: target.is_https(),
                host: target.host().clone(),
                port: target.port(),
            },
            form: Form::new(target),
            current: SigningKey::new(secrets.current()),
            previous: previous.map(|(secret, ends)| (SigningKey::new(secret), *ends)).collect(),
            extra: Box::default(),
            time_max: None,
        }
    }

    /// The same with a tenant's own headers and deadline.
    #[must_use]
    pub fn with_options(self, options: &DeliveryOptions) -> Self {
        let extra = options.headers.expose().map(|(name, value)| {
            let name =
                HeaderName::from_bytes(name.as_bytes()).expect("an extra header's name is a token");
            let mut value = HeaderValue::from_str(value)
                .expect("an extra header's value is visible ASCII, spaces and tabs");
            // So that no Debug shows it.
            value.set_sensitive(true);
            (name, value)
        });
        let time_max = options.timeout.map(|own| Duration::from_millis(own.value().into()));
        Self { extra: extra.collect(), time_max, ..self }
    }

    /// What its connections are found by.
    #[must_use]
    pub const fn target_key(&self) -> &TargetKey {
        &self.target
    }

    /// The prebuilt parts of its requests.
    pub(crate) fn form(&self) -> Result<&Form, InvalidTarget> {
        self.form.as_ref().map_err(|reason| *reason)
    }

    /// The keys that sign at `now`, newest first.
    pub(crate) fn live_keys(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        let older = self.previous.iter().filter(move |(_, ends)| now < *ends);
        std::iter::once(&self.current).chain(older.map(|(key, _)| key))
    }
}

/// Shows where to, never what with.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Form {
    fn new(target: &TargetUrl) -> Result<Self, InvalidTarget> {
        let path: PathAndQuery = target
            .path_and_query()
            .parse()
            .map_err(|_| InvalidTarget("path and query of the target URL make no HTTP request"))?;
        let host = HeaderValue::from_str(target.authority())
            .map_err(|_| InvalidTarget("the host of the target URL makes no Host header"))?;
        let server_name = if target.is_https() { Some(server_name(target.host())?) } else { None };
        let mut start = Vec::new();
        for part in [b"POST ", path.as_str().as_bytes(), b" HTTP/1.1\r\nhost: ", host.as_bytes()] {
            start.extend_from_slice(part);
        }
        start.extend_from_slice(b"\r\ncontent-type: application/json\r\n");
        Ok(Self { start: start.into(), server_name })
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, InvalidTarget> {
    const NO_NAME: InvalidTarget =
        InvalidTarget("the host of the target URL is no name that a certificate can have");
    Ok(match host {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| NO_NAME)?,
        Host::V4(address) => ServerName::from(std::net::IpAddr::V4(*address)),
        Host::V6(address) => ServerName::from(std::net::IpAddr::V6(*address)),
    })
}

#[cfg(test)]
mod tests {
    use posthaste_domain::WebhookSecret;

    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        let secrets = SigningSecrets::new(WebhookSecret::try_new("a-secret-of-ours").unwrap());
        Endpoint::new(&TargetUrl::parse_stored(url).unwrap(), &secrets)
    }

    /// For every character that a target URL may have in path and query: it makes a request, and
    /// stays as it was given.
    #[test]
    fn path_and_query_stay_as_given() {
        let tail = "/a-._~!$&'()*+,;=:@/%41//./../?b=[]{}|^`?&%zz".replace("%zz", "%20");
        let endpoint = endpoint(&format!("https://example.com{tail}"));
        let start = str::from_utf8(&endpoint.form().unwrap().start).unwrap();
        assert!(start.starts_with(&format!("POST {tail} HTTP/1.1\r\n")), "{start}");
    }

    #[test]
    fn the_host_header_leaves_out_the_usual_port() {
        for (url, host) in [
            ("https://example.com/x", "example.com"),
            ("https://example.com:443/x", "example.com"),
            ("http://example.com:443/x", "example.com:443"),
            ("http://[2001:db8::1]:8080/x", "[2001:db8::1]:8080"),
        ] {
            let endpoint = endpoint(url);
            let start = str::from_utf8(&endpoint.form().unwrap().start).unwrap();
            assert!(start.contains(&format!("\r\nhost: {host}\r\n")), "{url}: {start}");
        }
    }

    #[test]
    fn debug_shows_neither_path_nor_key() {
        let text = format!("{:?}", endpoint("https://example.com/token-1234"));
        assert!(text.contains("example.com") && !text.contains("token"), "{text}");
    }
}
