//! The writer without its thread: what one operation does to the store.

use posthaste_domain::{DeadLetterCause, Owed, OwedAs, Resolution};
use posthaste_ports::{JobState, Settled};

use super::*;
use crate::codec::{JobRow, JobStateRow, TimerRow};
use crate::open::Opened;
use crate::testing::{
    delivery, event, home, new_tenant, opened, opened_cache, outcome, settings, tenant_id,
};

/// Applies one operation and commits it.
fn run<T>(
    opened: &mut Opened,
    operation: impl FnOnce(Done<T>) -> Operation,
) -> Result<T, PortError> {
    let (done, mut answer) = oneshot::channel();
    let mut batch = Batch::new(opened.shared.tables.clone());
    let ticket = opened.writer.apply(operation(done), &mut batch);
    opened.writer.commit(batch, vec![ticket], 0).unwrap();
    answer.try_recv().unwrap()
}

/// Damages a row, as rot that passes the store's own checksums does.
fn damage(opened: &Opened, table: Table, key: &[u8]) {
    let keyspace = opened.shared.tables.keyspace(table);
    let mut bytes = keyspace.get(key).unwrap().expect("a row").to_vec();
    bytes[1] ^= 1;
    keyspace.insert(key, bytes).unwrap();
}

fn owed(new: &NewEvent) -> Owed {
    Owed {
        key: delivery(&new.tenant, new.id),
        round: 0,
        attempts: 0,
        interrupted: 0,
        owed_as: OwedAs::Fresh,
        payload: None,
    }
}

fn count(opened: &Opened, table: Table) -> usize {
    opened.shared.tables.view().range(table, ..vec![0xFF]).count()
}

/// A tenant's record that cannot be read is no reason to let go of what the tenant is owed.
#[test]
fn a_damaged_tenant_leaves_its_deliveries_owed() {
    let home = home();
    let mut first = opened(settings(&home));
    let new = event("acme", Timestamp::from_millis(5), 1);
    let tenant = Box::new(new_tenant("acme", 0));
    run(&mut first, |done| Operation::CreateTenant { new: tenant, done }).unwrap();
    let events = vec![new.clone()];
    run(&mut first, |done| Operation::Accept { events, done }).unwrap();
    damage(&first, Table::Tenants, &keys::tenant(&tenant_id("acme")));
    // The record is in the cache of that one.
    drop(first);
    let mut again = opened(settings(&home));
    let due = Timestamp::from_millis(99);
    let retry = outcome(&owed(&new), Timestamp::from_millis(9), Resolution::Retry { due });
    let settlements = vec![retry];
    let answer = run(&mut again, |done| Operation::Settle { settlements, done });
    assert_eq!(answer, Ok(vec![Settled::Superseded]));
    assert_eq!((count(&again, Table::Fresh), count(&again, Table::Log)), (1, 0));
}

/// One damaged dead letter holds up neither the requeue nor the purge of others.
#[test]
fn a_damaged_dead_letter_holds_up_no_other() {
    let home = home();
    let mut opened = opened(settings(&home));
    let tenant = Box::new(new_tenant("acme", 0));
    run(&mut opened, |done| Operation::CreateTenant { new: tenant, done }).unwrap();
    let events: Vec<_> = (1..=3).map(|n| event("acme", Timestamp::from_millis(5), n)).collect();
    let accepted = events.clone();
    run(&mut opened, |done| Operation::Accept { events: accepted, done }).unwrap();
    let cause = DeadLetterCause::Gone;
    let at = Timestamp::from_millis(9);
    let dead = |new| outcome(&owed(new), at, Resolution::DeadLettered { cause });
    let settlements = events.iter().map(dead).collect();
    run(&mut opened, |done| Operation::Settle { settlements, done }).unwrap();
    damage(&opened, Table::Rows, &keys::event(&events[0].tenant, events[0].id));
    let names: Vec<_> = events.iter().map(|new| (new.tenant.clone(), new.id)).collect();
    let some = names[..2].to_vec();
    let requeued = run(&mut opened, |done| Operation::Requeue { events: some, done });
    assert_eq!(requeued, Ok(Requeued { requeued: 1, failed: 1 }));
    let purged = run(&mut opened, |done| Operation::Purge { events: names, at, done });
    assert_eq!(purged, Ok(1));
}

const NOW: Timestamp = Timestamp::from_millis(90);

fn waiting(event: u128, due: u64, attempts: u32) -> posthaste_ports::Job {
    posthaste_ports::Job {
        key: delivery(&tenant_id("acme"), EventId::from_u128(event)),
        round: 1,
        shard_key: 0,
        interrupted: 0,
        epoch: 1,
        lease_until: NOW,
        state: JobState::Waiting { due: Timestamp::from_millis(due), attempts },
        payload: Some("{}".into()),
    }
}

fn put(opened: &mut Opened, jobs: &[posthaste_ports::Job]) {
    let changes = jobs.iter().map(|job| JobChange::Put(Box::new(job.clone()))).collect();
    run(opened, |done| Operation::ApplyJobs { changes, done }).unwrap();
}

