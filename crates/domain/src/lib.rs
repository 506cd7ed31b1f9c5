//! The words of Posthaste, and the rules that need nothing but the words.
//!
//! Ids, time, deliveries, attempts, retry schedules, delivery options, secrets, signatures and
//! target URLs. This crate does no I/O, reads no clock and draws no entropy: callers pass both in.
//! It knows no other crate of the project, and every other crate knows it.
//!
//! A value that exists is valid: constructors that can fail are `try_new` or `parse`, and fields
//! with an invariant are private.

mod address;
mod api_key;
mod attempt;
mod delivery;
pub mod hex;
mod ids;
mod options;
mod row;
mod schedule;
mod secret;
mod signature;
mod target;
mod time;

pub use address::{AddressClass, AddressPolicy, AddressRefused};
pub use api_key::{ApiKey, ApiKeyError, KeyHash};
pub use attempt::{Attempt, ErrorClass, PhaseTimings, RESPONSE_KEPT_BYTES_MAX, Verdict};
pub use delivery::{
    DeadLetterCause, DeliveryKey, EventStatus, Owed, OwedAs, Resolution, Settlement, TimerPosition,
};
pub use ids::{EndpointId, EventId, IdError, TenantId};
pub use options::{
    Bounded, DeliveryOptions, ExtraHeaders, HeaderError, InFlightMax, OptionsChange, OutOfBounds,
    Part, RatePerS, RetryOption, RetryOptionError, TimeoutMs,
};
pub use row::{InstanceId, Lease, Refused, Row, RowChange, RowKey, RowWrite};
pub use schedule::{RetrySchedule, ScheduleError};
pub use secret::{SecretError, SigningSecrets, WebhookSecret};
pub use signature::{
    SIGNATURE_TOLERANCE_S, SigningKey, VerifyError, standard_signature, stripe_signature,
    verify_stripe,
};
pub use target::{Host, NameClass, TargetError, TargetUrl};
pub use time::Timestamp;
