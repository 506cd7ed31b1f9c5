//! Copies are told from events, and messages that are none are put aside.

use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{EventId, EventStatus, Resolution, RowKey};
use posthaste_ports::Settled;
use posthaste_protocol::EventMessage;
use tokio::time::sleep;

use crate::support::{Bench, message};

/// While an event is held, a copy renews; afterwards it is deleted. Neither is attempted.
#[tokio::test(start_paused = true)]
async fn copies_are_acknowledged_without_an_attempt() {
    let bench = Bench::start().await;
    let key = bench.post().await;
    let owed = bench.arrived().await;
    bench.send(&message(&key, 0, Some("{}"))).await;
    bench.until(|it| it.courier.stats().copies_renewed == 1).await;
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    assert_eq!(bench.row(&key).status, EventStatus::Delivered);
    // The first copy has an older receipt: it comes again, is read, and goes.
    bench.until(|it| it.queue.is_empty()).await;
    for _ in 0..3 {
        bench.send(&EventMessage { again: true, ..message(&key, 0, None) }).await;
    }
    bench.until(|it| it.queue.is_empty()).await;
    let stats = bench.courier.stats();
    assert_eq!((stats.taken, stats.copies_deleted), (1, 4));
    assert!(bench.no_arrivals());
}

/// What is no message, and what names no event, goes to the DLQ with its cause.
#[tokio::test(start_paused = true)]
async fn poison_is_put_aside() {
    let bench = Bench::start().await;
    bench.send_body(Bytes::from_static(b"\xFF{")).await;
    let stranger = RowKey { tenant: bench.post().await.tenant, event: EventId::from_u128(9) };
    let owed = bench.arrived().await;
    bench.send(&message(&stranger, 0, None)).await;
    bench.until(|it| it.courier.stats().quarantined == 2).await;
    let bodies = bench.dead.bodies();
    let text = |at: usize| String::from_utf8(bodies[at].to_vec()).unwrap();
    assert!(text(0).contains("not a message"), "{}", text(0));
    assert!(text(1).contains("no such event"), "{}", text(1));
    // They hold up nobody.
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    bench.until(|it| it.queue.is_empty()).await;
}

/// A message that is held for a quarter of an hour is shown to nobody else.
#[tokio::test(start_paused = true)]
async fn what_is_held_stays_hidden() {
    let bench = Bench::start().await;
    bench.post().await;
    let owed = bench.arrived().await;
    sleep(Duration::from_secs(900)).await;
    let stats = bench.courier.stats();
    assert_eq!((stats.received, stats.held), (1, 1));
    assert!(stats.hide_requests >= 5, "{stats:?}");
    assert_eq!(bench.settle(&owed, Resolution::Delivered).await, Settled::Settled);
    bench.until(|it| it.queue.is_empty()).await;
}
