//! What AWS answers when it refuses, as one line that a person can act on, and as what a caller
//! should do.
//!
//! | what happened                                   | port error  |
//! |-------------------------------------------------|-------------|
//! | throttled, in whichever words                   | `Throttled` |
//! | no answer, 5xx, expired or missing credentials  | `Transient` |
//! | our clock is off                                | `Transient` |
//! | not there, not permitted, refused as wrong      | `Permanent` |
//!
//! Expired credentials pass by themselves (the chain fetches new ones). What is `Permanent` needs
//! a person, but no restart: a table that is made or a permission that is granted is found by the
//! next call.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use posthaste_ports::PortError;
use thiserror::Error;

/// How long a throttled caller stays away at first; it doubles this by itself.
const THROTTLED_MS: u64 = 100;

/// A queue or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    kind: &'static str,
    name: Arc<str>,
    region: Arc<str>,
}

impl Resource {
    pub(crate) fn new(kind: &'static str, name: &str, region: &Arc<str>) -> Self {
        Self { kind, name: name.into(), region: Arc::clone(region) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in region {}", self.kind, self.name, self.region)
    }
}

/// Why a call came to nothing.
#[expect(clippy::error_impl_error, reason = "a reader sees `posthaste_aws::Error`")]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Nobody said which region.
    #[error("no region is set: set it in the configuration, or AWS_REGION")]
    NoRegion,
    /// It is not there.
    #[error("{0} does not exist: create it, or correct its name, the region or the account")]
    Missing(Resource),
    /// The credentials are good, and do not permit it.
    #[error("access denied: {action} on {resource}: allow this action in the role's policy")]
    Denied {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
    },
    /// The credentials were good once.
    #[error("credentials have expired: {action} on {resource}: renew them")]
    Expired {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
    },
    /// There are no credentials to be had.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// AWS does not know these credentials.
    #[error("credentials are not valid: {0}")]
    BadCredentials(String),
    /// Too much at once.
    #[error("throttled: {action} on {resource}")]
    Throttled {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
    },
    /// No answer, or one that says that AWS has a problem.
    #[error("no answer: {action} on {resource}: {reason}")]
    Unreachable {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
        /// What is known of it.
        reason: String,
    },
    /// The clock of this machine is off, so that AWS takes no call for one of today.
    #[error("the clock of this machine is wrong: {action} on {resource}: {reason}")]
    Clock {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
        /// Code and message, which names both times.
        reason: String,
    },
    /// A queue shows messages again after another time than it must.
    #[error(
        "{queue} hides messages for {} s; it must be {} s: set its VisibilityTimeout",
        found_ms / 1000,
        wanted_ms / 1000
    )]
    TimeOut {
        /// Which.
        queue: Resource,
        /// What it is set to, in milliseconds.
        found_ms: u64,
        /// What it must be, in milliseconds.
        wanted_ms: u64,
    },
    /// The call is wrong in the eyes of AWS.
    #[error("refused: {action} on {resource}: {reason}")]
    Refused {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
        /// Code and message.
        reason: String,
    },
    /// What AWS sent does not make sense to us.
    #[error("unreadable answer: {action} on {resource}: {reason}")]
    Unreadable {
        /// The action as policies spell it.
        action: &'static str,
        /// On what.
        resource: Resource,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether it may be over by itself soon; anything else takes a person.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. }
                | Self::Expired { .. }
                | Self::NoCredentials(_)
                | Self::Clock { .. }
                | Self::Unreachable { .. }
        )
    }
}

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        match error {
            Error::Throttled { .. } => Self::Throttled { retry_after_ms: THROTTLED_MS },
            Error::Expired { .. }
            | Error::NoCredentials(_)
            | Error::Clock { .. }
            | Error::Unreachable { .. } => Self::Transient(error.to_string()),
            Error::NoRegion
            | Error::Missing(_)
            | Error::Denied { .. }
            | Error::BadCredentials(_)
            | Error::TimeOut { .. }
            | Error::Refused { .. }
            | Error::Unreadable { .. } => Self::Permanent(error.to_string()),
        }
    }
}

/// A call, as error lines name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The action as policies spell it.
    pub(crate) action: &'static str,
    /// On what.
    pub(crate) resource: &'a Resource,
}

