//! The demo's tenants, created and looked at through the public API like anybody's.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use http::StatusCode;
use posthaste_domain::{ApiKey, WebhookSecret};
use serde::Deserialize;
use serde_json::json;

use super::client::Client;
use super::tally::Role;

/// Events on one page: as many as the API gives.
const PAGE: usize = 100;

/// The three tenants, in the order of [`Role::ALL`].
#[derive(Debug)]
pub(super) struct Tenants {
    api: SocketAddr,
    tenants: Vec<Tenant>,
}

#[derive(Debug)]
struct Tenant {
    key: ApiKey,
    secret: WebhookSecret,
}

/// How many of a tenant's events have which status, as the API tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statuses {
    /// DELIVERED.
    pub(super) delivered: u64,
    /// DLQ or PURGED.
    pub(super) dead_lettered: u64,
    /// PENDING or FAILED: they wait for an attempt.
    pub(super) waiting: u64,
    /// Attempts of all of them.
    pub(super) attempts: u64,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Event>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    status: String,
    attempts: u64,
}

impl Tenants {
    /// Creates the tenants, each with its target.
    ///
    /// # Errors
    /// What the API answered, where it was not 201.
    pub(super) async fn create(
        api: SocketAddr,
        admin_key: &ApiKey,
        targets: [String; 3],
    ) -> Result<Self> {
        let mut admin = Client::new(api, Some(admin_key.expose()));
        let mut tenants = Vec::new();
        for (role, target) in Role::ALL.into_iter().zip(targets) {
            let body = json!({"tenant_id": role.name(), "target_url": target}).to_string();
            let answer = admin.post("/v1/tenants", body).await?;
            let created = answer.json();
            if answer.status != StatusCode::CREATED {
                bail!("cannot create a tenant: {} {}", answer.status, created["detail"]);
            }
            let text = |name: &str| created[name].as_str().unwrap_or_default();
            let key = ApiKey::parse(text("api_key")).context("the API gave no key")?;
            let secret = WebhookSecret::try_new(text("webhook_secret"))?;
            tenants.push(Tenant { key, secret });
        }
        Ok(Self { api, tenants })
    }

    /// A client that presents the tenant's key.
    pub(super) fn client(&self, role: Role) -> Client {
        Client::new(self.api, Some(self.key(role).expose()))
    }

    /// The tenant's key.
    pub(super) fn key(&self, role: Role) -> &ApiKey {
        &self.tenants[role as usize].key
    }

    /// What signs its deliveries.
    pub(super) fn secret(&self, role: Role) -> &WebhookSecret {
        &self.tenants[role as usize].secret
    }

    /// Asks the API about every event of a tenant; `progress` hears how many have been looked at.
    ///
    /// # Errors
    /// Where a page is not one.
    pub(super) async fn statuses(
        &self,
        role: Role,
        mut progress: impl FnMut(u64),
    ) -> Result<Statuses> {
        let mut client = self.client(role);
        let mut statuses = Statuses::default();
        let mut path = format!("/v1/events?limit={PAGE}");
        loop {
            let answer = client.get(&path).await?;
            ensure!(answer.status == StatusCode::OK, "cannot list events: {}", answer.status);
            let page: Page =
                serde_json::from_slice(&answer.body).context("not a page of events")?;
            for event in &page.events {
                statuses.count(event);
            }
            progress(u64::try_from(page.events.len()).unwrap_or(0));
            match page.next_token {
                Some(token) => path = format!("/v1/events?limit={PAGE}&next_token={token}"),
                None => return Ok(statuses),
            }
        }
    }
}

impl Statuses {
    fn count(&mut self, event: &Event) {
        self.attempts += event.attempts;
        match event.status.as_str() {
            "DELIVERED" => self.delivered += 1,
            "DLQ" | "PURGED" => self.dead_lettered += 1,
            _ => self.waiting += 1,
        }
    }

    /// All of them.
    pub(super) const fn all(&self) -> u64 {
        self.delivered + self.dead_lettered + self.waiting
    }
}

impl std::ops::Add for Statuses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            waiting: self.waiting + other.waiting,
            attempts: self.attempts + other.attempts,
        }
    }
}
