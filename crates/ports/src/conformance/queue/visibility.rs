//! Hiding, and coming again.

use std::time::Duration;

use super::{LONG_MS, Maker, PATIENCE_MS, SHORT_MS, is_permanent, receipts};

pub(super) async fn a_received_message_is_hidden(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    queue.one().await;
    queue.nothing(1_000).await;
}

pub(super) async fn it_comes_again_when_its_time_is_over(maker: Maker) {
    let queue = maker.queue(SHORT_MS).await;
    queue.send(&["one"]).await;
    let first = queue.one().await;
    let second = queue.one().await;
    assert_eq!((second.body, second.receives), (first.body, first.receives + 1));
}

pub(super) async fn hidden_longer_it_stays_away(maker: Maker) {
    let queue = maker.queue(SHORT_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.hide(&[message], LONG_MS).await;
    queue.nothing(3 * SHORT_MS).await;
}

pub(super) async fn hidden_shorter_it_comes_sooner(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.hide(&[message], SHORT_MS).await;
    queue.nothing(0).await;
    assert_eq!(queue.one().await.receives, 2);
}

pub(super) async fn hidden_for_zero_it_comes_at_once(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.hide(&[message], 0).await;
    assert_eq!(queue.receive(10, 1_000).await.len(), 1);
}

/// A long poll that has begun sees a message whose time is over meanwhile.
pub(super) async fn a_long_poll_wakes_up_for_what_comes_again(maker: Maker) {
    let queue = maker.queue(2 * SHORT_MS).await;
    queue.send(&["one"]).await;
    queue.one().await;
    let receive = tokio::time::timeout(Duration::from_secs(15), queue.receive(10, 19_000));
    assert_eq!(receive.await.expect("it wakes up").len(), 1);
}

pub(super) async fn each_receive_has_a_receipt_of_its_own(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let first = queue.one().await;
    queue.hide(std::slice::from_ref(&first), 0).await;
    assert_ne!(queue.one().await.receipt, first.receipt);
}

/// Who lost a message to somebody else cannot take it away from them.
pub(super) async fn a_stale_receipt_hides_nothing(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let first = queue.one().await;
    queue.hide(std::slice::from_ref(&first), 0).await;
    queue.one().await;
    let answers = queue.0.hide(receipts(&[first]), 0).await;
    assert!(answers.iter().all(is_permanent), "{answers:?}");
    queue.nothing(1_000).await;
}

/// Whether a stale receipt deletes is left open, as SQS leaves it; the fresh one does.
pub(super) async fn a_stale_receipt_does_not_stop_the_fresh_one(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let first = queue.one().await;
    queue.hide(std::slice::from_ref(&first), 0).await;
    let second = queue.receive(1, PATIENCE_MS).await;
    queue.0.delete(receipts(&[first])).await;
    queue.delete(&second).await;
    queue.nothing(0).await;
}
