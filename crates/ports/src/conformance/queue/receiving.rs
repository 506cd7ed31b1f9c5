//! Sending and receiving.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::{LONG_MS, Maker, SHORT_MS, bodies, outgoing};

pub(super) async fn what_was_sent_is_received(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one", "two", "three"]).await;
    let received = bodies(&queue.many(3).await);
    assert_eq!(received, ["one", "two", "three"].map(Bytes::from).into());
    queue.nothing(0).await;
}

pub(super) async fn an_empty_queue_has_nothing(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.nothing(0).await;
}

pub(super) async fn at_most_what_was_asked_for(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(9).await;
    let mut left = 9;
    for max in [1, 3, 5] {
        let received = queue.many(max).await.len();
        left -= received;
    }
    assert_eq!(left, 0);
    queue.nothing(0).await;
}

pub(super) async fn ten_at_a_time(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(20).await;
    let received = queue.many(20).await;
    assert_eq!(bodies(&received).len(), 20, "each once");
}

pub(super) async fn a_long_poll_does_not_wait_for_more(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let receive = queue.receive(10, 20_000);
    let received = tokio::time::timeout(Duration::from_secs(10), receive).await;
    assert_eq!(received.expect("it comes at once").len(), 1);
}

pub(super) async fn a_long_poll_wakes_up(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let send = async {
        // Nobody tells when the poll has begun.
        tokio::time::sleep(Duration::from_millis(400)).await;
        queue.send(&["late"]).await;
    };
    let receive = tokio::time::timeout(Duration::from_secs(12), queue.receive(10, 20_000));
    let (received, ()) = tokio::join!(receive, send);
    assert_eq!(bodies(&received.expect("it wakes up")), ["late"].map(Bytes::from).into());
}

pub(super) async fn a_long_poll_ends(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let receive = tokio::time::timeout(Duration::from_secs(10), queue.receive(10, 1_000));
    assert_eq!(receive.await.expect("it ends"), Vec::new());
}

pub(super) async fn receives_are_counted(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    for receives in 1..=4 {
        let message = queue.one().await;
        assert_eq!(message.receives, receives);
        queue.hide(&[message], 0).await;
    }
}

pub(super) async fn the_time_of_sending_stays(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let first = queue.one().await;
    assert!(first.sent_at.as_millis() > 1_600_000_000_000, "Unix milliseconds: {first:?}");
    queue.hide(std::slice::from_ref(&first), 0).await;
    assert_eq!(queue.one().await.sent_at, first.sent_at);
}

pub(super) async fn bodies_come_as_they_were(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let sent = [
        "{\"payload\":\"{\\\"a\\\":\\\"\\\\u0000\\\"}\"}",
        " \t\r\n&<>\"'%+=",
        "é 🦀 \u{2028} \u{fffd}",
        "x",
    ];
    queue.send(&sent).await;
    let received = bodies(&queue.many(sent.len()).await);
    assert_eq!(received, sent.map(Bytes::from).into());
}

/// The largest that we send.
pub(super) async fn a_large_body(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let body = "{}".repeat(128 * 1024);
    queue.send(&[&body]).await;
    assert!(queue.one().await.body == body.as_bytes(), "it comes as it was");
}

pub(super) async fn large_bodies_in_one_call(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let sent: Vec<_> = (0..5).map(|number| number.to_string().repeat(150_000)).collect();
    queue.send(&sent.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(bodies(&queue.many(5).await).len(), 5);
}

pub(super) async fn every_group_is_served(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let groups = ["acme", "a-1", &"x".repeat(50)];
    let messages =
        |group: &&str| (0..4).map(|n| outgoing(&format!("{group} {n}"), group)).collect();
    let messages: Vec<Vec<_>> = groups.iter().map(messages).collect();
    assert!(queue.0.send(messages.concat()).await.iter().all(Result::is_ok));
    // None waits for another's delete: the queue has no order.
    let received = queue.many(12).await;
    assert_eq!(bodies(&received).len(), 12);
}

pub(super) async fn two_receivers_share(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(20).await;
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    while count < 20 {
        let (one, other) = tokio::join!(queue.receive(5, SHORT_MS), queue.receive(5, SHORT_MS));
        let received = [one, other].concat();
        assert!(!received.is_empty(), "{count} of 20 came");
        count += received.len();
        seen.extend(bodies(&received));
    }
    assert_eq!((count, seen.len()), (20, 20), "each once");
}

pub(super) async fn queues_are_apart(maker: Maker) {
    let (one, other) = (maker.other("a", LONG_MS).await, maker.other("b", LONG_MS).await);
    one.send(&["one"]).await;
    other.nothing(0).await;
    let foreign = one.one().await;
    one.delete(&[foreign]).await;
    other.send(&["other"]).await;
    assert_eq!(other.one().await.body, "other");
}
