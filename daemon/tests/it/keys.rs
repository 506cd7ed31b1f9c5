//! Keys: the admin's, made once and shown once, and a tenant's, revoked.

use std::fs;
use std::path::Path;

use http::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::{Daemon, Home, Setup};

/// The admin key is printed at the first start and never again, holds after a restart, and is
/// nowhere in the data directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_key_is_shown_once_and_kept_as_a_hash() {
    let home = Home::new();
    let setup = Setup::default().without("auth.admin-key");
    let daemon = Daemon::start(&home, &setup).await;
    let key = daemon
        .printed()
        .split_whitespace()
        .find(|word| word.starts_with("phk_"))
        .map(str::to_owned);
    let key = key.expect("a key");
    let create = |id| json!({"tenant_id": id, "target_url": "https://example.com/"}).to_string();
    let answer = daemon.client(&key).post("/v1/tenants", create("first")).await.expect("an answer");
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    daemon.signal(Signal::TERM);
    daemon.ended().await;
    let daemon = Daemon::start(&home, &setup).await;
    assert!(!daemon.printed().contains("phk_"), "{}", daemon.printed());
    let answer =
        daemon.client(&key).post("/v1/tenants", create("second")).await.expect("an answer");
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    // A key from the configuration replaces it.
    daemon.signal(Signal::TERM);
    daemon.ended().await;
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let answer = daemon.client(&key).post("/v1/tenants", create("third")).await.expect("an answer");
    assert_eq!(answer.status, 401, "{:?}", answer.body);
    assert!(!contains(&home.data(), key.as_bytes()), "the key is on the disk");
    assert!(contains(&home.data(), b"second"), "the search finds what is there");
}

/// Whether any file below `folder` has these bytes.
fn contains(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return contains(&path, bytes);
        }
        let content = fs::read(&path).expect("a file");
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// A revoked key is refused at once, although it was trusted a moment ago, and after a restart;
/// the tenant's other key works on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_at_once_and_for_good() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let first = daemon.tenant("acme", "https://example.com/").await;
    let created = daemon.client(&first).post("/v1/tenants/acme/keys", "").await.expect("an answer");
    assert_eq!(created.status, 201, "{:?}", created.body);
    let second = created.json()["api_key"].as_str().expect("a key").to_owned();
    let id = created.json()["key_id"].as_str().expect("an id").to_owned();
    let mut using_it = daemon.client(&second);
    assert_eq!(using_it.get("/v1/events").await.expect("an answer").status, 200);
    let path = format!("/v1/tenants/acme/keys/{id}");
    let revoked = daemon.client(&first).send(Method::DELETE, &path, &[], "".into()).await;
    assert!(revoked.expect("an answer").status.is_success());
    assert_eq!(using_it.get("/v1/events").await.expect("an answer").status, 401);
    assert_eq!(using_it.post("/v1/events", "{}").await.expect("an answer").status, 401);
    assert_eq!(daemon.client(&first).get("/v1/events").await.expect("an answer").status, 200);
    daemon.kill();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    assert_eq!(daemon.client(&second).get("/v1/events").await.expect("an answer").status, 401);
    assert_eq!(daemon.client(&first).get("/v1/events").await.expect("an answer").status, 200);
}
