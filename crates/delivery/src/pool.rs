//! Idle connections, by target, and the count of all open ones.
//!
//! ```text
//! target ─► [oldest … newest]    taken and put at the newest end
//! ```
//! The newest is reused first, so that those which are not needed grow old and go. Nothing here
//! waits: a connection is taken, or there is none. What a connection is made of is not known here,
//! only what can be asked of it ([`Pooled`]).
//!
//! Invariants: at most `per_target_max` rest for a target · a target without resting connections
//! has an entry until the next sweep at most (an entry made anew for each attempt would cost more)
//! · `open` counts every connection that exists, resting or in use.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use foldhash::fast::RandomState;

use crate::endpoint::TargetKey;

/// When room is needed, this share of the resting connections (the oldest) goes at once: finding
/// the oldest looks at all of them, which must not happen for every new connection.
const ROOM_SHARE: usize = 16;

/// What the pool may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that exist, resting and in use.
    pub open_max: usize,
    /// Connections that rest for one target; 0 keeps none.
    pub per_target_max: usize,
    /// For how long a connection may rest, in microseconds, this many not included.
    pub idle_us_max: u64,
}

/// What the pool asks of a connection that rests.
pub trait Pooled {
    /// Where it goes.
    fn address(&self) -> IpAddr;

    /// Whether it is still fit for use: open, and nothing came in.
    fn is_clean(&mut self) -> bool;
}

/// Counts open connections; one token in each connection, given back when it is dropped.
#[derive(Debug)]
pub struct OpenToken(Rc<Cell<usize>>);

/// The idle connections of a client.
pub struct Pool<C> {
    targets: HashMap<TargetKey, VecDeque<Resting<C>>, RandomState>,
    resting: usize,
    open: Rc<Cell<usize>>,
    limits: Limits,
}

struct Resting<C> {
    connection: C,
    since_us: u64,
}

impl<C: Pooled> Pool<C> {
    /// A pool without connections.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let open = Rc::new(Cell::new(0));
        Self { targets: HashMap::default(), resting: 0, open, limits }
    }

    /// Connections that exist: tokens not given back.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Connections that rest.
    #[must_use]
    pub const fn resting(&self) -> usize {
        self.resting
    }

    /// The newest resting connection to `target` that is clean, not too old, and to an address
    /// that `allowed` knows. Those before it that are not are dropped.
    pub fn take(
        &mut self,
        target: &TargetKey,
        now_us: u64,
        allowed: impl Fn(IpAddr) -> bool,
    ) -> Option<C> {
        let queue = self.targets.get_mut(target)?;
        let mut found = None;
        while let Some(mut resting) = queue.pop_back() {
            self.resting -= 1;
            let young = now_us.saturating_sub(resting.since_us) < self.limits.idle_us_max;
            if young && allowed(resting.connection.address()) && resting.connection.is_clean() {
                found = Some(resting.connection);
                break;
            }
        }
        found
    }

    /// Takes a connection in, whose response must have been read to its end; where a target has
    /// as many as it may, its oldest one goes.
    pub fn put(&mut self, target: &TargetKey, connection: C, now_us: u64) {
        if self.limits.per_target_max == 0 {
            return;
        }
        let resting = Resting { connection, since_us: now_us };
        if let Some(queue) = self.targets.get_mut(target) {
            if queue.len() >= self.limits.per_target_max {
                queue.pop_front();
                self.resting -= 1;
            }
            queue.push_back(resting);
        } else {
            self.targets.insert(target.clone(), VecDeque::from([resting]));
        }
        self.resting += 1;
    }

    /// Leave to open a connection; makes room by dropping the oldest resting ones. None where all
    /// that are allowed are in use.
    pub fn admit(&mut self) -> Option<OpenToken> {
        if self.open.get() >= self.limits.open_max {
            self.drop_oldest();
        }
        (self.open.get() < self.limits.open_max).then(|| OpenToken::take(&self.open))
    }

    /// Drops what has rested too long, was closed by its peer, or has received something.
    pub fn sweep(&mut self, now_us: u64) {
        let idle_us_max = self.limits.idle_us_max;
        self.retain(|resting| {
            now_us.saturating_sub(resting.since_us) < idle_us_max && resting.connection.is_clean()
        });
    }

    /// Drops every resting connection.
    pub fn clear(&mut self) {
        self.targets.clear();
        self.resting = 0;
    }

    fn drop_oldest(&mut self) {
        let queues = self.targets.values();
        let mut ages: Vec<u64> = queues.flatten().map(|resting| resting.since_us).collect();
        if ages.is_empty() {
            return;
        }
        let last = ages.len() / ROOM_SHARE;
        let (_, newest_to_go, _) = ages.select_nth_unstable(last);
        let newest_to_go = *newest_to_go;
        self.retain(|resting| resting.since_us > newest_to_go);
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Resting<C>) -> bool) {
        let mut resting = 0;
        self.targets.retain(|_, queue| {
            queue.retain_mut(&mut keep);
            resting += queue.len();
            !queue.is_empty()
        });
        self.resting = resting;
    }
}

impl<C: Pooled> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, resting) = (self.open(), self.resting);
        f.debug_struct("Pool").field("open", &open).field("resting", &resting).finish()
    }
}

impl OpenToken {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for OpenToken {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests;
