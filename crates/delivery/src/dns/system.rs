//! The resolver that is used unless another one is injected: hickory, asking the system's name
//! servers or given ones.
//!
//! It asks for the absolute name only, A and AAAA together; the hosts file answers first, as it
//! does for every other program. Configuration and hosts file are read once, when it is made. It
//! remembers nothing: that is the caller's part.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver};
use tracing::warn;

use super::{Answer, Lookup, LookupError, Resolve};

/// Two tries fit into the usual limit of 3 s for a lookup.
const TRY_TIME: Duration = Duration::from_millis(1_400);
/// Tries after the first.
const RETRIES: usize = 1;
/// Questions on one TCP connection to a name server; hickory's 32 would make a burst of new names
/// fail as "busy".
const QUESTIONS_MAX: usize = 1_024;

/// Hickory's resolver.
#[derive(Clone)]
pub(crate) struct SystemResolver(TokioResolver);

impl SystemResolver {
    /// A resolver that asks `servers`, or the system's where none are given.
    ///
    /// A system without a usable `/etc/resolv.conf` gets a resolver that knows its hosts file and
    /// nothing else: deliveries to literal addresses need no more.
    ///
    /// # Errors
    /// Hickory's text where it cannot be set up.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let (config, system) = if servers.is_empty() {
            Self::system()
        } else {
            let servers = servers.iter().map(name_server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        *options = system;
        options.timeout = TRY_TIME;
        options.attempts = RETRIES;
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Always;
        options.max_active_requests = QUESTIONS_MAX;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    fn system() -> (ResolverConfig, ResolverOpts) {
        match hickory_resolver::system_conf::read_system_conf() {
            Ok(found) => found,
            Err(error) => {
                warn!(%error, "no name servers configured: only the hosts file is known");
                (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
            }
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemResolver")
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Lookup {
        let resolver = self.0.clone();
        let name = Name::from_ascii(name);
        Box::pin(async move {
            // Not even a name: nobody can have an address for it.
            let mut name = name.map_err(|_| LookupError::NoAddress { ttl: None })?;
            name.set_fqdn(true);
            let found = resolver.lookup_ip(name).await.map_err(|error| explain(&error))?;
            let records = found.as_lookup().answers();
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
            let ttl = Duration::from_secs(u64::from(ttl));
            Ok(Answer { addresses: found.iter().collect(), ttl })
        })
    }
}

fn explain(error: &NetError) -> LookupError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            let ttl = none.negative_ttl.map(|seconds| Duration::from_secs(u64::from(seconds)));
            LookupError::NoAddress { ttl }
        }
        NetError::Io(_) | NetError::NoConnections => LookupError::Unreachable(error.to_string()),
        NetError::Timeout => LookupError::Failed("the name servers do not answer".to_owned()),
        other => LookupError::Failed(other.to_string()),
    }
}
