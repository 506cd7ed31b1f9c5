//! What a function is told by its environment: the daemon's setting names, a few of them.
//!
//! All problems are told at once, and a `POSTHASTE_` variable that nobody knows is one: a
//! misspelt setting must not be a setting that is silently not there. The admin key's hash is not
//! quoted where it is wrong, since what was put there by mistake may be the key.

use std::ffi::OsString;

use ipnet::IpNet;
use posthaste_aws::Settings;
use posthaste_domain::{AddressPolicy, KeyHash};
use thiserror::Error;
use tracing::Level;

const PREFIX: &str = "POSTHASTE_AWS_PREFIX";
const REGION: &str = "POSTHASTE_AWS_REGION";
const SQS_ENDPOINT: &str = "POSTHASTE_AWS_SQS_ENDPOINT";
const DYNAMODB_ENDPOINT: &str = "POSTHASTE_AWS_DYNAMODB_ENDPOINT";
const ADMIN_KEYS: &str = "POSTHASTE_AUTH_ADMIN_KEY_SHA256";
const OPEN_CREATION: &str = "POSTHASTE_SERVER_OPEN_TENANT_CREATION";
const ALLOW_NETWORKS: &str = "POSTHASTE_DELIVERY_ALLOW_NETWORKS";
const ALLOW_PORTS: &str = "POSTHASTE_DELIVERY_ALLOW_PORTS";
const SECRET_OVERLAP: &str = "POSTHASTE_SECRETS_OVERLAP";
const LOG_LEVEL: &str = "POSTHASTE_LOG_LEVEL";
/// What all of them begin with.
const OURS: &str = "POSTHASTE_";

/// As the daemon has it: a day to deploy every receiver again, and a month at most.
const SECRET_OVERLAP_DEFAULT_MS: u64 = 24 * HOUR_MS;
const SECRET_OVERLAP_MAX_MS: u64 = 30 * 24 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;

const PREFIX_DEFAULT: &str = "posthaste";
/// As the daemon has it: with what follows, a queue's name has at most 80 characters.
const PREFIX_CHARS_MAX: usize = 60;

/// What is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .problems.join("; "))]
pub struct EnvironmentError {
    /// One line for each variable.
    pub problems: Vec<String>,
}

/// What a function is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Queues and tables.
    pub aws: Settings,
    /// SHA-256 of each admin key.
    pub admin_keys: Vec<KeyHash>,
    /// Whether anybody may create a tenant.
    pub open_tenant_creation: bool,
    /// What targets may name beyond the public internet.
    pub address_policy: AddressPolicy,
    /// How long a replaced webhook secret goes on signing, in milliseconds.
    pub secret_overlap_ms: u64,
    /// Of our own lines.
    pub log_level: Level,
}

impl Environment {
    /// Of this process.
    ///
    /// # Errors
    /// [`EnvironmentError`] with everything that is wrong.
    pub fn of_process() -> Result<Self, EnvironmentError> {
        Self::of(std::env::vars_os())
    }

    /// Of these variables; those that are not ours are passed over.
    ///
    /// # Errors
    /// [`EnvironmentError`] with everything that is wrong.
    pub fn of(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvironmentError> {
        let mut reader = Reader::default();
        let mut environment = Self {
            aws: Settings::with_prefix(PREFIX_DEFAULT),
            admin_keys: Vec::new(),
            open_tenant_creation: false,
            address_policy: AddressPolicy::default(),
            secret_overlap_ms: SECRET_OVERLAP_DEFAULT_MS,
            log_level: Level::INFO,
        };
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(OURS)) else { continue };
            match value.to_str() {
                Some(value) => reader.take(&mut environment, name, value.trim()),
                None => reader.problems.push(format!("{name}: its value is not UTF-8")),
            }
        }
        // The order of variables is nobody's.
        reader.problems.sort();
        let Reader { problems } = reader;
        if problems.is_empty() { Ok(environment) } else { Err(EnvironmentError { problems }) }
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn take(&mut self, environment: &mut Environment, name: &str, value: &str) {
        let Environment { aws, admin_keys, open_tenant_creation, address_policy, .. } = environment;
        match name {
            PREFIX => {
                if let Some(prefix) = self.known(name, value, prefix(value), "a name") {
                    aws.names = Settings::with_prefix(prefix).names;
                }
            }
            REGION => aws.region = (!is_none(value)).then(|| value.to_owned()),
            SQS_ENDPOINT => self.set(&mut aws.sqs_endpoint, name, value, endpoint),
            DYNAMODB_ENDPOINT => self.set(&mut aws.dynamodb_endpoint, name, value, endpoint),
            ADMIN_KEYS => match list(value, key_hash) {
                Some(keys) => *admin_keys = keys,
                None => self.problems.push(format!(
                    "{name}: not a SHA-256 in 64 hex digits, or several with commas between"
                )),
            },
            OPEN_CREATION => {
                let switch = value.parse().ok();
                if let Some(open) = self.known(name, value, switch, "true or false") {
                    *open_tenant_creation = open;
                }
            }
            ALLOW_NETWORKS => {
                let form = "ranges such as 10.0.0.0/8";
                if let Some(allow) = self.known(name, value, list(value, network), form) {
                    address_policy.allow = allow;
                }
            }
            ALLOW_PORTS => {
                let ports = list(value, |text| text.parse().ok().filter(|port| *port > 0_u16));
                if let Some(ports) = self.known(name, value, ports, "ports from 1 to 65535") {
                    address_policy.allow_ports = ports;
                }
            }
            SECRET_OVERLAP => {
                let form = "a duration from 0s to 30d (ms, s, m, h, d)";
                if let Some(ms) = self.known(name, value, duration_ms(value), form) {
                    environment.secret_overlap_ms = ms;
                }
            }
            LOG_LEVEL => {
                if let Some(level) = self.known(name, value, level(value), "error to debug") {
                    environment.log_level = level;
                }
            }
            _ => self.problems.push(format!("{name}: no such setting of a function")),
        }
    }

