//! The table of crash points: where each row's failpoint is, and what happens there.

use super::Act::{
    Clock, DeleteTenant, End, Expire, Fail, Fill, Ours, Out, Requeue, Stall, Stop, Take,
};
use super::Site::{After, Before};
use super::{Act, Failpoint, How, Site, Step};
use crate::cloud::Kind;
use crate::plan::DiskFate::{self, Kept, Lost, PowerCut, Torn};

/// Beyond a message's time-out and a lease's slack.
const LONG_MS: u64 = 200_000;
/// Beyond both and a claimed lease.
const VERY_LONG_MS: u64 = 500_000;
/// Ends the daemon, and starts it again soon, with its disk.
const KILL: Act = End(Kept, 1_000);
/// Ends the daemon for longer than its leases last.
const KILL_LONG: Act = End(Kept, 400_000);
const HOUR_MS: i64 = 3_600_000;

impl Failpoint {
    /// Where it is, and what happens there.
    pub(crate) const fn place(self) -> (Site, Act) {
        let [abort, error, delay] = if self.row < 24 { first(self.row) } else { second(self.row) };
        match self.how {
            How::Abort => abort,
            How::Error => error,
            How::Delay => delay,
        }
    }
}

type Forms = [(Site, Act); 3];

/// The process ends here, or the step fails, or it takes far too long.
const fn plain(site: Site) -> Forms {
    [(site, KILL), (site, Fail), (site, Take(LONG_MS))]
}

const fn at(site: Site, [abort, error, delay]: [Act; 3]) -> Forms {
    [(site, abort), (site, error), (site, delay)]
}

/// Ingest, first attempts, the disk and the lease.
const fn first(row: u8) -> Forms {
    match row {
        1 => plain(Before(Step::Put)),
        2 => plain(After(Step::Put)),
        3 => plain(Before(Step::Send)),
        4 | 5 => plain(After(Step::Send)),
        6 => plain(After(Step::Receive)),
        7 => plain(After(Step::ReadTenant)),
        8 => plain(Before(Step::Post)),
        9 => plain(After(Step::Post)),
        10 => [
            (After(Step::Answer), KILL),
            (Before(Step::Record), Fail),
            (After(Step::Answer), Take(LONG_MS)),
        ],
        11 => plain(Before(Step::WriteOutcome)),
        12 => plain(After(Step::WriteOutcome)),
        13 => plain(Before(Step::Delete)),
        14 | 15 => plain(After(Step::Delete)),
        16 => plain(Before(Step::Clear)),
        17 => at(After(Step::Wait), [KILL, Fail, KILL_LONG]),
        18 => at(After(Step::Wait), [End(Lost, 1_000), Stop(Lost, 1_000), End(Lost, VERY_LONG_MS)]),
        19 => at(
            After(Step::Wait),
            [
                End(PowerCut(10_000), 1_000),
                End(Torn(10_000), 1_000),
                End(PowerCut(10_000), 400_000),
            ],
        ),
        20 => at(Before(Step::Open), [KILL, Fail, Take(VERY_LONG_MS)]),
        21 => [
            (After(Step::Wait), Stall(VERY_LONG_MS)),
            (Before(Step::Post), Stall(VERY_LONG_MS)),
            (After(Step::Wait), Stall(LONG_MS)),
        ],
        22 => at(After(Step::Post), [Stall(VERY_LONG_MS), Stall(LONG_MS), Take(LONG_MS)]),
        _ => at(After(Step::Wait), [Clock(HOUR_MS), Clock(-HOUR_MS), Clock(-20_000)]),
    }
}

/// Claims, the DLQ, requeues, and what happens to everybody.
const fn second(row: u8) -> Forms {
    match row {
        24 => plain(After(Step::WriteClaim)),
        25 => [
            (After(Step::ReadIndex), Take(20_000)),
            (Before(Step::WriteClaim), Fail),
            (Before(Step::WriteClaim), Take(LONG_MS)),
        ],
        26 => plain(After(Step::ReadIndex)),
        27 => plain(Before(Step::SendDead)),
        28 => plain(After(Step::SendDead)),
        29 => plain(After(Step::WriteMark)),
        30 => plain(After(Step::ReceiveDead)),
        31 => at(After(Step::SendDead), [Requeue(&KILL), Requeue(&Fail), Requeue(&Take(LONG_MS))]),
        32 => plain(After(Step::WriteRequeue)),
        33 => plain(Before(Step::DeleteDead)),
        34 => at(Before(Step::ReadRow), [Expire(&KILL), Expire(&Fail), Expire(&Take(LONG_MS))]),
        35 => at(After(Step::Post), [KILL, End(Kept, 60_000), End(Kept, 400_000)]),
        36 => {
            [(Before(Step::Record), Fail), (Before(Step::Wait), Fail), (Before(Step::Clear), Fail)]
        }
        37 => [
            (Before(Step::Receive), Fill(60_000)),
            (After(Step::Wait), Fill(300_000)),
            (Before(Step::Record), Fill(LONG_MS)),
        ],
        38 => at(
            Before(Step::WriteOutcome),
            [Out(Kind::Rows, 0), Out(Kind::Rows, 100), Out(Kind::Rows, 500)],
        ),
        39 => at(
            After(Step::Receive),
            [Out(Kind::Queue, 0), Out(Kind::Queue, 100), Out(Kind::Queue, 500)],
        ),
        40 => at(Before(Step::Post), [Ours(10_000), Ours(60_000), Ours(300_000)]),
        41 => [
            (After(Step::Post), Stop(Kept, 2_000)),
            (After(Step::Wait), Stop(Kept, 2_000)),
            (After(Step::Record), Stop(Kept, 400_000)),
        ],
        42 => at(After(Step::Wait), [End(COPY, 1_000), End(COPY, 10_000), End(COPY, 400_000)]),
        _ => [
            (After(Step::Wait), DeleteTenant),
            (After(Step::Post), DeleteTenant),
            (After(Step::Receive), DeleteTenant),
        ],
    }
}

/// The first daemon's disk.
const COPY: DiskFate = DiskFate::CopyOf(0);
