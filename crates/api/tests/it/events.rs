//! One event: what is shown of it, to whom, and its retry.

use posthaste_domain::{ErrorClass, EventId, EventStatus, Resolution, Timestamp, Verdict};
use serde_json::{Value, json};

use crate::support::{Tenant, World, server_error};

async fn detail(world: &World, tenant: &Tenant, event: EventId) -> Value {
    let answer = world.get(&format!("/v1/events/{event}")).key(&tenant.key).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["event"].take()
}

#[tokio::test]
async fn a_new_event_has_its_fields() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let event = world.event(&tenant).await;
    let expected = json!({
        "event_id": event.to_string(),
        "status": "PENDING",
        "created_at": "2027-01-15T08:00:00.123Z",
        "payload": {"a": 1},
        "target_url": "https://example.com/hook",
        "attempts": 0,
        "last_attempt_at": null,
        "error_message": null,
        "next_attempt_at": null,
        "attempt_log": [],
    });
    assert_eq!(detail(&world, &tenant, event).await, expected);
    // The target is where the tenant's events go now.
    let change = json!({"target_url": "https://example.org/new"}).to_string();
    world.patch("/v1/tenants/acme").key(&tenant.key).body(change).send().await;
    let target = detail(&world, &tenant, event).await["target_url"].take();
    assert_eq!(target, "https://example.org/new");
}

#[tokio::test]
async fn an_attempt_is_in_the_log() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let event = world.event(&tenant).await;
    let due = world.now().plus_millis(60_000);
    world.settle(&tenant, event, server_error(), Resolution::Retry { due }).await;
    let shown = detail(&world, &tenant, event).await;
    assert_eq!(shown["status"], "FAILED");
    assert_eq!(shown["attempts"], 1);
    assert_eq!(shown["last_attempt_at"], world.now().to_rfc3339());
    assert_eq!(shown["error_message"], "the endpoint answered 503");
    assert_eq!(shown["next_attempt_at"], due.to_rfc3339());
    let expected = json!([{
        "round": 0,
        "number": 1,
        "at": world.now().to_rfc3339(),
        "status_code": 503,
        "duration_ms": 17,
        "error_class": "server_error",
        "error": "the endpoint answered 503",
        "response": "said \u{FFFD} so",
    }]);
    assert_eq!(shown["attempt_log"], expected);
}

/// For all verdicts: the log names the class, or none.
#[tokio::test]
async fn every_verdict_has_its_class() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let timeout = Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: Some(5) };
    for (verdict, class) in [
        (Verdict::Delivered, Value::Null),
        (Verdict::Gone, "gone".into()),
        (timeout, "timeout".into()),
        (Verdict::NotCharged { class: ErrorClass::ShuttingDown }, "shutting_down".into()),
    ] {
        let event = world.event(&tenant).await;
        let resolution = match verdict {
            Verdict::Delivered => Resolution::Delivered,
            _ => Resolution::Retry { due: Timestamp::MAX },
        };
        world.settle(&tenant, event, verdict, resolution).await;
        let shown = detail(&world, &tenant, event).await;
        assert_eq!(shown["attempt_log"][0]["error_class"], class);
    }
}

/// For all names that are no event of this tenant: 404, whatever they are.
#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new();
    let (tenant, other) = (world.tenant("acme").await, world.tenant("other").await);
    let foreign = world.event(&other).await;
    let nobody = EventId::from_parts(world.now(), 1);
    let lower = foreign.to_string().to_lowercase();
    let long = "x".repeat(10_000);
    for name in [
        &foreign.to_string(),
        &nobody.to_string(),
        &lower,
        "evt_",
        "x",
        "..",
        "%2e%2e",
        "%00",
        "%FF",
        ";x",
        &long,
    ] {
        for (method, path) in [
            (http::Method::GET, format!("/v1/events/{name}")),
            (http::Method::POST, format!("/v1/events/{name}/retry")),
        ] {
            let answer = world.call(method, &path).key(&tenant.key).send().await;
            assert_eq!(answer.status, 404, "{path:.60}");
            assert_eq!(answer.detail(), "no such event");
        }
    }
    // Its owner still has it, untouched.
    assert_eq!(detail(&world, &other, foreign).await["status"], "PENDING");
}

#[tokio::test]
async fn a_retry_starts_a_fresh_round_of_a_failed_or_dead_event() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let due = world.now().plus_millis(60_000);
    for dead in [true, false] {
        let event = world.event(&tenant).await;
        if dead {
            world.kill(&tenant, event).await;
        } else {
            world.settle(&tenant, event, server_error(), Resolution::Retry { due }).await;
        }
        let retry = format!("/v1/events/{event}/retry");
        let answer = world.post(&retry).key(&tenant.key).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let shown = answer.json()["event"].take();
        assert_eq!(shown["status"], "PENDING");
        assert_eq!(shown["attempts"], 0);
        assert_eq!(shown["attempt_log"].as_array().unwrap().len(), 1, "the log stays");
        // Once is enough.
        let again = world.post(&retry).key(&tenant.key).send().await;
        assert_eq!(again.status, 400);
        assert_eq!(
            again.detail(),
            "only FAILED and DLQ events can be retried; this one is PENDING"
        );
    }
}

/// For all final or running statuses: a retry is refused and changes nothing.
#[tokio::test]
async fn what_is_not_failed_is_not_retried() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let (pending, delivered, purged) =
        (world.event(&tenant).await, world.event(&tenant).await, world.event(&tenant).await);
    world.settle(&tenant, delivered, Verdict::Delivered, Resolution::Delivered).await;
    world.kill(&tenant, purged).await;
    world.post("/v1/admin/dlq/purge").key(&tenant.key).send().await;
    for (event, status) in [
        (pending, EventStatus::Pending),
        (delivered, EventStatus::Delivered),
        (purged, EventStatus::Purged),
    ] {
        let before = detail(&world, &tenant, event).await;
        assert_eq!(before["status"], status.as_str());
        let retry = format!("/v1/events/{event}/retry");
        assert_eq!(world.post(&retry).key(&tenant.key).send().await.status, 400, "{status:?}");
        assert_eq!(detail(&world, &tenant, event).await, before);
    }
}