    fn set(
        &mut self,
        place: &mut Option<String>,
        name: &str,
        value: &str,
        parse: impl Fn(&str) -> Option<String>,
    ) {
        if is_none(value) {
            *place = None;
        } else if let Some(parsed) = self.known(name, value, parse(value), "http://… or https://…")
        {
            *place = Some(parsed);
        }
    }

    fn known<T>(&mut self, name: &str, value: &str, parsed: Option<T>, form: &str) -> Option<T> {
        if parsed.is_none() {
            self.problems.push(format!("{name} = {value:?}: expected {form}"));
        }
        parsed
    }
}

fn is_none(value: &str) -> bool {
    value.is_empty() || value == "none"
}

fn duration_ms(value: &str) -> Option<u64> {
    let digits = value.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = value.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => HOUR_MS,
        "d" => 24 * HOUR_MS,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    (ms <= SECRET_OVERLAP_MAX_MS).then_some(ms)
}

fn prefix(value: &str) -> Option<&str> {
    let lawful = (1..=PREFIX_CHARS_MAX).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    lawful.then_some(value)
}

fn endpoint(value: &str) -> Option<String> {
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"))?;
    let lawful = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
    lawful.then(|| value.to_owned())
}

/// Entries with commas between; none where one of them is not lawful.
fn list<T>(value: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if is_none(value) {
        return Some(Vec::new());
    }
    value.split(',').map(|entry| parse(entry.trim())).collect()
}

/// A range, or an address alone.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
}

fn key_hash(text: &str) -> Option<KeyHash> {
    let mut hash = [0; 32];
    let lawful = text.len() == 2 * hash.len() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    lawful.then(|| KeyHash::from_bytes(hash))
}

fn level(text: &str) -> Option<Level> {
    [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG]
        .into_iter()
        .find(|level| level.as_str().eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::of(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn what_is_not_ours_is_passed_over() {
        let environment = of(&[("PATH", "/bin"), ("AWS_REGION", "eu-west-1")]).unwrap();
        assert_eq!(environment.aws, Settings::with_prefix("posthaste"));
        assert_eq!(environment.admin_keys, []);
        assert_eq!(environment.address_policy, AddressPolicy::default());
        assert!(!environment.open_tenant_creation);
    }

    #[test]
    fn every_setting_is_read() {
        let hash = "ab".repeat(32);
        let environment = of(&[
            (PREFIX, "acme-prod"),
            (REGION, "eu-west-1"),
            (SQS_ENDPOINT, "http://127.0.0.1:9324"),
            (DYNAMODB_ENDPOINT, "none"),
            (ADMIN_KEYS, &format!("{hash}, {}", "00".repeat(32))),
            (OPEN_CREATION, "true"),
            (ALLOW_NETWORKS, "127.0.0.0/8,::1"),
            (ALLOW_PORTS, "25, 6379"),
            (SECRET_OVERLAP, "90m"),
            (LOG_LEVEL, "debug"),
        ])
        .unwrap();
        assert_eq!(environment.aws.names.queue, "acme-prod-events");
        assert_eq!(environment.aws.region.as_deref(), Some("eu-west-1"));
        assert_eq!(environment.aws.sqs_endpoint.as_deref(), Some("http://127.0.0.1:9324"));
        assert_eq!(environment.aws.dynamodb_endpoint, None);
        assert_eq!(environment.admin_keys.len(), 2);
        assert_eq!(environment.admin_keys[0], KeyHash::from_bytes([0xab; 32]));
        assert!(environment.open_tenant_creation);
        assert_eq!(environment.address_policy.allow.len(), 2);
        assert_eq!(environment.address_policy.allow_ports, [25, 6379]);
        assert_eq!(environment.secret_overlap_ms, 90 * 60_000);
        assert_eq!(environment.log_level, Level::DEBUG);
    }

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("24h", 86_400_000), ("30d", 2_592_000_000)] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in ["", "0", "s", "-1s", "1 h", "1w", "31d", "18446744073709551615d"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    /// For all mistakes at once: each is told, and no secret is quoted.
    #[test]
    fn all_problems_are_told() {
        let error = of(&[
            (PREFIX, "a b"),
            (SQS_ENDPOINT, "sqs.example"),
            (ADMIN_KEYS, "phk_the-key-itself"),
            (OPEN_CREATION, "yes"),
            (ALLOW_NETWORKS, "10.0.0.0/8,everything"),
            (ALLOW_PORTS, "0"),
            (SECRET_OVERLAP, "31d"),
            (LOG_LEVEL, "trace"),
            ("POSTHASTE_AWS_PREFX", "acme"),
        ])
        .unwrap_err();
        assert_eq!(error.problems.len(), 9, "{error}");
        for name in [PREFIX, SQS_ENDPOINT, ADMIN_KEYS, ALLOW_PORTS, "POSTHASTE_AWS_PREFX"] {
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
        assert!(!error.to_string().contains("phk_"), "{error}");
    }
}
