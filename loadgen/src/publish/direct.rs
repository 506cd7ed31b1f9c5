//! A lane that puts its events into the simulated AWS, without a connection.
//!
//! What stands for the 201 is that the event's message can be received.

use std::sync::Mutex;

use anyhow::{Context as _, Result};
use posthaste_domain::EventId;

use super::outbound::Outbound;
use super::timer::Timer;
use crate::chance::mix;
use crate::clock::{MILLISECOND, Nanos, calendar};
use crate::cloud::Mail;
use crate::pacer::{Due, Pacer, Step};
use crate::shared::{Shared, lock};

/// How long it sleeps at most before it looks whether the load was stopped.
const LOOK_EVERY: Nanos = 50 * MILLISECOND;

/// Puts everything that `pacer` says.
pub(super) fn run(
    shared: &Shared,
    mail: &Mail,
    record: &Mutex<Outbound>,
    pacer: Pacer,
) -> Result<()> {
    shared.raise_priority();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot make a runtime")?;
    runtime.block_on(put_all(shared, mail, record, pacer))
}

async fn put_all(
    shared: &Shared,
    mail: &Mail,
    record: &Mutex<Outbound>,
    mut pacer: Pacer,
) -> Result<()> {
    let timer = Timer::new().context("cannot make a timer")?;
    let mut payload = Vec::new();
    while !shared.is_stopped() {
        let now = shared.clock.now();
        match pacer.poll(now, true) {
            Step::Send(due) => put(shared, mail, record, due, &mut payload).await,
            Step::Wait(until) => {
                timer.wait((until - now).min(LOOK_EVERY)).await.context("the timer broke")?;
            }
            // There is always room, so it is never full.
            Step::Full | Step::Done => break,
        }
    }
    let mut record = lock(record);
    record.held_back = pacer.held_back();
    record.abandoned = pacer.remaining();
    Ok(())
}

async fn put(
    shared: &Shared,
    mail: &Mail,
    record: &Mutex<Outbound>,
    due: Due,
    payload: &mut Vec<u8>,
) {
    let (sent, window) = (shared.clock.now(), shared.window());
    let tag = shared.workload.tag(due.sequence, due.at);
    lock(record).sent(due.at, sent, &window);
    shared.account().sent(due.sequence);
    payload.clear();
    shared.workload.payloads.write(&tag, payload);
    let run = u64::from(shared.workload.run);
    let entropy = [mix(run, due.sequence), mix(run ^ 0x6576_7400, due.sequence)];
    let entropy = u128::from(entropy[0]) << 64 | u128::from(entropy[1]);
    let event = EventId::from_parts(calendar(), entropy);
    let put = match str::from_utf8(payload) {
        Ok(payload) => mail.put(event, tag.tenant, payload).await.map_err(|_| "refused"),
        Err(_) => Err("payload is no text"),
    };
    let now = shared.clock.now();
    if put.is_ok() {
        shared.account().accepted(due.sequence, tag.tenant);
        shared.accepted.note(now);
    }
    lock(record).ended([due.at, sent, now], put.map(|()| 201), &window);
}
