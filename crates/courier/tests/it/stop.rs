//! A stop gives back what was not begun, and keeps what is known.

use std::time::Duration;

use posthaste_courier::Permission;
use posthaste_domain::{EventStatus, InstanceId, Resolution};
use posthaste_ports::memory::Operation;
use posthaste_ports::{
    JobStore as _, Journal as _, Outgoing, Queue as _, Rows as _, Settled, Written,
};
use posthaste_protocol::claim;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::Bench;

/// What was not begun can be received at once; what waits for the table stays hidden, and in the
/// outbox.
#[tokio::test(start_paused = true)]
async fn only_what_was_not_begun_is_given_back() {
    let mut bench = Bench::start().await;
    bench.post().await;
    let known = bench.arrived().await;
    bench.post().await;
    let begun = bench.arrived().await;
    bench.broken.set(&[Operation::Write]);
    let (courier, settlement) =
        (bench.courier.clone(), bench.settlement(&known, Resolution::Delivered));
    let mut settling = JoinSet::new();
    settling.spawn(async move { courier.settle(vec![settlement]).await });
    bench.until(|it| it.courier.stats().write_failures > 0).await;
    assert!(!bench.stop().await, "the outcome is not in its row");
    settling.shutdown().await;
    let outbox = bench.jobs.outbox(None, 10).await.unwrap();
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].key, known.key);
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
    let queue = bench.queue.clone();
    let mut later = JoinSet::new();
    later.spawn(async move {
        sleep(Duration::from_millis(500)).await;
        queue.send(vec![Outgoing { body: "{}".into(), group: "acme".into() }]).await
    });
    assert!(bench.stop().await);
    assert_eq!(later.join_all().await, [[Ok(())]]);
    let shown = bench.queue.receive(10, 0).await.unwrap();
    assert_eq!(shown.len(), 1, "it is not hidden");
    assert_eq!(shown[0].receives, 2, "the poll had it");
    assert_eq!(bench.courier.stats().received, 0, "and took nothing in");
}

/// A stop waits for what is to be written once more, in the pause before that too.
#[tokio::test(start_paused = true)]
async fn what_can_be_written_in_time_is() {
    let mut bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    bench.broken.set(&[Operation::Write]);
    let (courier, settlement) =
        (bench.courier.clone(), bench.settlement(&owed, Resolution::Delivered));
    let mut settling = JoinSet::new();
    settling.spawn(async move { courier.settle(vec![settlement]).await });
    bench.until(|it| it.courier.stats().write_failures > 0).await;
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
        assert_eq!(bench.courier.release_leases().await, Ok(1));
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
