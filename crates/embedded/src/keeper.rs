//! The threads that look after what may wait: full memtables, the witness, sizes; and free space.
//!
//! Apart from the writer, because each of these blocks on the disk and nobody waits for it. Free
//! space has a thread of its own: what fills a disk quickly makes a sync slow as well, and the
//! ballast must not wait for the witness just then.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::journal::HeldJournals;
use crate::reclaim::Reclaimer;
use crate::shared::Shared;
use crate::space::Space;
use crate::tables::Memtables;
use crate::witness::Witness;

/// How often free space is looked at: at 200 MB/s that is a fifth of the default floor.
const LOOK: Duration = Duration::from_millis(250);
/// Between two memtables, so that commits get between what each of them costs.
const REST: Duration = Duration::from_millis(20);
/// Looks between two proofs of the witness, and two measurements of sizes.
const LOOKS_A_PROOF: u32 = 4;
/// The keeper, and who watches the free space.
const THREADS: usize = 2;

/// A running keeper, and who watches the free space.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<AtomicBool>,
    threads: [JoinHandle<()>; THREADS],
}

impl Keeper {
    /// Starts the threads.
    pub(crate) fn start(shared: Arc<Shared>, witness: Witness, space: Space) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, watched) = (Arc::clone(&shared), Arc::clone(&shared));
        let (keeper_stopped, watcher_stopped) = (Arc::clone(&stop), Arc::clone(&stop));
        let watcher = thread::Builder::new()
            .name("ledger-space".to_owned())
            .spawn(move || watch(&watched, space, &watcher_stopped))?;
        let keeper = thread::Builder::new()
            .name("ledger-keeper".to_owned())
            .spawn(move || run(&kept, witness, &keeper_stopped))?;
        shared.set_keeper(keeper.thread().clone());
        Ok(Self { stop, threads: [keeper, watcher] })
    }

    /// Writes the last proof and ends the threads.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for handle in self.threads {
            handle.thread().unpark();
            // A panic in it has been told by the panic hook.
            drop(handle.join());
        }
    }
}

/// With nobody else left, nobody could stop them.
fn goes_on(shared: &Arc<Shared>, stop: &AtomicBool) -> bool {
    !stop.load(Ordering::SeqCst) && Arc::strong_count(shared) > THREADS
}

/// Looks at the free space again and again.
fn watch(shared: &Arc<Shared>, mut space: Space, stop: &AtomicBool) {
    let _told = shared.tell_of_panic("watch over free space");
    while goes_on(shared, stop) {
        thread::park_timeout(LOOK);
        match space.look() {
            Ok(room) => shared.set_room(room),
            Err(error) => tracing::warn!(%error, "cannot look at the free space"),
        }
    }
}

fn run(shared: &Arc<Shared>, mut witness: Witness, stop: &AtomicBool) {
    let _told = shared.tell_of_panic("keeper");
    let mut memtables = Memtables::default();
    let mut journals = HeldJournals::new(shared.directory.store());
    let mut reclaimer = Reclaimer::default();
    let mut looks = 0;
    let mut proven = 0;
    while goes_on(shared, stop) {
        // Woken early where a memtable is full.
        thread::park_timeout(LOOK);
        memtables.look(&shared.tables);
        // Where the writer waits for room, it waits for each of them.
        if write_out(shared) && !shared.tables.has_overfull() {
            thread::sleep(REST);
        }
        if let Err(error) = journals.look() {
            tracing::debug!(%error, "cannot look at the journals");
        }
        looks += 1;
        if looks % LOOKS_A_PROOF == 0 {
            prove(shared, &mut witness, &mut proven);
            shared.measure();
            reclaimer.look(&shared.tables, &*shared.observer, || shared.synced().commit);
        }
    }
    prove(shared, &mut witness, &mut proven);
    reclaimer.finish();
}

/// Sends a full memtable on its way, and looks whether the last ones got there. Says whether there
/// was one.
fn write_out(shared: &Shared) -> bool {
    let tables = &shared.tables;
    let rotated = tables.rotate_one().and_then(|one| tables.check().map(|()| one));
    rotated.unwrap_or_else(|error| {
        shared.fail(format!("cannot write out tables: {error}"));
        false
    })
}

/// Witnesses the newest synced commit, where it is a new one.
pub(crate) fn prove(shared: &Shared, witness: &mut Witness, proven: &mut u64) {
    let proof = shared.synced();
    if proof.commit == *proven || shared.failure().is_some() {
        return;
    }
    match witness.write(proof) {
        Ok(()) => {
            *proven = proof.commit;
            shared.set_witnessed(proof.commit);
        }
        Err(error) => {
            shared.fail(format!("cannot write the witness: {error}"));
        }
    }
}
