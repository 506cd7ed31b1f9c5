//! Settings that only make sense together.
//!
//! Each contradiction names both settings, their values and where they came from, and what would
//! be right. A setting that is wrong by itself is left out: it has been told already.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::Config;
use super::listing::Listing;
use super::problem::{Origin, Problem};

/// One setting may be as large as another one and no larger.
struct AtMost {
    small: (&'static str, u64),
    large: (&'static str, u64),
    because: &'static str,
}

/// The contradictions in a configuration.
pub(super) fn contradictions(
    config: &Config,
    listing: &Listing,
    faulty: &BTreeSet<String>,
) -> Vec<Problem> {
    let sound = |paths: [&str; 2]| !paths.iter().any(|path| faulty.contains(*path));
    let limits = limits(config).into_iter().chain(memory_limits(config));
    let mut problems: Vec<_> = limits
        .filter(|relation| sound([relation.small.0, relation.large.0]))
        .filter(|relation| relation.small.1 > relation.large.1)
        .map(|relation| {
            let (small, large) = (relation.small.0, relation.large.0);
            let (least, most) = (shown(listing, small), shown(listing, large));
            let right = format!("lower {small} to {most}, or raise {large} to {least}");
            let fault =
                format!("is above {}: {}; {right}", cited(listing, large), relation.because);
            problem(listing, small, fault)
        })
        .collect();
    let others = [
        same_port(config, listing),
        two_keys(listing),
        nobody_to_trust(config, listing),
        longer_than_a_lease(config, listing),
    ];
    let others = others.into_iter().flatten().filter(|(paths, _)| sound(*paths));
    problems.extend(others.map(|(_, problem)| problem));
    problems
}

/// What is lawful, but probably not what was meant.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let schedule = &config.retry.schedule;
    let (delays, attempts) = (schedule.delays_ms().len(), schedule.attempts_max() as usize);
    if attempts == 1 {
        notes.push("retry.attempts-max = 1: no delivery is ever tried again".to_owned());
    } else if delays > attempts {
        notes.push(format!(
            "retry.delays has {delays} delays, but with retry.attempts-max = {attempts} only the \
             first {} are used",
            attempts - 1
        ));
    }
    if config.server.open_tenant_creation && !config.server.listen.ip().is_loopback() {
        notes.push(format!(
            "server.open-tenant-creation = true: whoever reaches {} can create tenants and have \
             webhooks sent",
            config.server.listen
        ));
    }
    if let Some(admin) = config.server.admin_listen.filter(|admin| !admin.ip().is_loopback()) {
        notes.push(format!(
            "server.admin-listen = \"{admin}\" is not on loopback: it has no authentication, so \
             keep it away from the public"
        ));
    }
    notes
}

fn limits(config: &Config) -> [AtMost; 9] {
    let Config { delivery, engine, drain, retention, isolation, .. } = config;
    let at_most = |small, large, because| AtMost { small, large, because };
    let in_flight = ("delivery.in-flight-max", wide(delivery.in_flight_max));
    let connections = ("delivery.connections-max", wide(delivery.connections_max));
    // One a processor: a machine with more of them than attempts is not configured, but found.
    let shards = engine.shards.map_or(1, |shards| wide(shards.get()));
    let attempt = ("delivery.attempt-timeout", delivery.attempt_timeout_ms);
    let per_endpoint =
        ("delivery.in-flight-per-endpoint-max", wide(delivery.in_flight_per_endpoint_max));
    let held_per_endpoint = ("engine.held-per-endpoint-max", wide(engine.held_per_endpoint_max));
    let idempotency = ("retention.idempotency", retention.idempotency_ms);
    [
        at_most(
            ("delivery.connect-timeout", delivery.connect_timeout_ms),
            attempt,
            "connecting is a part of the attempt",
        ),
        at_most(
            attempt,
            ("drain.timeout", drain.timeout_ms),
            "a stop would cut off attempts that are in time",
        ),
        at_most(("engine.shards", shards), in_flight, "each shard needs one to do anything"),
        at_most(in_flight, connections, "every attempt needs a connection"),
        at_most(per_endpoint, in_flight, "an endpoint cannot have more than all together"),
        at_most(per_endpoint, held_per_endpoint, "what is in flight is in memory"),
        at_most(
            ("isolation.breaker-hold", isolation.breaker.hold_ms),
            ("isolation.breaker-hold-max", isolation.breaker.hold_ms_max),
            "it only grows",
        ),
        at_most(
            idempotency,
            ("retention.delivered", retention.delivered_ms),
            "a remembered key would answer with an event that is gone",
        ),
        at_most(
            idempotency,
            ("retention.dead-letter", retention.dead_letter_ms),
            "a remembered key would answer with an event that is gone",
        ),
    ]
}

fn memory_limits(config: &Config) -> [AtMost; 9] {
    let Config { server, data, delivery, engine, .. } = config;
    let at_most = |small, large, because| AtMost { small, large, because };
    let body = ("server.body-max", wide(server.body_bytes_max));
    let batch = ("server.batch-max", wide(server.batch_bytes_max));
    let receiver = ("server.receiver-body-max", wide(server.receiver_body_bytes_max));
    let bodies = ("server.bodies-memory-max", wide(server.bodies_bytes_max));
    let held = ("engine.held-max", wide(engine.held_max));
    let payloads = ("engine.payload-memory-max", wide(engine.payload_bytes_max));
    [
        at_most(body, batch, "an event that is accepted alone would not fit into a batch"),
        at_most(batch, bodies, "no batch of that size could ever be read"),
        at_most(receiver, bodies, "no webhook of that size could ever be read"),
        at_most(body, payloads, "an event of that size could never be delivered"),
        at_most(
            ("delivery.in-flight-max", wide(delivery.in_flight_max)),
            held,
            "what is in flight is in memory",
        ),
        at_most(
            ("engine.held-per-endpoint-max", wide(engine.held_per_endpoint_max)),
            held,
            "an endpoint cannot have more than all together",
        ),
        at_most(
            ("delivery.idle-per-target-max", wide(delivery.idle_per_target_max)),
            ("delivery.connections-max", wide(delivery.connections_max)),
            "a target cannot have more than all together",
        ),
        at_most(
            ("data.memtable", data.memtable_bytes),
            ("data.journal-max", data.journal_bytes_max),
            "the journals hold what is in the memtables",
        ),
        at_most(
            ("data.ballast", data.ballast_bytes),
            ("data.free-space-floor", data.free_space_floor_bytes),
            "giving up the ballast would open the door to new events, which take it at once",
        ),
    ]
}

type Contradiction = ([&'static str; 2], Problem);

fn same_port(config: &Config, listing: &Listing) -> Option<Contradiction> {
    let (listen, admin) = ("server.listen", "server.admin-listen");
    if !collide(config.server.listen, config.server.admin_listen?) {
        return None;
    }
    let fault = format!(
        "collides with {}: two listeners need two ports; take another port for one, or \"none\" \
         for {admin}",
        cited(listing, admin)
    );
    Some(([listen, admin], problem(listing, listen, fault)))
}

fn two_keys(listing: &Listing) -> Option<Contradiction> {
    let (key, file) = ("auth.admin-key", "auth.admin-key-file");
    let given = |path| listing.entry(path).is_some_and(|entry| entry.value != entry.default);
    if !given(key) || !given(file) {
        return None;
    }
    let fault = format!("is set beside {}: which one is it? leave one out", cited(listing, file));
    Some(([key, file], problem(listing, key, fault)))
}

fn nobody_to_trust(config: &Config, listing: &Listing) -> Option<Contradiction> {
    let (system, extra) = ("delivery.system-root-certificates", "delivery.extra-root-certificates");
    let delivery = &config.delivery;
    if delivery.system_root_certificates || !delivery.extra_root_certificates.is_empty() {
        return None;
    }
    let fault = format!(
        "leaves nobody to trust with {}: no https target could be reached; name the PEM files \
         of the authorities, or trust the system's",
        cited(listing, extra)
    );
    Some(([system, extra], problem(listing, system, fault)))
}

/// The protocol's times are made for an attempt: one that lasts longer could outlive its lease and
/// its message's time out of sight.
fn longer_than_a_lease(config: &Config, listing: &Listing) -> Option<Contradiction> {
    let (attempt, enabled) = ("delivery.attempt-timeout", "aws.enabled");
    let most = posthaste_protocol::ATTEMPT_MS_MAX;
    if !config.aws.enabled || config.delivery.attempt_timeout_ms <= most {
        return None;
    }
    let fault = format!(
        "is too long for {}: a message is hidden for {} s, which must hold an attempt several \
         times over; lower it to {} s",
        cited(listing, enabled),
        posthaste_protocol::VISIBILITY_MS / 1000,
        most / 1000
    );
    Some(([attempt, enabled], problem(listing, attempt, fault)))
}

/// Whether binding both would fail: the same port, on the same address or on all of them.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || everywhere)
}

fn problem(listing: &Listing, path: &str, fault: String) -> Problem {
    let origin = listing.entry(path).map_or(Origin::Default, |entry| entry.origin.clone());
    let value = Some(shown(listing, path));
    Problem { origin, setting: Some(path.to_owned()), value, fault }
}

/// `path = value (origin)`.
fn cited(listing: &Listing, path: &str) -> String {
    let origin = listing.entry(path).map_or(&Origin::Default, |entry| &entry.origin);
    format!("{path} = {} ({origin})", shown(listing, path))
}

fn shown(listing: &Listing, path: &str) -> String {
    listing.entry(path).map_or_else(String::new, super::listing::Entry::shown)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
