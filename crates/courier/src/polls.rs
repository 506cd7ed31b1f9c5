//! How many long polls there are at a time, and whether any intake is under way.
//!
//! Polls that take turns at an almost empty queue bring a message or two each, and each is a
//! request that costs money and CPU; one poll at a deep queue brings ten a round trip and no more.
//! So their number follows what they bring: one more for each that comes back full, one less for
//! each that comes back almost empty. A backlog doubles them every round trip.

use std::sync::atomic::{AtomicUsize, Ordering};

use posthaste_ports::QUEUE_BATCH_MAX;
use tokio::sync::Notify;

/// A poll that brings fewer messages than this is one too many. With half of a full batch it would
/// be dropped and taken on again all the time: two polls share what fills one.
const WORTH_A_POLL: usize = 4;

/// Decides which of the loops that receive may poll.
#[derive(Debug)]
pub(crate) struct Polls {
    /// From one to `most`.
    wanted: AtomicUsize,
    most: usize,
    more: Notify,
    /// Polls under way, what they bring being taken in included, and sweeps.
    going: AtomicUsize,
    /// Rings when one has come to its end.
    ended: Notify,
}

/// A poll or a sweep under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Going<'p>(&'p Polls);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.0.going.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_waiters();
    }
}

impl Polls {
    /// Up to `most` of them, one to begin with.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            wanted: AtomicUsize::new(1),
            most: most.max(1),
            more: Notify::new(),
            going: AtomicUsize::new(0),
            ended: Notify::new(),
        }
    }

    /// Resolves when the loop of this index may poll; the first one always may.
    pub(crate) async fn turn(&self, index: usize) {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // Enrolled before the look, so that no ring is missed.
            more.as_mut().enable();
            if index < self.wanted() {
                return;
            }
            more.await;
        }
    }

    /// A poll came back with so many messages.
    pub(crate) fn brought(&self, messages: usize) {
        let change = |wanted: usize| match messages {
            QUEUE_BATCH_MAX.. if wanted < self.most => Some(wanted + 1),
            ..WORTH_A_POLL if wanted > 1 => Some(wanted - 1),
            _ => None,
        };
        let changed = self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        if changed.is_ok() && messages >= QUEUE_BATCH_MAX {
            self.more.notify_waiters();
        }
    }

    /// A poll or a sweep begins.
    pub(crate) fn begin(&self) -> Going<'_> {
        self.going.fetch_add(1, Ordering::Relaxed);
        Going(self)
    }

    /// Resolves when none is under way.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Enrolled before the look, so that no ring is missed.
            ended.as_mut().enable();
            if self.going.load(Ordering::Relaxed) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// How many may poll.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(turn: Pin<&mut impl Future<Output = ()>>) -> bool {
        turn.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn full_polls_make_more_and_empty_ones_fewer_within_bounds() {
        let polls = Polls::new(3);
        let mut seen = vec![polls.wanted()];
        for brought in [10, 10, 10, 4, 9, 3, 0, 0] {
            polls.brought(brought);
            seen.push(polls.wanted());
        }
        assert_eq!(seen, [1, 2, 3, 3, 3, 3, 2, 1, 1]);
    }

    #[tokio::test]
    async fn a_loop_waits_for_its_turn_and_the_first_never_does() {
        let polls = Polls::new(4);
        assert!(is_ready(pin!(polls.turn(0))));
        let mut second = pin!(polls.turn(1));
        assert!(!is_ready(second.as_mut()));
        polls.brought(QUEUE_BATCH_MAX);
        second.await;
        assert!(!is_ready(pin!(polls.turn(2))));
    }

    #[tokio::test]
    async fn idle_is_when_none_is_under_way() {
        let polls = Polls::new(4);
        assert!(is_ready(pin!(polls.idle())));
        let (one, other) = (polls.begin(), polls.begin());
        let mut idle = pin!(polls.idle());
        assert!(!is_ready(idle.as_mut()));
        drop(one);
        assert!(!is_ready(idle.as_mut()));
        drop(other);
        idle.await;
    }
}
