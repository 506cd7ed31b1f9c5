//! The admin listener: `/livez`, `/readyz`, `/metrics` and `/endpoints`, apart from the public API.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use posthaste_courier::Courier;
use posthaste_embedded::{Health, Ledger};
use posthaste_engine::EndpointView;
use serde_json::json;
use tokio::sync::watch;

use crate::lifecycle::{Fatal, Phase};
use crate::metrics::Metrics;

/// What the admin routes look at.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The process's phase.
    pub phase: watch::Receiver<Phase>,
    /// Whether something ended the process.
    pub fatal: Fatal,
    /// What is open.
    pub opened: Arc<OnceLock<Opened>>,
    /// The figures.
    pub metrics: Arc<Metrics>,
}

/// What the admin routes look at once it is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The data directory.
    pub ledger: Ledger,
    /// In AWS mode.
    pub courier: Option<Arc<Courier>>,
}

/// The admin routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/endpoints", get(endpoints))
        .with_state(admin)
}

async fn livez() -> &'static str {
    "ok\n"
}

/// 200 while events are taken; 503 with one reason a line otherwise.
async fn readyz(State(admin): State<Admin>) -> Response {
    let reasons = admin.reasons();
    if reasons.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let phase = *admin.phase.borrow();
    let body = admin.metrics.render(phase, admin.opened.get());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// Endpoints that are not attempted as usual, as a JSON array.
async fn endpoints(State(admin): State<Admin>) -> Response {
    let shown = |it: &EndpointView| {
        json!({
            "tenant_id": it.tenant.as_str(),
            "endpoint": it.endpoint.to_string(),
            "health": it.health.as_str(),
            "since": it.since.to_string(),
            "next_attempt_at": it.next_attempt_at.map(|at| at.to_string()),
            "trips": it.trips,
            "in_flight": it.in_flight,
            "held": it.held,
            "behind": it.behind,
        })
    };
    Json(admin.metrics.troubled().iter().map(shown).collect::<Vec<_>>()).into_response()
}

impl Admin {
    /// Why events are not taken, one reason each; none where they are.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let phase = *self.phase.borrow();
        if phase != Phase::Running {
            reasons.push(phase.as_str().to_owned());
        }
        if let Some(reason) = self.fatal.reason() {
            reasons.push(reason);
        }
        let opened = self.opened.get();
        let courier = opened.and_then(|opened| opened.courier.as_ref());
        reasons.extend(courier.map(|courier| courier.ailments()).unwrap_or_default());
        match opened.map(|opened| opened.ledger.health()) {
            // Where it is not open, the phase says so.
            None | Some(Health::Healthy) => {}
            Some(Health::Full) => reasons.push("disk too full to accept events".to_owned()),
            Some(Health::Failed(reason)) => reasons.push(format!("ledger failed: {reason}")),
        }
        reasons
    }
}
