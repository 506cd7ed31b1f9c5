//! Which sources are tried, and how each is made wrong on purpose.

/// A source, or pieces of one.
pub(crate) struct Part {
    /// What its module is called.
    pub(crate) name: &'static str,
    /// From the top of the repository.
    pub(crate) source: &'static str,
    pub(crate) taken: Taken,
    /// What has to be changed for it to stand alone: limits that no schedule would reach,
    /// logging.
    pub(crate) changes: &'static [Change],
    /// Wrong variants: modules, and their changes.
    pub(crate) wrong: &'static [(&'static str, &'static [Change])],
}

/// How much of a source.
pub(crate) enum Taken {
    Whole,
    /// Each from the first text up to the second.
    Pieces(&'static [(&'static str, &'static str)]),
}

/// What is replaced by what.
pub(crate) type Change = (&'static str, &'static str);

pub(crate) const PARTS: &[Part] = &[
    INBOX,
    FATAL,
    SHARDS,
    BATCHER,
    POLLS,
    AUTH_CACHE,
    REPLAYS,
    QUOTA,
    BUDGET,
    TENANT_CACHE,
    COMMIT,
];

const INBOX: Part = Part {
    name: "inbox",
    source: "daemon/src/inbox.rs",
    taken: Taken::Whole,
    // So that an inbox is full now and then.
    changes: &[("const ARRIVALS_MAX: usize = 8_192;", "const ARRIVALS_MAX: usize = 2;")],
    wrong: &[
        (
            "inbox_wakes_first",
            &[
                (
                    "        let mut waiting = self.lock();\n        for",
                    concat!(
                        "        self.wake();\n",
                        "        let mut waiting = self.lock();\n",
                        "        for"
                    ),
                ),
                (
                    concat!("        drop(waiting);\n", "        self.wake();\n"),
                    "        drop(waiting);\n",
                ),
            ],
        ),
        ("inbox_wakes_who_waits", &[("self.wake.notify_one()", "self.wake.notify_waiters()")]),
        (
            "inbox_takes_in_two_steps",
            &[(
                "std::mem::take(&mut *self.lock())",
                concat!(
                    "{ let arrived = self.lock().arrived.clone();\n",
                    "Waiting { arrived, ..std::mem::take(&mut *self.lock()) } }",
                ),
            )],
        ),
    ],
};

const FATAL: Part = Part {
    name: "fatal",
    source: "daemon/src/lifecycle.rs",
    taken: Taken::Pieces(&[(
        "/// Lets any part say that the process cannot go on.",
        "/// Makes a panic anywhere in the process end it",
    )]),
    changes: &[
        (
            "/// Lets any part say",
            concat!(
                "use crate::sync::{Arc, Mutex, PoisonError};\n",
                "use crate::tokio::sync::watch;\n",
                "/// Lets any part say"
            ),
        ),
        ("            error!(%reason, \"cannot go on\");\n", ""),
    ],
    wrong: &[(
        "fatal_raises_first",
        &[
            (
                "        let mut kept =",
                concat!("        self.raised.send_replace(true);\n", "        let mut kept ="),
            ),
            (
                concat!("        drop(kept);\n", "        self.raised.send_replace(true);\n"),
                "        drop(kept);\n",
            ),
        ],
    )],
};

const SHARDS: Part = Part {
    name: "shards",
    source: "daemon/src/shards.rs",
    taken: Taken::Whole,
    changes: &[
        ("use crate::lifecycle::Fatal;\n", "use super::super::fatal::Fatal;\n"),
        ("use crate::shard::{self, Ended, Parts};\n", "use super::shard::{self, Ended, Parts};\n"),
    ],
    wrong: &[
        (
            "shards_end_uncounted",
            &[("        self.running.send_modify(|running| *running -= 1);\n", "")],
        ),
        (
            "shards_fail_unnoticed",
            &[(
                "            Err(error) => fatal.stop(format!(\"shard {index}: {error}\")),\n",
                "            Err(_) => {}\n",
            )],
        ),
        ("shards_end_unnoticed", &[("if *self.order.borrow() == Order::Run {", "if false {")]),
        (
            "shards_end_untold",
            &[("                ended.send(end).ok();\n", "                drop((end, ended));\n")],
        ),
    ],
};

const BATCHER: Part = Part {
    name: "batcher",
    source: "crates/courier/src/batcher.rs",
    taken: Taken::Whole,
    changes: &[],
    wrong: &[
        (
            "batcher_tells_first",
            &[(
                concat!(
                    "        self.lock().extend(items);\n",
                    "        self.more.notify_one();\n"
                ),
                concat!(
                    "        self.more.notify_one();\n",
                    "        self.lock().extend(items);\n"
                ),
            )],
        ),
        ("batcher_ends_untold", &[("        self.batcher.ended.notify_waiters();\n", "")]),
        (
            "batcher_looks_first",
            &[
                (
                    "            let ended = self.ended.notified();\n",
                    concat!(
                        "            if self.is_idle() {\n",
                        "                return;\n",
                        "            }\n",
                        "            let ended = self.ended.notified();\n"
                    ),
                ),
                (
                    concat!(
                        "            ended.as_mut().enable();\n",
                        "            if self.is_idle() {\n",
                        "                return;\n",
                        "            }\n"
                    ),
                    "            ended.as_mut().enable();\n",
                ),
            ],
        ),
        (
            "batcher_counts_late",
            &[(
                concat!(
                    "        self.going.fetch_add(1, Ordering::Relaxed);\n",
                    "        Batch { items: waiting.drain(..count).collect(), batcher: self }\n"
                ),
                concat!(
                    "        let items = waiting.drain(..count).collect();\n",
                    "        drop(waiting);\n",
                    "        self.going.fetch_add(1, Ordering::Relaxed);\n",
                    "        Batch { items, batcher: self }\n"
                ),
            )],
        ),
        (
            "batcher_looks_in_two_steps",
            &[("let waiting = self.lock();\n        waiting.is_empty() &&", "self.len() == 0 &&")],
        ),
    ],
};

const POLLS: Part = Part {
    name: "polls",
    source: "crates/courier/src/polls.rs",
    taken: Taken::Whole,
    changes: &[],
    wrong: &[
        (
            "polls_look_first",
            &[
                (
                    "            let more = self.more.notified();\n",
                    concat!(
                        "            if index < self.wanted() {\n",
                        "                return;\n",
                        "            }\n",
                        "            let more = self.more.notified();\n"
                    ),
                ),
                (
                    concat!(
                        "            more.as_mut().enable();\n",
                        "            if index < self.wanted() {\n",
                        "                return;\n",
                        "            }\n"
                    ),
                    "            more.as_mut().enable();\n",
                ),
            ],
        ),
        ("polls_end_untold", &[("        self.0.ended.notify_waiters();\n", "")]),
    ],
};

const AUTH_CACHE: Part = Part {
    name: "auth_cache",
    source: "crates/api/src/auth/cache.rs",
    taken: Taken::Whole,
    changes: &[],
    wrong: &[
        (
            "auth_cache_keeps_all",
            &[(
                concat!(
                    "        if shard.invalidations != before {\n",
                    "            return;\n",
                    "        }\n"
                ),
                "        let _ = before;\n",
            )],
        ),
        ("auth_cache_counts_nothing", &[("        shard.invalidations += 1;\n", "")]),
    ],
};

const REPLAYS: Part = Part {
    name: "replays",
    source: "crates/api/src/receiver/replays.rs",
    taken: Taken::Whole,
    changes: &[
        ("use super::verify::Identity;\n", "use super::Identity;\n"),
        ("pub(super) fn admit", "pub(crate) fn admit"),
    ],
    wrong: &[(
        "replays_admit_in_two_steps",
        &[(
            "        seen.young.insert(message.plain);\n",
            concat!(
                "        drop(seen);\n",
                "        let mut seen = self.seen.lock().unwrap();\n",
                "        seen.young.insert(message.plain);\n"
            ),
        )],
    )],
};

const QUOTA: Part = Part {
    name: "quota",
    source: "crates/api/src/quota.rs",
    taken: Taken::Whole,
    changes: &[("use crate::refusal::Refusal;\n", "use super::Refusal;\n")],
    wrong: &[(
        "quota_takes_in_two_steps",
        &[(
            "        schedules.remember(tenant,",
            concat!(
                "        drop(schedules);\n",
                "        let mut schedules = self.schedules.lock().unwrap();\n",
                "        schedules.remember(tenant,"
            ),
        )],
    )],
};

const BUDGET: Part = Part {
    name: "budget",
    source: "crates/api/src/body.rs",
    taken: Taken::Pieces(&[(
        "/// The bytes that all bodies together may still take.",
        "impl App {",
    )]),
    changes: &[
        (
            "/// The bytes that all bodies",
            concat!(
                "use crate::sync::atomic::{AtomicUsize, Ordering};\n",
                "/// The bytes that all bodies"
            ),
        ),
        (
            "fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {",
            "pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), super::Busy> {",
        ),
        ("return Err(Refusal::busy(\"too many bodies at once\"));", "return Err(super::Busy);"),
        (
            "    budget: &'a Budget,\n    bytes: usize,",
            concat!("    pub(crate) budget: &'a Budget,\n", "    pub(crate) bytes: usize,"),
        ),
    ],
    wrong: &[(
        "budget_takes_in_two_steps",
        &[(
            "        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()\n",
            concat!(
                "        let left = take(self.free.load(Ordering::Relaxed));\n",
                "        left.map(|left| self.free.store(left, Ordering::Relaxed)).is_some()\n"
            ),
        )],
    )],
};

const TENANT_CACHE: Part = Part {
    name: "tenant_cache",
    source: "crates/embedded/src/shared.rs",
    taken: Taken::Pieces(&[
        ("#[derive(Default)]\nstruct TenantCache {", "impl Shared {\n"),
        ("impl Shared {\n", "    pub(crate) fn new("),
        ("    /// A tenant, from memory where it is there.", "/// See [`Shared::tell_of_panic`]."),
        ("impl TenantCache {", "fn lock("),
    ]),
    changes: &[("#[derive(Default)]\nstruct TenantCache {", TENANT_CACHE_BESIDE)],
    wrong: &[
        ("tenant_cache_keeps_all", &[("if cache.epoch == epoch {", "if epoch < u64::MAX {")]),
        ("tenant_cache_counts_nothing", &[("        cache.epoch += 1;\n", "")]),
    ],
};

const COMMIT: Part = Part {
    name: "commit",
    source: "crates/embedded/src/writer.rs",
    taken: Taken::Pieces(&[(
        "    pub(crate) fn commit(\n",
        "    /// What was synced is a promise only if",
    )]),
    changes: &[
        ("    pub(crate) fn commit(", COMMIT_BESIDE),
        (
            concat!(
                "            self.shared.wake_keeper();\n",
                "        }\n",
                "        Ok(())\n",
                "    }\n"
            ),
            concat!(
                "            self.shared.wake_keeper();\n",
                "        }\n",
                "        Ok(())\n",
                "    }\n",
                "}\n"
            ),
        ),
    ],
    wrong: &[
        (
            "commit_answers_before_it_commits",
            &[(
                "        let committed = batch.commit(mode)",
                concat!(
                    "        complete(tickets, &Ok(()));\n",
                    "        let tickets = Vec::new();\n",
                    "        let committed = batch.commit(mode)"
                ),
            )],
        ),
        (
            "commit_answers_before_it_tells",
            &[(
                "        if !arrivals.is_empty() {",
                concat!(
                    "        complete(tickets, &Ok(()));\n",
                    "        let tickets = Vec::new();\n",
                    "        if !arrivals.is_empty() {"
                ),
            )],
        ),
        (
            "commit_answers_before_tenants_are_known",
            &[(
                "        for tenant in tenants {",
                concat!(
                    "        complete(tickets, &Ok(()));\n",
                    "        let tickets = Vec::new();\n",
                    "        for tenant in tenants {"
                ),
            )],
        ),
        (
            "commit_fails_after_it_answers",
            &[(
                concat!(
                    "            let failure = self.shared.fail(reason);\n",
                    "            complete(tickets, &Err(failure.clone()));\n"
                ),
                concat!(
                    "            let failure = PortError::Permanent(reason.clone());\n",
                    "            complete(tickets, &Err(failure.clone()));\n",
                    "            self.shared.fail(reason);\n"
                ),
            )],
        ),
    ],
};

/// What the tenants' cache has beside it in its file.
const TENANT_CACHE_BESIDE: &str = "\
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use posthaste_domain::TenantId;
use super::{ReadError, Tables, TenantRecord};
use crate::sync::{Arc, PoisonError, RwLock};
/// So that the cache starts over now and then.
const TENANTS_CACHED_MAX: usize = 1;
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) tables: Tables,
    tenants: RwLock<TenantCache>,
}
#[derive(Default)]
struct TenantCache {";

/// What the writer has beside its commit.
const COMMIT_BESIDE: &str = "\
use posthaste_ports::PortError;
use super::{Batch, COMMIT_KEY, Commit, CommitRow, PersistMode, Shared, SyncMode, Table, Ticket};
use super::{complete, proof};
use crate::sync::Arc;
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) last: CommitRow,
    pub(crate) next: CommitRow,
    pub(crate) unseen_expiry_low: u64,
    pub(crate) unsynced: bool,
}
impl Writer {
    fn sync_mode(&self) -> PersistMode {
        PersistMode::SyncData
    }
    fn find_journal(&mut self, _: bool) -> Result<(), String> {
        Ok(())
    }
}
impl Writer {
    pub(crate) fn commit(";
