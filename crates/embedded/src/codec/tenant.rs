//! A tenant's record, of version 1 and of version 2, which has its delivery options after it.
//!
//! ```text
//!  version 1   target, secret, older secrets, plan, shard key, created, updated, version
//!  version 2   the same, then: time-out, delays, attempts, rate, in flight, headers, paused,
//!              lifted
//! ```
//!
//! A tenant without options is still written as version 1: who goes back to an earlier release of
//! this program can, for as long as nobody has set an option.

use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};
use posthaste_domain::{
    Bounded, DeliveryOptions, ExtraHeaders, RetryOption, SigningSecrets, TargetUrl, TenantId,
    Timestamp, WebhookSecret,
};
use posthaste_ports::TenantRecord;

use super::{CodecError, Decodable, Encodable, VERSION, VERSION_OF_OPTIONS, body_of, write_body};

/// A tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantRow {
    base: BaseRow,
    options: OptionsRow,
}

/// What version 1 has.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct BaseRow {
    target: String,
    secret: String,
    /// Older secrets, newest first, with the times at which they end.
    previous: Vec<(String, u64)>,
    plan: String,
    shard_key: u32,
    created_at: u64,
    updated_at: u64,
    version: u64,
}

/// What version 2 has after it.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
struct OptionsRow {
    timeout_ms: Option<u32>,
    delays_ms: Option<Vec<u64>>,
    attempts_max: Option<u32>,
    rate_per_s: Option<u32>,
    in_flight_max: Option<u32>,
    /// Names and values, in the order of the names.
    headers: Vec<(String, String)>,
    paused: bool,
    lifted_at: Option<u64>,
}

impl Encodable for TenantRow {
    fn version(&self) -> u8 {
        if self.options == OptionsRow::default() { VERSION } else { VERSION_OF_OPTIONS }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_body(&self.base, bytes);
        if self.version() == VERSION_OF_OPTIONS {
            write_body(&self.options, bytes);
        }
    }
}

impl Decodable for TenantRow {
    fn read(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        let (base, options) = match version {
            VERSION => (body_of(body)?, OptionsRow::default()),
            VERSION_OF_OPTIONS => body_of(body)?,
            unknown => return Err(CodecError::Version(unknown)),
        };
        Ok(Self { base, options })
    }
}

impl TenantRow {
    /// What is stored of a tenant.
    pub fn of(record: &TenantRecord) -> Self {
        let older = record.secrets.previous().iter();
        let base = BaseRow {
            target: record.target.as_str().to_owned(),
            secret: record.secrets.current().expose().to_owned(),
            previous: older
                .map(|(secret, ends)| (secret.expose().to_owned(), ends.as_millis()))
                .collect(),
            plan: record.plan.to_string(),
            shard_key: record.shard_key,
            created_at: record.created_at.as_millis(),
            updated_at: record.updated_at.as_millis(),
            version: record.version,
        };
        Self { base, options: OptionsRow::of(&record.options) }
    }

    /// The tenant, whose id is in the row's key.
    ///
    /// # Errors
    /// [`CodecError::Fields`] where a part is not what a tenant has.
    pub fn record(self, id: TenantId) -> Result<TenantRecord, CodecError> {
        let Self { base, options } = self;
        let secret = |text: &str| WebhookSecret::try_new(text).map_err(|_| CodecError::Fields);
        let previous = base
            .previous
            .iter()
            .map(|(text, ends)| Ok((secret(text)?, Timestamp::from_millis(*ends))))
            .collect::<Result<Vec<_>, CodecError>>()?;
        Ok(TenantRecord {
            id,
            target: TargetUrl::parse_stored(&base.target).map_err(|_| CodecError::Fields)?,
            secrets: SigningSecrets::from_parts(secret(&base.secret)?, previous),
            plan: base.plan.into(),
            shard_key: base.shard_key,
            options: Arc::new(options.options()?),
            created_at: Timestamp::from_millis(base.created_at),
            updated_at: Timestamp::from_millis(base.updated_at),
            version: base.version,
        })
    }
}

impl OptionsRow {
    fn of(options: &DeliveryOptions) -> Self {
        let DeliveryOptions { timeout, retry, rate, in_flight, headers, paused, lifted_at } =
            options;
        let retry = retry.as_ref();
        Self {
            timeout_ms: timeout.map(Bounded::value),
            delays_ms: retry.and_then(RetryOption::delays_ms).map(<[u64]>::to_vec),
            attempts_max: retry.and_then(RetryOption::attempts_max),
            rate_per_s: rate.map(Bounded::value),
            in_flight_max: in_flight.map(Bounded::value),
            headers: headers
                .expose()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            paused: *paused,
            lifted_at: lifted_at.map(Timestamp::as_millis),
        }
    }

    fn options(self) -> Result<DeliveryOptions, CodecError> {
        let retry = match (&self.delays_ms, self.attempts_max) {
            (None, None) => None,
            (delays, attempts_max) => {
                let retry = RetryOption::try_new(delays.as_deref(), attempts_max);
                Some(retry.map_err(|_| CodecError::Fields)?)
            }
        };
        Ok(DeliveryOptions {
            timeout: bounded(self.timeout_ms)?,
            retry,
            rate: bounded(self.rate_per_s)?,
            in_flight: bounded(self.in_flight_max)?,
            headers: ExtraHeaders::stored(self.headers).map_err(|_| CodecError::Fields)?,
            paused: self.paused,
            lifted_at: self.lifted_at.map(Timestamp::from_millis),
        })
    }
}

fn bounded<const MIN: u32, const MAX: u32>(
    stored: Option<u32>,
) -> Result<Option<Bounded<MIN, MAX>>, CodecError> {
    let lawful = |value: u32| Bounded::try_new(value.into()).map_err(|_| CodecError::Fields);
    stored.map(lawful).transpose()
}

/// Shows neither the secrets and headers, which the row has in the clear, nor the target, whose
/// path may be one.
impl fmt::Debug for TenantRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantRow").field("version", &self.base.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that was written before a header's name became reserved is read, without that header;
    /// what was never lawful is still damage.
    #[test]
    fn a_header_reserved_since_is_left_out() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = |headers| OptionsRow { headers, ..OptionsRow::default() }.options();
        let options = read(vec![pair("metadata-flavor", "Google"), pair("x-team", "blue")]);
        let headers = options.expect("it is read").headers;
        let left: Vec<_> = headers.expose().collect();
        assert_eq!(left, [("x-team", "blue")]);
        for never in [pair("x team", "blue"), pair("x-team", "blue\r\n")] {
            let refused = read(vec![never]);
            assert!(matches!(refused, Err(CodecError::Fields)), "{refused:?}");
        }
    }
}
