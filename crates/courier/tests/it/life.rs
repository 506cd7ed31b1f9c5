//! One event from its first attempt to its delivery, or through the DLQ into another round.

use posthaste_courier::Permission;
use posthaste_domain::{DeadLetterCause, EventStatus, OwedAs, Resolution};
use posthaste_ports::{Rows as _, Settled, Written};
use posthaste_protocol::{EventMessage, Requeued, requeue};

use crate::support::{Bench, message};

/// Delivered at once: two row writes in its life (its sender's and this), no read, and the message
/// goes after the row.
#[tokio::test(start_paused = true)]
async fn a_success_costs_one_row_write_and_one_deletion() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    assert_eq!((owed.round, owed.attempts, owed.owed_as), (0, 0, OwedAs::Fresh));
    assert_eq!(bench.courier.permit(&owed.key, 0, 1).await, Permission::Granted);
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
    bench.until(|it| it.queue.is_empty()).await;
    let stats = bench.courier.stats();
    assert_eq!((stats.taken, stats.outcomes_written, stats.deleted), (1, 1, 1));
    assert_eq!((stats.rows_read, stats.held, stats.held_bytes), (0, 0, 0));
}

/// A failure gives the row to this instance; the retry needs no message, and its success ends it.
#[tokio::test(start_paused = true)]
async fn a_failure_waits_by_lease_and_is_tried_again() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let due = bench.now().plus_millis(60_000);
    assert_eq!(bench.settle(&owed, Resolution::Retry { due }).await, Settled::Settled);
    let row = bench.row(&key);
    assert_eq!((row.status, row.attempts), (EventStatus::Failed, 1));
    assert_eq!(row.lease.unwrap().owner.unwrap().as_str(), "one");
    bench.until(|it| it.queue.is_empty()).await;

    let again = Bench::retry(owed, due);
    let made = bench.courier.permit(&again.key, 0, 1).await;
    assert_eq!(made, Permission::Withdrawn, "an attempt that has been made");
    assert_eq!(bench.courier.permit(&again.key, 0, 2).await, Permission::Granted);
    assert_eq!(bench.settle(&again, Resolution::Delivered).await, Settled::Settled);
    assert_eq!((bench.row(&key).status, bench.row(&key).attempts), (EventStatus::Delivered, 2));
    // Nothing is left that could be attempted.
    assert_eq!(bench.courier.permit(&again.key, 0, 3).await, Permission::Withdrawn);
}

/// The last failure: into the row, to the DLQ, then DLQ. A requeue begins another round, which its
/// message brings here.
#[tokio::test(start_paused = true)]
async fn the_dead_are_buried_and_may_come_back() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    let cause = DeadLetterCause::AttemptsExhausted;
    let dead = Resolution::DeadLettered { cause };
    assert_eq!(bench.settle(&owed, dead).await, Settled::Settled);
    bench.until(|it| it.row(&key).status == EventStatus::Dlq).await;
    let bodies = bench.dead.bodies();
    let letter = EventMessage::parse(&bodies[0]).unwrap();
    assert_eq!((bodies.len(), letter.key, letter.round), (1, key.clone(), Some(0)));
    assert_eq!(bench.courier.stats().dead_lettered, 1);

    let write = requeue(&key, 0, Requeued::Dead, bench.now());
    assert_eq!(bench.rows.write(vec![write]).await, [Ok(Written::Done)]);
    bench.send(&message(&key, 1, None)).await;
    let fresh = bench.arrived().await;
    assert_eq!((fresh.round, fresh.attempts), (1, 0));
    // The row is ours before the first attempt, so its message may go.
    assert_eq!(bench.row(&key).lease.unwrap().owner.unwrap().as_str(), "one");
    bench.until(|it| it.queue.is_empty()).await;
    assert_eq!(bench.courier.permit(&fresh.key, 1, 1).await, Permission::Granted);
    assert_eq!(bench.settle(&fresh, Resolution::Delivered).await, Settled::Settled);
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
}
