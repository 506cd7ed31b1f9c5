//! A record of each kind as it usually is, for what becomes of it: its bytes, and itself again.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{Attempt, ErrorClass, PhaseTimings, SigningSecrets, TargetUrl, Verdict};
use posthaste_embedded::codec::{
    ClaimRow, CommitRow, Decodable, Encodable, EventRow, FreshRow, KeyRow, LogRow, Standing,
    TenantRow, TimerRow,
};
use posthaste_ports::TenantRecord;

use crate::fixture::{self, EPOCH};
use crate::request::TARGET;

/// Does something with a record, whatever its kind.
pub trait Visit {
    /// `name` says the kind, and what it is an example of.
    fn record<R: Decodable + Encodable + PartialEq>(&mut self, name: &str, record: R);
}

/// Shows a record of each kind; those that every delivery writes come first.
pub fn each(visit: &mut impl Visit) {
    visit.record("event, delivered", event());
    visit.record("fresh", FreshRow { round: 0, interrupted: 0 });
    visit.record("log, delivered", LogRow::of(0, &delivered()));
    visit.record("log, failed", LogRow::of(0, &failed()));
    let shard_key = 0xDEAD_BEEF;
    visit.record("timer", TimerRow { shard_key, round: 0, attempts: 3, interrupted: 0 });
    let ends = EPOCH.as_millis();
    visit.record("claim", ClaimRow { body: [7; 32], event: fixture::event(1).as_u128(), ends });
    let tenant = fixture::tenant(1).to_string();
    visit.record("key", KeyRow { tenant, active: true, created_at: EPOCH.as_millis() });
    let low = EPOCH.as_millis();
    let commit = CommitRow { number: 70_000, accepted: 65_000, timers_low: low, expiry_low: low };
    visit.record("commit", commit);
    visit.record("tenant", tenant_row());
}

/// An event that was delivered by its first attempt.
#[must_use]
pub fn event() -> EventRow {
    let ends = EPOCH.plus_millis(30 * 86_400_000).as_millis();
    EventRow {
        standing: Standing::Delivered { ends },
        attempts: 1,
        logged: 1,
        last_attempt_at: Some(EPOCH.as_millis()),
        ..EventRow::accepted()
    }
}

/// The attempt that delivered it.
#[must_use]
pub fn delivered() -> Attempt {
    Attempt { phases: phases(), ..fixture::attempt(1, EPOCH, Verdict::Delivered) }
}

/// An attempt that failed, with a page of 1 KiB for an answer.
#[must_use]
pub fn failed() -> Attempt {
    let class = ErrorClass::Timeout;
    let verdict = Verdict::Failed { class, retry_after_ms: Some(120_000) };
    let error = "the attempt was not done within 30000 ms (reading the response body)";
    Attempt {
        error: Some(error.into()),
        response: Bytes::from(vec![b'x'; 1024]),
        phases: phases(),
        ..fixture::attempt(3, EPOCH, verdict)
    }
}

const fn phases() -> PhaseTimings {
    PhaseTimings {
        queue_us: 180,
        dns_us: 0,
        connect_us: 0,
        tls_us: 0,
        first_byte_us: 2_700,
        total_us: 3_100,
        reused: true,
    }
}

fn tenant_row() -> TenantRow {
    let target = TargetUrl::parse_stored(TARGET).expect("lawful");
    TenantRow::of(&TenantRecord {
        id: fixture::tenant(1),
        shard_key: target.shard_key(),
        target,
        secrets: SigningSecrets::new(fixture::secret(1)),
        plan: "standard".into(),
        options: Arc::default(),
        created_at: EPOCH,
        updated_at: EPOCH,
        version: 1,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use posthaste_embedded::codec::{decode, encode};

    use super::*;

    /// For all kinds: what is measured is a record that comes back as it was, under its own name.
    #[test]
    fn each_record_comes_back() {
        #[derive(Default)]
        struct Names(BTreeSet<String>, usize);
        impl Visit for Names {
            fn record<R: Decodable + Encodable + PartialEq>(&mut self, name: &str, record: R) {
                assert!(decode::<R>(&encode(&record)).is_ok_and(|read| read == record), "{name}");
                self.0.insert(name.to_owned());
                self.1 += 1;
            }
        }
        let mut names = Names::default();
        each(&mut names);
        assert_eq!((names.0.len(), names.1), (9, 9));
    }
}
