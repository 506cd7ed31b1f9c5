//! What stands behind the names that the product's sources use.

/// In place of `std::sync`.
pub(crate) mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, atomic};
}

/// In place of `std::thread`.
pub(crate) mod thread {
    pub(crate) use shuttle::thread::Builder;
}

/// In place of `tokio`.
pub(crate) mod tokio {
    pub(crate) use shuttle_tokio_impl::{pin, sync};

    /// As `watch::Sender::new`.
    pub(crate) fn watched<T>(value: T) -> sync::watch::Sender<T> {
        sync::watch::channel(value).0
    }

    pub(crate) mod time {
        //! Time that passes by chance: what waits for a moment waits for some turns, then it is
        //! there.

        use std::cell::Cell;
        use std::pin::Pin;
        use std::task::{Context, Poll};
        use std::time::Duration;

        use shuttle::rand::{Rng as _, thread_rng};

        thread_local! {
            static STANDS_STILL: Cell<bool> = const { Cell::new(false) };
        }

        /// Whether no moment ever comes: nothing may depend on it then.
        pub(crate) fn stand_still(still: bool) {
            STANDS_STILL.set(still);
        }

        /// A moment.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Instant;

        impl Instant {
            pub(crate) const fn now() -> Self {
                Self
            }
        }

        impl std::ops::Add<Duration> for Instant {
            type Output = Self;

            fn add(self, _: Duration) -> Self {
                self
            }
        }

        /// The time was over first.
        #[derive(Debug)]
        pub(crate) struct Elapsed;

        pub(crate) fn timeout<F: Future>(_: Duration, future: F) -> Timeout<F> {
            Timeout(Box::pin(future))
        }

        pub(crate) fn timeout_at<F: Future>(_: Instant, future: F) -> Timeout<F> {
            Timeout(Box::pin(future))
        }

        pub(crate) struct Timeout<F>(Pin<Box<F>>);

        impl<F: Future> Future for Timeout<F> {
            type Output = Result<F::Output, Elapsed>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                if let Poll::Ready(done) = self.0.as_mut().poll(context) {
                    return Poll::Ready(Ok(done));
                }
                if STANDS_STILL.get() {
                    return Poll::Pending;
                }
                if thread_rng().gen_ratio(1, 3) {
                    return Poll::Ready(Err(Elapsed));
                }
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Includes what `build.rs` made of a source.
macro_rules! product {
    ($($name:ident),+ $(,)?) => {$(
        #[allow(
            missing_docs,
            unreachable_pub,
            unused,
            clippy::all,
            clippy::disallowed_methods,
            reason = "the product's text is checked where it belongs, and not all of it is used"
        )]
        mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        }
    )+};
}

pub(crate) use product;
