//! A tenant's record: of version 1, of version 2, which has its delivery options after it, and of
//! version 3, in which all of that is sealed but the shard key, which tools need without the key.
//!
//! ```text
//!  version 1   target, secret, older secrets, plan, shard key, created, updated, version
//!  version 2   the same, then: time-out, delays, attempts, rate, in flight, headers, paused,
//!              lifted
//!  version 3   shard key; nonce, sealed (version, and all that this version has), tag
//! ```
//!
//! Version 3 is what a ledger writes. The others are what is sealed, and what there was before.

use std::fmt;
use std::io;
use std::sync::Arc;

use bincode::{Decode, Encode};
use posthaste_domain::{
    Bounded, DeliveryOptions, ExtraHeaders, RetryOption, SigningSecrets, TargetUrl, TenantId,
    Timestamp, WebhookSecret,
};
use posthaste_ports::TenantRecord;

use super::{
    CodecError, Decodable, Encodable, VERSION, VERSION_OF_OPTIONS, VERSION_OF_SEALED, body_of,
    write_body,
};
use crate::vault::Vault;

/// A tenant.
#[derive(Clone, PartialEq, Eq)]
pub struct TenantRow(Form);

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Clear(ClearRow),
    Sealed(SealedRow),
}

/// What a tenant has.
#[derive(Clone, PartialEq, Eq)]
struct ClearRow {
    base: BaseRow,
    options: OptionsRow,
}

/// What version 3 has.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct SealedRow {
    shard_key: u32,
    sealed: Vec<u8>,
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

impl ClearRow {
    fn version(&self) -> u8 {
        if self.options == OptionsRow::default() { VERSION } else { VERSION_OF_OPTIONS }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_body(&self.base, bytes);
        if self.version() == VERSION_OF_OPTIONS {
            write_body(&self.options, bytes);
        }
    }

    fn read(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        let (base, options) = match version {
            VERSION => (body_of(body)?, OptionsRow::default()),
            VERSION_OF_OPTIONS => body_of(body)?,
            unknown => return Err(CodecError::Version(unknown)),
        };
        Ok(Self { base, options })
    }
}

impl Encodable for TenantRow {
    fn version(&self) -> u8 {
        match &self.0 {
            Form::Clear(row) => row.version(),
            Form::Sealed(_) => VERSION_OF_SEALED,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match &self.0 {
            Form::Clear(row) => row.write(bytes),
            Form::Sealed(row) => write_body(row, bytes),
        }
    }
}

impl Decodable for TenantRow {
    fn read(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        Ok(Self(match version {
            VERSION_OF_SEALED => Form::Sealed(body_of(body)?),
            earlier => Form::Clear(ClearRow::read(earlier, body)?),
        }))
    }
}

/// What a sealed record is about: nobody else's record opens in its place.
fn about(id: &TenantId, shard_key: u32) -> Vec<u8> {
    [b"posthaste tenant\0", &shard_key.to_le_bytes()[..], id.as_str().as_bytes()].concat()
}

impl TenantRow {
    /// Which shard owns the tenant.
    #[must_use]
    pub const fn shard_key(&self) -> u32 {
        match &self.0 {
            Form::Clear(row) => row.base.shard_key,
            Form::Sealed(row) => row.shard_key,
        }
    }

    /// Whether nobody reads it without the key.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        matches!(self.0, Form::Sealed(_))
    }

    /// The same, sealed.
    ///
    /// # Errors
    /// Where the system gives no random numbers.
    pub(crate) fn sealed(self, id: &TenantId, vault: &Vault) -> io::Result<Self> {
        let Form::Clear(row) = &self.0 else { return Ok(self) };
        let shard_key = row.base.shard_key;
        let mut clear = vec![row.version()];
        row.write(&mut clear);
        let sealed = vault.seal(&about(id, shard_key), &clear)?;
        Ok(Self(Form::Sealed(SealedRow { shard_key, sealed })))
    }

    /// The same, as it was before it was sealed.
    ///
    /// # Errors
    /// [`CodecError::Sealed`] without the key that it was sealed with, or where it was changed or
    /// is another tenant's.
    pub(crate) fn opened(self, id: &TenantId, vault: Option<&Vault>) -> Result<Self, CodecError> {
        let Form::Sealed(SealedRow { shard_key, sealed }) = &self.0 else { return Ok(self) };
        let clear = vault.and_then(|vault| vault.open(&about(id, *shard_key), sealed));
        let clear = clear.ok_or(CodecError::Sealed)?;
        let (version, body) = clear.split_first().ok_or(CodecError::Fields)?;
        Ok(Self(Form::Clear(ClearRow::read(*version, body)?)))
    }

    /// What is stored of a tenant, before it is sealed.
    #[must_use]
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
        Self(Form::Clear(ClearRow { base, options: OptionsRow::of(&record.options) }))
    }

    /// The tenant, whose id is in the row's key.
    ///
    /// # Errors
    /// [`CodecError::Fields`] where a part is not what a tenant has, [`CodecError::Sealed`] where
    /// it is sealed.
    pub fn record(self, id: TenantId) -> Result<TenantRecord, CodecError> {
        let Form::Clear(ClearRow { base, options }) = self.0 else {
            return Err(CodecError::Sealed);
        };
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
        let version = match &self.0 {
            Form::Clear(row) => Some(row.base.version),
            Form::Sealed(_) => None,
        };
        f.debug_struct("TenantRow").field("version", &version).finish_non_exhaustive()
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
