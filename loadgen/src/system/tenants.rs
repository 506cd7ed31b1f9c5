//! The tenants of a run: made through the system's own API, before anything is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use posthaste_domain::{SigningKey, WebhookSecret};
use tokio::task::JoinSet;

use super::System;
use crate::control::Client;
use crate::scenario::Scenario;

/// Requests at one moment: enough that one sync of the disk serves many.
const CLIENTS: u32 = 64;

/// What is known of each tenant, by number.
#[derive(Debug)]
pub struct Tenants {
    /// Their API keys.
    pub api_keys: Vec<String>,
    /// What deliveries to them are signed with.
    pub signing_keys: Vec<SigningKey>,
}

/// What a tenant is called.
#[must_use]
pub fn tenant_name(number: u32) -> String {
    format!("load-{number:06}")
}

/// The endpoint of each tenant, over all groups.
fn endpoints(scenario: &Scenario) -> Vec<u32> {
    let (mut endpoints, mut first) = (Vec::new(), 0);
    for group in &scenario.groups {
        endpoints.extend((0..group.count).map(|tenant| first + tenant % group.endpoints));
        first += group.endpoints;
    }
    endpoints
}

/// Makes every tenant; `target` gives the URL for a tenant and an endpoint.
///
/// # Errors
/// Where the system refuses one.
pub async fn create(
    system: &System,
    scenario: &Scenario,
    target: impl Fn(u32, u32) -> String,
) -> Result<Tenants> {
    let endpoints = endpoints(scenario);
    let targets = (0..).zip(&endpoints).map(|(tenant, &endpoint)| target(tenant, endpoint));
    let targets: Arc<[String]> = targets.collect();
    let next = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS.min(scenario.tenant_count()) {
        let client = Client::new(system.api, Some(system.admin_key.expose().to_owned()));
        clients.spawn(create_some(client, Arc::clone(&targets), Arc::clone(&next)));
    }
    let mut made = Vec::with_capacity(targets.len());
    while let Some(some) = clients.join_next().await {
        made.extend(some.context("a task panicked")??);
    }
    made.sort_unstable_by_key(|(tenant, ..)| *tenant);
    let mut tenants = Tenants { api_keys: Vec::new(), signing_keys: Vec::new() };
    for (_, key, secret) in made {
        tenants.api_keys.push(key);
        tenants.signing_keys.push(SigningKey::new(&WebhookSecret::try_new(&secret)?));
    }
    Ok(tenants)
}

async fn create_some(
    mut client: Client,
    targets: Arc<[String]>,
    next: Arc<AtomicU32>,
) -> Result<Vec<(u32, String, String)>> {
    let mut made = Vec::new();
    loop {
        let tenant = next.fetch_add(1, Ordering::Relaxed);
        let Some(target) = targets.get(tenant as usize) else { return Ok(made) };
        let body = serde_json::json!({
            "tenant_id": tenant_name(tenant),
            "target_url": target,
        });
        let reply = client.post("/v1/tenants", &body.to_string()).await?.json(201)?;
        let field = |name: &str| {
            let text = reply[name].as_str().map(str::to_owned);
            text.with_context(|| format!("a new tenant has no {name}"))
        };
        made.push((tenant, field("api_key")?, field("webhook_secret")?));
    }
}
