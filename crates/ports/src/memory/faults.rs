//! What goes wrong between a caller and a shared table or queue, as a simulator orders it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::Timestamp;

use crate::PortError;

/// Tells the time. It should pass as the runtime's does, which waits and delays go by.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// One row of a write.
    Write,
    /// A read, however many rows.
    Read,
    /// A look into the work index.
    Owed,
    /// A receive.
    Receive,
    /// One message that a receive hands out.
    Message,
    /// One entry of a delete.
    Delete,
    /// One entry of a hide.
    Hide,
    /// One entry of a send.
    Send,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It is done.
    #[default]
    None,
    /// It is not done, and the caller gets an error.
    Before,
    /// It is done, and the caller gets an error: the reply was lost.
    After,
    /// It is not done, for there is too much at once.
    Throttled {
        /// What the caller is told.
        retry_after_ms: u64,
    },
    /// It is done twice, as queues do now and then: a message that is sent is there two times, one
    /// that is handed out stays visible. None where twice is once.
    Twice,
}

/// Decides over every operation. Asked under the store's lock: it must not call the store.
pub trait Faults: Send + Sync {
    /// What becomes of an operation.
    fn fault(&self, operation: Operation) -> Fault;

    /// How long a call takes before anything of it is done, in milliseconds. Asked once a call,
    /// with the operation of its entries.
    fn delay_ms(&self, operation: Operation) -> u64 {
        let _ = operation;
        0
    }
}

/// Nothing goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn fault(&self, _: Operation) -> Fault {
        Fault::None
    }
}

/// Time and chance, as a store in memory is given them.
#[derive(Clone)]
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) faults: Arc<dyn Faults>,
}

impl World {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Lets a call take its time.
    pub(super) async fn delay(&self, operation: Operation) {
        let delay_ms = self.faults.delay_ms(operation);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
    }

    /// Does something, or not, as the faults say. Twice is once.
    pub(super) fn attempt<T>(
        &self,
        operation: Operation,
        act: impl FnOnce() -> T,
    ) -> Result<T, PortError> {
        Self::answer(self.faults.fault(operation), operation, act)
    }

    /// The same where the fault is known already.
    pub(super) fn answer<T>(
        fault: Fault,
        operation: Operation,
        act: impl FnOnce() -> T,
    ) -> Result<T, PortError> {
        match fault {
            Fault::None | Fault::Twice => Ok(act()),
            Fault::Before => Err(PortError::Transient(format!("{operation:?} was not done"))),
            Fault::After => {
                act();
                Err(PortError::Transient(format!("the reply to {operation:?} was lost")))
            }
            Fault::Throttled { retry_after_ms } => Err(PortError::Throttled { retry_after_ms }),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}
