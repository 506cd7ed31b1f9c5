//! The last question of a run: what became of the events that were accepted and not delivered?
//!
//! The system's own API is asked, tenant by tenant, but only about tenants of which something is
//! missing. Each event that it lists is looked at, because its payload tells its number: so the
//! account is exact, and not a comparison of sums.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use super::{System, Tenants};
use crate::account::Fate;
use crate::control::Client;
use crate::payload::Tag;
use crate::shared::{Shared, lock};

const CLIENTS: usize = 32;
/// A retry that falls due changes an event's status between two questions, so that it stands in
/// neither answer: it is asked for again.
const PASSES: u32 = 3;
/// More undelivered events than this are not asked for one by one; the run is too far from settled
/// for its account to matter.
const EVENTS_MAX: u64 = 500_000;

/// Asks for every event that is missing.
///
/// # Errors
/// Where the system does not answer, or far too many are missing.
pub async fn settle(system: &System, tenants: &Tenants, shared: &Arc<Shared>) -> Result<()> {
    for _ in 0..PASSES {
        if shared.account().totals().missing == 0 {
            return Ok(());
        }
        pass(system, tenants, shared).await?;
    }
    Ok(())
}

async fn pass(system: &System, tenants: &Tenants, shared: &Arc<Shared>) -> Result<()> {
    let owing: VecDeque<usize> = {
        let account = shared.account();
        let counts = account.tenants().iter().enumerate();
        counts.filter(|(_, count)| count.accepted > count.settled).map(|(at, _)| at).collect()
    };
    let owing = Arc::new(Mutex::new(owing));
    let asked = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::<Result<()>>::new();
    let keys: Arc<[String]> = tenants.api_keys.clone().into();
    for _ in 0..CLIENTS {
        let (owing, asked, keys) = (Arc::clone(&owing), Arc::clone(&asked), Arc::clone(&keys));
        let (shared, api) = (Arc::clone(shared), system.api);
        clients.spawn(async move {
            loop {
                let Some(tenant) = lock(&owing).pop_front() else { return Ok(()) };
                let mut client = Client::new(api, Some(keys[tenant].clone()));
                ask(&mut client, &shared, &asked).await?;
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.context("a task panicked")??;
    }
    Ok(())
}

/// Asks for one tenant's events that are not delivered.
async fn ask(client: &mut Client, shared: &Shared, asked: &AtomicU64) -> Result<()> {
    for (status, fate) in
        [("PENDING", Fate::Owed), ("FAILED", Fate::Owed), ("DLQ", Fate::DeadLettered)]
    {
        let mut token = String::new();
        loop {
            let path = format!("/v1/events?status={status}&limit=100{token}");
            let page = client.get(&path).await?.json(200)?;
            let events = page["events"].as_array().context("a list without events")?;
            for event in events {
                let id = event["event_id"].as_str().context("an event without an id")?;
                let count = asked.fetch_add(1, Ordering::Relaxed);
                ensure!(count < EVENTS_MAX, "more than {EVENTS_MAX} events are not delivered");
                let detail = client.get(&format!("/v1/events/{id}")).await?;
                if let Some(tag) = Tag::find(&detail.body).filter(|t| t.run == shared.workload.run)
                {
                    shared.account().reported(tag.sequence, fate);
                }
            }
            match page["next_token"].as_str() {
                Some(next) => token = format!("&next_token={next}"),
                None => break,
            }
        }
    }
    Ok(())
}