impl Call<'_> {
    /// What an SDK error means.
    pub(crate) fn failed<E, R>(&self, error: &SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + StdError + 'static,
        R: fmt::Debug,
    {
        let Some(service) = error.as_service_error() else { return self.unanswered(error) };
        match service.code() {
            Some(code) => self.answered(code, service.message().unwrap_or_default()),
            // An answer without a code is a proxy's or a broken service's.
            None => self.unreachable(chain(error)),
        }
    }

    /// What an error code means, of a call or of one entry in it.
    pub(crate) fn answered(&self, code: &str, message: &str) -> Error {
        let (action, resource) = (self.action, self.resource.clone());
        let reason = || {
            let colon = if message.is_empty() { "" } else { ": " };
            format!("{code}{colon}{message}")
        };
        // Some services put a namespace before the name.
        match code.rsplit(['#', '.']).next().unwrap_or(code) {
            "ThrottlingException"
            | "ThrottlingError"
            | "Throttling"
            | "ThrottledException"
            | "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "KmsThrottled"
            | "OverLimit"
            | "LimitExceededException" => Error::Throttled { action, resource },
            "QueueDoesNotExist"
            | "NonExistentQueue"
            | "ResourceNotFoundException"
            | "ResourceNotFound" => Error::Missing(resource),
            "AccessDenied" | "AccessDeniedException" | "KmsAccessDenied" => {
                Error::Denied { action, resource }
            }
            "ExpiredToken" | "ExpiredTokenException" => Error::Expired { action, resource },
            "RequestTimeTooSkewed" | "RequestExpired" => {
                Error::Clock { action, resource, reason: reason() }
            }
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if is_of_another_time(message) =>
            {
                Error::Clock { action, resource, reason: reason() }
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken" => Error::BadCredentials(reason()),
            "InternalServerError"
            | "InternalFailure"
            | "InternalError"
            | "ServiceUnavailable"
            | "TransactionConflict"
            | "TransactionConflictException"
            | "RequestTimeout" => self.unreachable(reason()),
            _ => Error::Refused { action, resource, reason: reason() },
        }
    }

    /// What came back makes no sense.
    pub(crate) fn unreadable(&self, reason: impl Into<String>) -> Error {
        let (action, resource) = (self.action, self.resource.clone());
        Error::Unreadable { action, resource, reason: reason.into() }
    }

    fn unanswered<E, R>(&self, error: &SdkError<E, R>) -> Error
    where
        E: StdError + 'static,
        R: fmt::Debug,
    {
        let reason = chain(error);
        // The SDK has no type for it: a chain of providers that has nothing to give is an error
        // of connecting to it.
        if reason.contains("credentials") {
            return Error::NoCredentials(reason);
        }
        self.unreachable(reason)
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable { action: self.action, resource: self.resource.clone(), reason }
    }
}

/// Whether a signature was refused for its time, which both services say in these words.
fn is_of_another_time(message: &str) -> bool {
    message.starts_with("Signature expired") || message.starts_with("Signature not yet current")
}

/// An error and what caused it, in one line; each says only its own part.
fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str) -> Error {
        let resource = Resource::new("queue", "acme", &"eu-west-1".into());
        Call { action: "sqs:SendMessage", resource: &resource }.answered(code, "why")
    }

    #[test]
    fn a_line_says_what_to_do() {
        for (code, line) in [
            (
                "AWS.SimpleQueueService.NonExistentQueue",
                "queue acme in region eu-west-1 does not exist: create it, or correct its name, \
                 the region or the account",
            ),
            (
                "AccessDeniedException",
                "access denied: sqs:SendMessage on queue acme in region eu-west-1: allow this \
                 action in the role's policy",
            ),
            (
                "InvalidMessageContents",
                "refused: sqs:SendMessage on queue acme in region \
                 eu-west-1: InvalidMessageContents: why",
            ),
        ] {
            assert_eq!(answered(code).to_string(), line);
        }
    }

    /// A signature of another time is nobody's wrong key.
    #[test]
    fn a_clock_that_is_off_is_told_from_a_wrong_key() {
        let resource = Resource::new("queue", "acme", &"eu-west-1".into());
        let call = Call { action: "sqs:SendMessage", resource: &resource };
        for (code, message) in [
            ("InvalidSignatureException", "Signature expired: 20261126T0500Z is now earlier than"),
            ("SignatureDoesNotMatch", "Signature not yet current: 20261126T0700Z is still later"),
            ("RequestTimeTooSkewed", ""),
            ("RequestExpired", "Request has expired."),
        ] {
            let error = call.answered(code, message);
            assert!(matches!(error, Error::Clock { .. }) && error.is_passing(), "{error:?}");
        }
        let wrong = call.answered("SignatureDoesNotMatch", "The request signature we calculated");
        assert!(matches!(wrong, Error::BadCredentials(_)), "{wrong:?}");
    }

    #[test]
    fn an_error_says_whether_to_come_again() {
        for throttled in ["ThrottlingException", "ProvisionedThroughputExceededException"] {
            let error = PortError::from(answered(throttled));
            assert!(matches!(error, PortError::Throttled { .. }), "{throttled}");
        }
        for transient in ["ExpiredTokenException", "InternalServerError", "ServiceUnavailable"] {
            let error = PortError::from(answered(transient));
            assert!(matches!(error, PortError::Transient(_)), "{transient}");
        }
        for permanent in ["AccessDenied", "ResourceNotFoundException", "SignatureDoesNotMatch"] {
            let error = PortError::from(answered(permanent));
            assert!(matches!(error, PortError::Permanent(_)), "{permanent}");
        }
    }
}
