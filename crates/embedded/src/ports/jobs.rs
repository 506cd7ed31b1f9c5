//! What an instance keeps in AWS mode about what it owes.

use std::ops::Bound;

use async_trait::async_trait;
use posthaste_domain::{DeliveryKey, TimerPosition, Timestamp};
use posthaste_ports::{Job, JobChange, JobStore, PortError, ShardSpec, TimerPage};

use super::journal::{TimerQuery, TimerRows, timer_page};
use crate::codec::JobRow;
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, View, decoded_as, foreign_key, key_of, unless_damaged};
use crate::writer::Operation;

const JOB_TIMERS: TimerRows = TimerRows {
    table: Table::JobIndex,
    after: keys::after_job_timer,
    end: keys::JOB_TIMERS_END,
    parse: keys::parse_job_timer,
};

#[async_trait]
impl JobStore for Ledger {
    fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    async fn apply(&self, changes: Vec<JobChange>) -> Result<(), PortError> {
        self.ask(|done| Operation::ApplyJobs { changes, done }).await
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError> {
        let keys = keys.to_vec();
        self.read(move |shared| {
            let view = shared.tables.view();
            let job = |key| Ok(job(shared, &view, key)?.map(|(job, _)| job));
            keys.into_iter().map(job).collect()
        })
        .await
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let query = TimerQuery { shard, from, until, max };
        self.read(move |shared| timer_page(shared, &JOB_TIMERS, query)).await
    }

    async fn outbox(&self, after: Option<DeliveryKey>, max: usize) -> Result<Vec<Job>, PortError> {
        self.read(move |shared| outbox(shared, after.as_ref(), max)).await
    }

    async fn forget_cut_off(&self, before: Timestamp, max: usize) -> Result<u64, PortError> {
        self.ask(|done| Operation::ForgetCutOff { before, max, done }).await
    }
}

/// A delivery's job, with its row's place. A damaged one counts as none: losing a job costs time,
/// never an event. So does a damaged payload.
fn job(
    shared: &Shared,
    view: &View<'_>,
    key: DeliveryKey,
) -> Result<Option<(Job, crate::codec::Place)>, ReadError> {
    let (name, event) = (keys::job(&key), key.event);
    let read = unless_damaged(view.row::<JobRow>(Table::Jobs, &name), &event, shared)?;
    let Some(row) = read.flatten() else { return Ok(None) };
    let payload = match row.payload {
        Some(_) => unless_damaged(view.payload_at(&name), &event, shared)?.flatten(),
        None => None,
    };
    let place = row.place;
    let job = unless_damaged(decoded_as(Table::Jobs, row.job(key, payload)), &event, shared)?;
    Ok(job.map(|job| (job, place)))
}

fn outbox(shared: &Shared, after: Option<&DeliveryKey>, max: usize) -> Result<Vec<Job>, ReadError> {
    let table = Table::JobIndex;
    let view = shared.tables.view();
    let range = (Bound::Excluded(keys::after_outbox(after)), Bound::Excluded(keys::outbox_end()));
    let mut jobs = Vec::new();
    for guard in view.range(table, range) {
        if jobs.len() == max {
            break;
        }
        let entry = key_of(table, guard)?;
        let Some((key, place)) = keys::parse_outbox(&entry) else {
            shared.damaged(&foreign_key(table), &"a job to be sent");
            continue;
        };
        // One whose place is another is left of a damaged row.
        if let Some((job, _)) = job(shared, &view, key)?.filter(|(_, now)| *now == place) {
            jobs.push(job);
        }
    }
    Ok(jobs)
}
