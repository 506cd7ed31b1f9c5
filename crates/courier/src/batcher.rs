//! Work that goes out in batches: what waits, who takes it, and when it is worth going.
//!
//! A batch leaves as soon as it is full, or when nothing else is on its way, or after a short
//! linger. So a lone event waits for nobody, and under load requests are full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{Instant, timeout_at};

/// A queue whose takers take batches.
#[derive(Debug)]
pub(crate) struct Batcher<T> {
    waiting: Mutex<VecDeque<T>>,
    more: Notify,
    /// Rings when a batch has come to its end.
    ended: Notify,
    /// Only one taker collects at a time; the others wait in line.
    turn: Turn<()>,
    /// Batches that were taken and have not been dropped.
    going: AtomicUsize,
    batch_max: usize,
    linger: Duration,
}

/// A batch on its way, until it is dropped: whoever has to do it again pushes it back before.
/// While it lives, others may linger.
#[derive(Debug)]
pub(crate) struct Batch<'b, T> {
    pub(crate) items: Vec<T>,
    batcher: &'b Batcher<T>,
}

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.batcher.going.fetch_sub(1, Ordering::Relaxed);
        self.batcher.ended.notify_waiters();
    }
}

impl<T> Batcher<T> {
    pub(crate) fn new(batch_max: usize, linger: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            more: Notify::new(),
            ended: Notify::new(),
            turn: Turn::new(()),
            going: AtomicUsize::new(0),
            batch_max,
            linger,
        }
    }

    /// Adds work. Bounded by whoever adds: each piece belongs to a delivery that is held.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>) {
        self.lock().extend(items);
        self.more.notify_one();
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing waits and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        // In one look: between two of them a batch that failed may come back and end.
        let waiting = self.lock();
        waiting.is_empty() && self.going.load(Ordering::Relaxed) == 0
    }

    /// Resolves when nothing waits and nothing is on its way.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Enrolled before the look, so that no ring is missed.
            ended.as_mut().enable();
            if self.is_idle() {
                return;
            }
            ended.await;
        }
    }

    /// The next batch, when there is one that is worth going.
    pub(crate) async fn take(&self) -> Batch<'_, T> {
        let _turn = self.turn.lock().await;
        self.wait_for(1).await;
        if self.going.load(Ordering::Relaxed) > 0 {
            let end = Instant::now() + self.linger;
            // Full or not, it goes when the time is over.
            drop(timeout_at(end, self.wait_for(self.batch_max)).await);
        }
        let mut waiting = self.lock();
        let count = waiting.len().min(self.batch_max);
        self.going.fetch_add(1, Ordering::Relaxed);
        Batch { items: waiting.drain(..count).collect(), batcher: self }
    }

    async fn wait_for(&self, count: usize) {
        while self.len() < count {
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // Every step under the lock is one that cannot be left half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(5);

    #[tokio::test(start_paused = true)]
    async fn a_lone_piece_waits_for_nobody() {
        let batcher = Batcher::new(10, LINGER);
        batcher.push([1]);
        let before = Instant::now();
        let batch = batcher.take().await;
        assert_eq!((batch.items.as_slice(), Instant::now()), (&[1][..], before));
        assert!(!batcher.is_idle());
        drop(batch);
        assert!(batcher.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_goes_the_next_fills_up_or_lingers() {
        let batcher = Batcher::new(3, LINGER);
        batcher.push([0]);
        let going = batcher.take().await;
        batcher.push([1, 2]);
        let before = Instant::now();
        let lingered = batcher.take().await;
        assert_eq!((lingered.items.as_slice(), Instant::now() - before), (&[1, 2][..], LINGER));
        batcher.push(1..=7);
        let before = Instant::now();
        for part in [&[1, 2, 3][..], &[4, 5, 6]] {
            assert_eq!(batcher.take().await.items, part);
        }
        assert_eq!(Instant::now(), before, "full batches go at once");
        drop((going, lingered));
        assert_eq!(batcher.take().await.items, [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn takers_share_what_comes() {
        let batcher = Batcher::new(2, LINGER);
        let (one, other) = tokio::join!(batcher.take(), async {
            batcher.push([1]);
            batcher.push([2, 3]);
            batcher.take().await
        });
        let mut all = [one.items.clone(), other.items.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    }
}
