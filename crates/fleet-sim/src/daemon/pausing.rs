//! A process that stands still: not polled while the world goes on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::Control;
use crate::world::World;

/// Polls a future except in pauses.
pub(super) struct Pausing<'a, F> {
    inner: Pin<Box<F>>,
    control: &'a Rc<Control>,
    world: &'a World,
    over: Option<Pin<Box<Sleep>>>,
}

impl<'a, F> Pausing<'a, F> {
    pub(super) const fn new(
        inner: Pin<Box<F>>,
        control: &'a Rc<Control>,
        world: &'a World,
    ) -> Self {
        Self { inner, control, world, over: None }
    }
}

impl<F: Future> Future for Pausing<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let left_ms = self.control.paused_until_ms.get().saturating_sub(self.world.ms());
        if left_ms > 0 {
            // Whatever wakes this meanwhile is not lost: the inner future is polled afterwards.
            let mut over = Box::pin(sleep(Duration::from_millis(left_ms)));
            if over.as_mut().poll(cx).is_pending() {
                self.over = Some(over);
                return Poll::Pending;
            }
        }
        self.over = None;
        self.inner.as_mut().poll(cx)
    }
}
