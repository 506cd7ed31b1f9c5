//! A stop gives back what was not begun, and keeps what is known.

use std::time::Duration;

use bytes::Bytes;
use posthaste_courier::{Permission, Released};
use posthaste_domain::{EventId, EventStatus, InstanceId, Resolution, RowKey, TenantId, Timestamp};
use posthaste_ports::memory::Operation;
use posthaste_ports::{
    Job, JobChange, JobState, JobStore as _, Journal as _, Outgoing, PortError, Queue as _,
    Rows as _, Settled, Written,
};
use posthaste_protocol::claim;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::{Bench, START, delivery, message};

type Settling = JoinSet<Result<Vec<Settled>, PortError>>;

/// An event that was delivered, and whose row cannot be written.
async fn unwritten(bench: &Bench) -> (RowKey, Settling) {
    let key = bench.post().await;
    let owed = bench.arrived().await;
    bench.broken.set(&[Operation::Write]);
    let (courier, settlement) =
        (bench.courier.clone(), bench.settlement(&owed, Resolution::Delivered));
    let mut settling = JoinSet::new();
    settling.spawn(async move { courier.settle(vec![settlement]).await });
    bench.until(|it| it.courier.stats().write_failures > 0).await;
    (key, settling)
}

/// Sends a message in half a second, while a stop waits for the poll that is under way.
fn sent_later(bench: &Bench, body: Bytes) -> JoinSet<Vec<Result<(), PortError>>> {
    let queue = bench.queue.clone();
    let mut later = JoinSet::new();
    later.spawn(async move {
        sleep(Duration::from_millis(500)).await;
        queue.send(vec![Outgoing { body, group: "acme".into() }]).await
    });
    later
}

/// What was not begun can be received at once; what waits for the table stays hidden, and in the
/// outbox.
#[tokio::test(start_paused = true)]
async fn only_what_was_not_begun_is_given_back() {
    let mut bench = Bench::start().await;
    let (known, mut settling) = unwritten(&bench).await;
    bench.post().await;
    let begun = bench.arrived().await;
    assert!(!bench.stop().await, "the outcome is not in its row");
    settling.shutdown().await;
    let outbox = bench.jobs.outbox(None, 10).await.unwrap();
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].key, delivery(&known));
    let shown = bench.queue.receive(10, 0).await.unwrap();
    assert_eq!(shown.len(), 1, "{shown:?}");
    let text = String::from_utf8(shown[0].body.to_vec()).unwrap();
    assert!(text.contains(&begun.key.event.to_string()), "{text}");
}

/// A stop waits for the poll that is under way, and what it brings is given back at once: the queue
/// may give a message to a poll that was abandoned, and hide it for minutes.
#[tokio::test(start_paused = true)]
async fn what_a_poll_brings_at_the_stop_is_given_back() {
    let mut bench = Bench::start().await;
    bench.until(|it| it.courier.stats().polls > 0).await;
    let later = sent_later(&bench, "{}".into());
    assert!(bench.stop().await);
    assert_eq!(later.join_all().await, [[Ok(())]]);
    let shown = bench.queue.receive(10, 0).await.unwrap();
    assert_eq!(shown.len(), 1, "it is not hidden");
    assert_eq!(shown[0].receives, 2, "the poll had it");
    assert_eq!(bench.courier.stats().received, 0, "and took nothing in");
}

/// A copy of what has its outcome here is not given back: whoever received it would attempt it
/// again, since the row does not have the outcome yet (seed 1914 of `fleet-sim`).
#[tokio::test(start_paused = true)]
async fn a_copy_of_what_is_known_stays_hidden_at_the_stop() {
    let mut bench = Bench::start().await;
    let (known, mut settling) = unwritten(&bench).await;
    let later = sent_later(&bench, message(&known, 0, Some("{}")).body());
    assert!(!bench.stop().await, "the outcome is not in its row");
    settling.shutdown().await;
    assert_eq!(later.join_all().await, [[Ok(())]]);
    assert_eq!(bench.queue.len(), 2);
    assert_eq!(bench.queue.receive(10, 0).await.unwrap(), []);
}

/// A stop waits for what is to be written once more, in the pause before that too.
#[tokio::test(start_paused = true)]
async fn what_can_be_written_in_time_is() {
    let mut bench = Bench::start().await;
    let (key, mut settling) = unwritten(&bench).await;
    let broken = bench.broken.clone();
    settling.spawn(async move {
        sleep(Duration::from_millis(10)).await;
        broken.set(&[]);
        Ok(Vec::new())
    });
    assert!(bench.stop().await, "the row has it");
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
    assert!(bench.jobs.outbox(None, 10).await.unwrap().is_empty());
}

