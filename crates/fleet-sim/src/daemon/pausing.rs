//! A process that stands still: not polled while the world goes on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::plan::FaultKind;
use crate::world::World;

/// Polls a future except in pauses.
pub(super) struct Pausing<'a, F> {
    inner: Pin<Box<F>>,
    daemon: usize,
    world: &'a World,
    over: Option<Pin<Box<Sleep>>>,
}

impl<'a, F> Pausing<'a, F> {
    pub(super) const fn new(inner: Pin<Box<F>>, daemon: usize, world: &'a World) -> Self {
        Self { inner, daemon, world, over: None }
    }
}

impl<F: Future> Future for Pausing<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let until = self.world.lock().extras.stalled_until_ms.get(&self.daemon).copied();
        let left_ms = until.unwrap_or(0).saturating_sub(self.world.ms());
        if left_ms > 0 {
            // Whatever wakes this meanwhile is not lost: the inner future is polled afterwards.
            let mut over = Box::pin(sleep(Duration::from_millis(left_ms)));
            if over.as_mut().poll(cx).is_pending() {
                self.world.hit(FaultKind::Pause);
                self.over = Some(over);
                return Poll::Pending;
            }
        }
        self.over = None;
        self.inner.as_mut().poll(cx)
    }
}
