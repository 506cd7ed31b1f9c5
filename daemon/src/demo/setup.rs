//! What the demo runs on: a directory of its own, and a configuration that nobody else touches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use posthaste_domain::ApiKey;
use tempfile::TempDir;

use crate::chance::Chance;
use crate::cli::Demo;
use crate::config::layers::{Flag, Sources};
use crate::config::{self, Config};

/// The shortened schedule: an event that fails for good is dead-lettered after four seconds.
const DELAYS: &str = "400ms,800ms,1200ms,1600ms";

/// Emulators take any region.
const EMULATED_REGION: &str = "us-east-1";

/// Where the demo keeps its data.
#[derive(Debug)]
pub(super) enum Home {
    /// A directory that is removed at the end.
    Temporary(TempDir),
    /// One that somebody named.
    Named(PathBuf),
}

impl Home {
    /// Makes the directory.
    ///
    /// # Errors
    /// Where it cannot be made, or has something in it: old events would spoil the count.
    pub(super) fn make(named: Option<&Path>) -> Result<Self> {
        let Some(path) = named else {
            let made = tempfile::Builder::new().prefix("posthaste-demo-").tempdir();
            return Ok(Self::Temporary(made.context("cannot make a temporary directory")?));
        };
        let shown = path.display();
        if path.exists() {
            let listed = path.read_dir().with_context(|| format!("cannot use {shown}"));
            let empty = listed?.next().is_none();
            ensure!(empty, "{shown} is not empty: the demo wants a directory of its own");
        }
        Ok(Self::Named(path.to_owned()))
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Named(path) => path,
        }
    }

    /// What becomes of it.
    pub(super) const fn fate(&self) -> &'static str {
        match self {
            Self::Temporary(_) => "removed at the end",
            Self::Named(_) => "kept",
        }
    }
}

/// The configuration of the demo's instance: the defaults, but for what must be different. Neither
/// file nor environment is looked at, because a demo shows the same to everybody.
///
/// # Errors
/// Where the directory's name is no text, or what is set is refused.
pub(super) fn config(arguments: &Demo, home: &Home, admin_key: &ApiKey) -> Result<Config> {
    let listen = arguments.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let dir = home.path().to_str().context("the data directory's name is not UTF-8")?;
    let set = [
        ("server.listen", listen.to_string()),
        ("server.admin-listen", "127.0.0.1:0".to_owned()),
        ("auth.admin-key", admin_key.expose().to_owned()),
        ("data.dir", dir.to_owned()),
        // A temporary directory may be a small one.
        ("data.free-space-floor", "64MiB".to_owned()),
        ("data.ballast", "0B".to_owned()),
        ("delivery.allow-networks", opened(listen)),
        ("retry.delays", DELAYS.to_owned()),
        // Its dead endpoints are to use up their attempts within seconds, not to be spared.
        ("isolation.breaker-failures", "0".to_owned()),
        ("log.level", "warn".to_owned()),
    ];
    let cloud = arguments.aws.iter().flat_map(|address| {
        let prefix = format!("demo-{:08x}", Chance.number() >> 32);
        [
            ("aws.enabled", "true".to_owned()),
            ("aws.prefix", prefix),
            ("aws.region", EMULATED_REGION.to_owned()),
            ("aws.sqs-endpoint", address.clone()),
            ("aws.dynamodb-endpoint", address.clone()),
        ]
    });
    let flags = set
        .into_iter()
        .chain(cloud)
        .map(|(key, value)| Flag::Set(format!("{key}={value}")))
        .collect();
    let sources = Sources { flags, ..Sources::default() };
    Ok(config::load(sources)?.config)
}

/// What the demo opens for deliveries: loopback, and where it listens.
pub(super) fn opened(listen: SocketAddr) -> String {
    let ip = listen.ip();
    let (bits, loopback) = if ip.is_ipv4() { (32, "127.0.0.0/8") } else { (128, "::1/128") };
    if ip.is_loopback() || ip.is_unspecified() {
        if ip.is_ipv4() { loopback.to_owned() } else { format!("127.0.0.0/8,{loopback}") }
    } else {
        format!("127.0.0.0/8,{ip}/{bits}")
    }
}

/// Where who runs here reaches a listener: one that listens everywhere is on loopback too.
pub(super) fn reachable(listening: SocketAddr) -> SocketAddr {
    let local: std::net::IpAddr = match listening {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let ip = if listening.ip().is_unspecified() { local } else { listening.ip() };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all addresses that a demo may listen on: its own target is opened, and nothing else of
    /// the network.
    #[test]
    fn what_the_demo_opens_holds_where_it_listens() {
        for text in ["127.0.0.1:1", "0.0.0.0:1", "10.1.2.3:1", "[::1]:1", "[::]:1", "[fd00::7]:1"] {
            let listen: SocketAddr = text.parse().unwrap();
            let arguments = Demo {
                events: 1,
                rate: 0,
                payloads: None,
                once: true,
                data_dir: None,
                listen: Some(listen),
                aws: None,
            };
            let home = Home::Named("demo-data".into());
            let config = config(&arguments, &home, &ApiKey::from_entropy(&[1; 32])).unwrap();
            let policy = &config.delivery.address_policy;
            assert_eq!(policy.vet(reachable(listen).ip()), Ok(()), "{text}");
            assert_eq!(policy.vet("127.0.0.1".parse().unwrap()), Ok(()), "{text}");
            assert!(policy.vet("10.1.2.4".parse().unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Home::make(Some(folder.path())).is_ok());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = Home::make(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        assert!(Home::make(Some(&folder.path().join("file"))).is_err());
    }
}
