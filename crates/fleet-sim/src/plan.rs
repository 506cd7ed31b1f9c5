//! What happens in a world: who is there, what fails, and when. Drawn from a seed, or made by hand.
//!
//! Each seed draws a few extremes rather than an average of everything (swarm testing): most
//! faults need two rare things at a time.

mod draw;
mod points;
mod swarm;
mod throttled;
mod worlds;

pub use swarm::{FaultKind, Swarm};

use posthaste_domain::{TenantId, Timestamp};
use posthaste_engine::Settings;

use crate::endpoint::Behaviour;
use crate::failpoint::Failpoint;
use crate::mutant::Mutant;

/// When every world begins; its times are milliseconds from here.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// How often a time server sets clocks right that drift, in milliseconds.
pub(crate) const SET_RIGHT_MS: u64 = 900_000;

/// Times in milliseconds, from and to, both included.
pub type Millis = (u64, u64);

/// A tenant and what its endpoint does.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What its endpoint does.
    pub behaviour: Behaviour,
    /// When it is deleted, if it is.
    pub deleted_ms: Option<u64>,
}

/// A time in which a service fails in one way.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From here on.
    pub from_ms: u64,
    /// Until here.
    pub until_ms: u64,
    /// Of a thousand entries, how many get through; 0 is an outage.
    pub passes_permille: u64,
}

/// How a service behaves.
#[derive(Clone, Debug)]
pub struct Service {
    /// One way.
    pub latency_ms: Millis,
    /// Of a thousand calls, how many fail before anything is done.
    pub fails_permille: u64,
    /// Of a thousand calls, how many are done without a reply.
    pub lost_permille: u64,
    /// Of a thousand entries of a batch, how many fail by themselves.
    pub entries_permille: u64,
    /// When it is throttled or out.
    pub windows: Vec<Window>,
}

impl Service {
    /// One that does not fail.
    pub(crate) const fn faultless(latency_ms: Millis) -> Self {
        let windows = Vec::new();
        Self { latency_ms, fails_permille: 0, lost_permille: 0, entries_permille: 0, windows }
    }
}

/// What is odd about the queue.
#[derive(Clone, Copy, Debug)]
pub struct Oddities {
    /// Of a thousand messages received, how many are shown to others as well.
    pub copies_permille: u64,
    /// Of a thousand copies, how many do not count as received before.
    pub miscounted_permille: u64,
    /// Of a thousand messages deleted, how many come back once.
    pub come_back_permille: u64,
    /// Of a thousand sends, how many are made twice by whoever carries them.
    pub doubled_permille: u64,
    /// Among so many messages that can be seen, any may come next; at least 1.
    pub look_ahead: usize,
}

impl Oddities {
    /// None: a queue that does nothing odd but that its order is not that of sending.
    pub const NONE: Self = Self {
        copies_permille: 0,
        miscounted_permille: 0,
        come_back_permille: 0,
        doubled_permille: 0,
        look_ahead: 12,
    };
}

/// What the daemons are like.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// How many there are.
    pub daemons: usize,
    /// Shards in each.
    pub shards: u32,
    /// Whether the first two have the same name, each with its own disk.
    pub same_name: bool,
    /// The engines'.
    pub engine: Settings,
    /// Messages held at most.
    pub held_max: usize,
    /// Messages of one tenant held at most.
    pub held_per_tenant_max: usize,
    /// Payload bytes held at most.
    pub held_bytes_max: usize,
    /// Long polls at a time.
    pub intake_polls: usize,
    /// Requests with row writes at a time.
    pub row_writers: usize,
    /// Row writes in one.
    pub row_batch_max: usize,
    /// Arrivals that wait for a shard's next turn at most.
    pub inbox_max: usize,
    /// How long a disk takes.
    pub disk_ms: Millis,
    /// How far each one's clock is off, in milliseconds.
    pub skews_ms: Vec<i64>,
    /// How much faster than time each one's clock goes, in millionths.
    pub drifts_ppm: Vec<i64>,
    /// Disks that are full, and from when until when, in milliseconds.
    pub full_disks: Vec<(usize, Millis)>,
    /// Of a thousand commits, how many fail.
    pub failed_commits_permille: u64,
    /// The pause between sweeps, in milliseconds.
    pub sweep_pause_ms: u64,
    /// How long a poll waits for a message, in milliseconds.
    pub poll_wait_ms: u64,
    /// A shard looks around this often even if nothing calls it, in milliseconds.
    pub idle_turn_ms: u64,
}

/// What becomes of a disk in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFate {
    /// It comes back as it was.
    Kept,
    /// It loses what was written in the last so many milliseconds.
    PowerCut(u64),
    /// Of what was written in the last so many milliseconds, some is missing and some is torn.
    Torn(u64),
    /// It comes back empty.
    Lost,
    /// It comes back as a copy of this daemon's.
    CopyOf(usize),
}

/// What happens to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It dies, and comes back after so many milliseconds.
    Crash(DiskFate, u64),
    /// It dies at the so-manieth step of its calls from now on.
    Fuse(DiskFate, u64),
    /// It stands still for so many milliseconds.
    Pause(u64),
    /// It is told to stop, and comes back after so many milliseconds.
    Drain(u64),
    /// It is told to stop and gives its leases away; another one takes its place, with a new disk.
    Replace(u64),
    /// Its wall clock is put to so many milliseconds from the right time.
    Step(i64),
}

/// A happening, when, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// When.
    pub at_ms: u64,
    /// To whom.
    pub daemon: usize,
    /// What.
    pub what: Happening,
}

/// What senders, tenants and operators do.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// Events posted.
    pub events: u64,
    /// Over which time, in milliseconds.
    pub post_ms: u64,
    /// Of a thousand events, how many have a key, so that their sender may try again.
    pub keyed_permille: u64,
    /// Of a thousand payloads, how many travel by reference.
    pub by_reference_permille: u64,
    /// Of a thousand messages, how many are of the older form.
    pub old_form_permille: u64,
    /// Messages that are none, and messages of events that do not exist.
    pub strays: u64,
    /// Requeues, purges and retries that are asked for until calm.
    pub operations: u64,
    /// How often somebody pauses, resumes, limits or lifts an endpoint until calm.
    pub changes: u64,
    /// An event whose attempt ends the daemon that makes it.
    pub killer: Option<u64>,
    /// Whether senders have the table to themselves, so that load does not depend on its weather.
    pub spared: bool,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is drawn while it runs.
    pub seed: u64,
    /// Who is there.
    pub tenants: Vec<Tenant>,
    /// The daemons.
    pub fleet: Fleet,
    /// The table.
    pub rows: Service,
    /// Both queues.
    pub queue: Service,
    /// How far the work index lags.
    pub index_lag_ms: Millis,
    /// What is odd about the queue.
    pub oddities: Oddities,
    /// Who sends.
    pub clients: Clients,
    /// Of a thousand attempts, how many fail by our own fault before calm.
    pub ours_permille: u64,
    /// Which kinds of faults exist, for the table of what was reached.
    pub swarm: Swarm,
    /// What happens to daemons.
    pub faults: Vec<Fault>,
    /// A point in the order of writes at which something happens.
    pub failpoint: Option<Failpoint>,
    /// From here on nothing fails but endpoints that fail for ever.
    pub calm_ms: u64,
    /// Engines look at everything after each so many turns.
    pub check_every: u64,
    /// A deliberate fault.
    pub mutant: Option<Mutant>,
}