/// A lease that was given away is this instance's no more: whoever goes on with its disk claims the
/// row before the attempt, and where somebody else has done so, makes none.
#[tokio::test(start_paused = true)]
async fn what_was_given_away_is_claimed_before_its_attempt() {
    for is_taken in [false, true] {
        let bench = Bench::start().await;
        let key = bench.post().await;
        let owed = bench.arrived().await;
        let due = bench.now().plus_millis(1_000);
        assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
        assert_eq!(bench.courier.release_leases(1_000).await, Ok(gave(1, 0)));
        let row = bench.row(&key);
        assert_eq!(row.lease.as_ref().unwrap().until, due);
        if is_taken {
            let other = InstanceId::try_new("two").unwrap();
            let write = claim(&key, &row, &other, bench.now()).unwrap();
            assert_eq!(bench.rows.write(vec![write]).await, [Ok(Written::Done)]);
        }
        let permission = bench.courier.permit(&owed.key, 0, 2).await;
        let expected = if is_taken { Permission::Withdrawn } else { Permission::Granted };
        assert_eq!(permission, expected);
        assert_eq!(bench.row(&key).lease.unwrap().epoch, 2);
    }
}

/// A stop waits for the sweep that is under way, which takes over nothing more: rows that were
/// claimed behind it would be nobody's until their leases end.
#[tokio::test(start_paused = true)]
async fn a_sweep_ends_at_the_stop() {
    for (slow, taken) in [(Operation::Read, 0), (Operation::Write, 1)] {
        let mut bench = Bench::start().await;
        // Each in a partition of its own.
        let mut keys = Vec::new();
        for _ in 0..8 {
            keys.push(bench.failed_elsewhere().await);
        }
        bench.broken.slow_down(slow, 50);
        bench.until(|it| it.broken.slow_calls() == 1).await;
        assert!(bench.stop().await);
        assert_eq!(bench.broken.slow_calls(), 1, "{slow:?}");
        let one = InstanceId::try_new("one").unwrap();
        let is_ours = |key: &&RowKey| bench.row(key).lease.unwrap().owner.as_ref() == Some(&one);
        assert_eq!(keys.iter().filter(is_ours).count(), taken, "{slow:?}");
        // It is known here, so that it can be given away.
        let given_away = taken as u64;
        assert_eq!(bench.courier.release_leases(1_000).await, Ok(gave(given_away, 0)));
    }
}

/// Leases are given away until time runs out.
#[tokio::test(start_paused = true)]
async fn giving_leases_away_ends_in_time() {
    let bench = Bench::start().await;
    bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(1_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    bench.broken.slow_down(Operation::Write, 2_000);
    let began = Instant::now();
    assert_eq!(bench.courier.release_leases(500).await, Ok(gave(0, 1)));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert_eq!(bench.courier.release_leases(0).await, Ok(gave(0, 1)));
    assert_eq!(bench.broken.slow_calls(), 1, "with no time nothing is begun");
    assert_eq!(bench.courier.release_leases(5_000).await, Ok(gave(1, 0)));
}

/// A table that does not answer is not asked page after page; one that refuses has answered.
#[tokio::test(start_paused = true)]
async fn giving_leases_away_ends_where_nothing_is_answered() {
    const WAIT: u64 = 2_500;
    for (broken, kept, calls) in [(&[Operation::Write][..], WAIT, 1), (&[][..], 0, 3)] {
        let bench = Bench::start().await;
        let due = bench.now().plus_millis(1_000_000);
        // Their rows are gone.
        let jobs = (0..WAIT).map(|number| JobChange::Put(Box::new(waiting(number, due))));
        bench.jobs.apply(jobs.collect()).await.unwrap();
        bench.broken.set(broken);
        bench.broken.slow_down(Operation::Write, 1);
        assert_eq!(bench.courier.release_leases(10_000).await, Ok(gave(0, kept)));
        assert_eq!(bench.broken.slow_calls(), calls);
    }
}

fn gave(given_away: u64, kept: u64) -> Released {
    Released { given_away, kept }
}

fn waiting(number: u64, due: Timestamp) -> Job {
    let tenant = TenantId::try_new("acme").unwrap();
    Job {
        key: delivery(&RowKey { tenant, event: EventId::from_parts(START, number.into()) }),
        round: 0,
        shard_key: 0,
        interrupted: 0,
        epoch: 1,
        lease_until: due,
        state: JobState::Waiting { due, attempts: 1 },
        payload: None,
    }
}