/// A job's damaged row leaves nothing behind that would find it, and holds up no other change of
/// the same call.
#[test]
fn a_damaged_job_is_replaced_like_any_other() {
    let home = home();
    let mut opened = opened_cache(settings(&home), NOW);
    put(&mut opened, &[waiting(1, 10, 1), waiting(2, 20, 1), waiting(3, 30, 1)]);
    for event in [1, 2] {
        let key = waiting(event, 0, 0).key;
        damage(&opened, Table::Jobs, &keys::job(&key));
    }
    let changes = vec![
        JobChange::Put(Box::new(waiting(1, 15, 2))),
        JobChange::Remove(waiting(2, 0, 0).key),
        JobChange::Put(Box::new(waiting(4, 40, 1))),
    ];
    run(&mut opened, |done| Operation::ApplyJobs { changes, done }).unwrap();
    let view = opened.shared.tables.view();
    let timers = view.range(Table::JobIndex, keys::job_index_range());
    let events: Vec<_> = timers
        .map(|guard| keys::parse_job_timer(&guard.key().unwrap()).unwrap())
        .map(|(due, key)| (key.event.as_u128(), due.as_millis()))
        .collect();
    assert_eq!(events, [(1, 15), (3, 30), (4, 40)]);
    assert_eq!(view.range(Table::Payloads, ..vec![0xFF]).count(), 3);
    assert_eq!(opened.shared.stats(0).damaged_rows, 2);
}

/// A payload that a job keeps is written once, whatever becomes of the job.
#[test]
fn a_payload_is_written_once() {
    let home = home();
    let mut opened = opened_cache(settings(&home), NOW);
    let mut job = waiting(1, 10, 1);
    job.payload = Some(vec![b'x'; 100_000].into());
    put(&mut opened, &[job.clone()]);
    let before = opened.shared.tables.database().write_buffer_size();
    for due in 11..30 {
        job.state = JobState::Waiting { due: Timestamp::from_millis(due), attempts: 1 };
        put(&mut opened, &[job.clone()]);
    }
    let after = opened.shared.tables.database().write_buffer_size();
    assert!(after - before < 50_000, "{before} bytes, then {after}");
}

/// What a crash cut off is counted in the job that still owes the attempt, or in a record of its
/// own where only the queue has the delivery; a stale slot counts nothing.
#[test]
fn what_was_cut_off_is_counted_in_jobs() {
    let home = home();
    let mut first = opened_cache(settings(&home), NOW);
    put(&mut first, &[waiting(1, 10, 1), waiting(2, 20, 1), waiting(3, 30, 1)]);
    let path = first.shared.directory.register(0);
    let mut register = crate::register::AttemptRegister::create(&path, 8).unwrap();
    let key = |event| waiting(event, 0, 0).key;
    // The next attempt of the first, an earlier one of the second, another round of the third,
    // and one that no job knows.
    for (slot, (event, round, number)) in (0..).zip([(1, 1, 2), (2, 1, 1), (3, 0, 2), (9, 1, 1)]) {
        register.begin(slot, &key(event), round, number);
    }
    register.flush().unwrap();
    drop(first);
    let again = opened_cache(settings(&home), NOW);
    assert_eq!(again.recovery.ledger.interrupted, 2);
    let counts = |opened: &Opened| {
        [1, 2, 3, 9].map(|event| {
            let row = opened.shared.tables.row::<JobRow>(Table::Jobs, &keys::job(&key(event)));
            row.unwrap().map(|row| row.interrupted)
        })
    };
    assert_eq!(counts(&again), [Some(1), Some(0), Some(0), Some(1)]);
    let timer = again.shared.tables.view().range(Table::JobIndex, keys::job_index_range()).nth(1);
    let timer: TimerRow = codec::decode(&timer.unwrap().value().unwrap()).unwrap();
    assert_eq!(timer.interrupted, 1, "the engine reads it from the timer");
    // It is cut off again, before its message came.
    let mut register = crate::register::AttemptRegister::create(&path, 8).unwrap();
    register.begin(0, &key(9), 1, 1);
    register.flush().unwrap();
    drop(again);
    let again = opened_cache(settings(&home), NOW.plus_millis(1));
    assert_eq!(counts(&again), [Some(1), Some(0), Some(0), Some(2)]);
    let row: JobRow = again.shared.tables.row(Table::Jobs, &keys::job(&key(9))).unwrap().unwrap();
    assert_eq!(row.state, JobStateRow::CutOff { at: 91 });
    drop(again);
    let again = opened_cache(settings(&home), NOW);
    assert_eq!(counts(&again)[3], Some(2), "counted once");
}

/// Batches begin a millisecond apart where many ask, and at once where few do; a clock that stands
/// or jumps makes nobody wait for longer.
#[test]
fn a_crowd_waits_a_millisecond_at_most() {
    for (crowded, begun_us, now_us, waits) in [
        (false, 1_000, 1_000, 0),
        (true, 1_000, 1_000, PACE_US),
        (true, 1_000, 1_400, 600),
        (true, 1_000, 2_000, 0),
        (true, 1_000, u64::MAX, 0),
        (true, 5_000, 1_000, PACE_US),
    ] {
        assert_eq!(waits_us(crowded, begun_us, now_us), waits, "{begun_us} {now_us}");
    }
}
