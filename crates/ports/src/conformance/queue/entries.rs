//! Calls of many entries, and what is wrong with one of them.

use super::{LONG_MS, Line, Maker, SHORT_MS, bodies, is_permanent, outgoing, receipts};
use crate::Receipt;

fn nobody() -> Receipt {
    Receipt("no receipt at all".into())
}

pub(super) async fn nothing_in_nothing_out(maker: Maker) {
    let Line(queue) = maker.queue(LONG_MS).await;
    assert_eq!(queue.send(Vec::new()).await, []);
    assert_eq!(queue.delete(Vec::new()).await, []);
    assert_eq!(queue.hide(Vec::new(), 1_000).await, []);
}

pub(super) async fn deleted_is_gone(maker: Maker) {
    let queue = maker.queue(SHORT_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.delete(&[message]).await;
    queue.nothing(3 * SHORT_MS).await;
}

/// The reply to a delete was lost.
pub(super) async fn deleting_twice_is_once(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.delete(std::slice::from_ref(&message)).await;
    queue.delete(&[message]).await;
}

pub(super) async fn a_deleted_message_cannot_be_hidden(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send(&["one"]).await;
    let message = queue.one().await;
    queue.delete(std::slice::from_ref(&message)).await;
    let answers = queue.0.hide(receipts(&[message]), 1_000).await;
    assert!(answers.iter().all(is_permanent), "{answers:?}");
    queue.nothing(0).await;
}

pub(super) async fn no_receipt_at_all_is_refused(maker: Maker) {
    let Line(queue) = maker.queue(LONG_MS).await;
    let (deleted, hidden) =
        (queue.delete(vec![nobody()]).await, queue.hide(vec![nobody()], 1_000).await);
    assert!(deleted.iter().chain(&hidden).all(is_permanent), "{deleted:?} {hidden:?}");
    assert_eq!((deleted.len(), hidden.len()), (1, 1));
}

pub(super) async fn each_entry_has_its_answer(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(4).await;
    let mut wanted = receipts(&queue.many(4).await);
    wanted.insert(2, nobody());
    let hidden = queue.0.hide(wanted.clone(), LONG_MS).await;
    let refused: Vec<_> = hidden.iter().map(is_permanent).collect();
    assert_eq!(refused, [false, false, true, false, false], "{hidden:?}");
    let deleted = queue.0.delete(wanted).await;
    let refused: Vec<_> = deleted.iter().map(is_permanent).collect();
    assert_eq!(refused, [false, false, true, false, false], "{deleted:?}");
}

pub(super) async fn twenty_five_entries(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(25).await;
    let received = queue.many(25).await;
    assert_eq!(bodies(&received).len(), 25, "each once");
    queue.delete(&received).await;
    queue.nothing(0).await;
}

pub(super) async fn thirteen_are_hidden_at_once(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    queue.send_many(13).await;
    let received = queue.many(13).await;
    queue.hide(&received, 0).await;
    assert!(queue.many(13).await.iter().all(|message| message.receives == 2));
}

pub(super) async fn a_body_that_cannot_go_stops_nobody(maker: Maker) {
    let queue = maker.queue(LONG_MS).await;
    let messages = ["one", "", "two"].map(|body| outgoing(body, "acme")).to_vec();
    let answers = queue.0.send(messages).await;
    assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())));
    assert!(is_permanent(&answers[1]), "{answers:?}");
    assert_eq!(bodies(&queue.many(2).await).len(), 2);
}
