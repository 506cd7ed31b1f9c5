//! A tenant's delivery options in the real process: kept from the first attempt on, and changed
//! without a restart.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, Setup, admin_key};
use crate::support::sink::{Reply, Sink};

const PATH: &str = "/v1/tenants/acme";
/// Longer than a test may take: who waits for this answer hangs.
const FOR_EVER: Duration = Duration::from_secs(3_600);

async fn post(daemon: &Daemon, key: &str) -> String {
    let answer = daemon.client(key).post("/v1/events", r#"{"a":1}"#).await.expect("an answer");
    answer.json()["event_id"].as_str().expect("an id").to_owned()
}

/// A deadline of 1 s is kept where the process has 30 s; a change of headers is in the next attempt
/// of an event that waits, and outlives a restart. No value is ever printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_are_kept_and_a_change_needs_no_restart() {
    let home = Home::new();
    let setup = Setup::default().with("retry.delays", "300ms").with("retry.attempts-max", 20);
    let daemon = Daemon::start(&home, &setup).await;
    let sink = Sink::start(|received| {
        let well = received.headers.get("x-team").is_some_and(|team| team == "green");
        Reply { delay: if well { Duration::ZERO } else { FOR_EVER }, ..Reply::status(200) }
    })
    .await;
    let own = json!({"timeout_ms": 1_000, "headers": {
        "X-Team": "blue", "Authorization": "Bearer hush-hush",
    }});
    let key = daemon.tenant_with("acme", &sink.url("hook"), own).await;
    let event = post(&daemon, &key).await;
    let failed = |event: &Value| event["attempt_log"].as_array().is_some_and(|log| !log.is_empty());
    let detail = daemon.event(&key, &event, failed).await;
    let first = &detail["attempt_log"][0];
    let error = detail["error_message"].as_str().expect("an error");
    assert!(error.contains("within 1000 ms"), "{error}");
    let took = first["duration_ms"].as_u64().expect("a duration");
    assert!((1_000..30_000).contains(&took), "{took} ms");

    let change = json!({"delivery": {"headers": {"x-team": "green"}}}).to_string();
    let mut client = daemon.client(&key);
    let answer = client.send(Method::PATCH, PATH, &[], change.into()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    daemon.event(&key, &event, |event| event["status"] == "DELIVERED").await;
    let received = sink.received();
    let (last, earlier) = received.split_last().expect("requests");
    assert!(!earlier.is_empty());
    for one in earlier {
        assert_eq!(
            (&one.headers["x-team"], &one.headers["authorization"]),
            (&"blue".parse().expect("a value"), &"Bearer hush-hush".parse().expect("a value"))
        );
    }
    assert_eq!(last.headers["x-team"], "green");
    assert!(!last.headers.contains_key("authorization"));

    let printed = daemon.printed();
    assert!(!printed.contains("hush") && !printed.contains("green"), "{printed}");
    daemon.kill();
    let daemon = Daemon::start(&home, &setup).await;
    let event = post(&daemon, &key).await;
    daemon.event(&key, &event, |event| event["status"] == "DELIVERED").await;
    assert_eq!(sink.received().last().expect("a request").headers["x-team"], "green");
    let shown = daemon.client(admin_key().expose()).get(PATH).await.expect("an answer").json();
    let delivery = &shown["tenant"]["delivery"];
    assert_eq!(
        (&delivery["timeout_ms"], &delivery["headers"]),
        (&json!(1_000), &json!(["x-team"]))
    );
}
