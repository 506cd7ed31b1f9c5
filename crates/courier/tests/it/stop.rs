//! A stop gives back what was not begun, and keeps what is known.

use posthaste_domain::Resolution;
use posthaste_ports::memory::Operation;
use posthaste_ports::{JobStore as _, Journal as _, Queue as _};
use tokio::task::JoinSet;

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
    bench.stop().await;
    settling.shutdown().await;
    let outbox = bench.jobs.outbox(None, 10).await.unwrap();
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].key, known.key);
    let shown = bench.queue.receive(10, 0).await.unwrap();
    assert_eq!(shown.len(), 1, "{shown:?}");
    let text = String::from_utf8(shown[0].body.to_vec()).unwrap();
    assert!(text.contains(&begun.key.event.to_string()), "{text}");
}
