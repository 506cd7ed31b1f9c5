//! What the OpenAPI documents say, held against every answer that any test gets.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::Method;
use posthaste_api::{openapi, receiver_openapi};

/// An operation with the statuses that it is documented to give.
struct Operation {
    method: String,
    path: String,
    statuses: BTreeSet<u16>,
}

static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let mut operations = vec![];
    for document in [openapi(), receiver_openapi()] {
        let json = serde_json::to_value(&document).unwrap();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let statuses = operation["responses"].as_object().unwrap();
                operations.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    statuses: statuses.keys().map(|status| status.parse().unwrap()).collect(),
                });
            }
        }
    }
    operations
});

impl Operation {
    fn serves(&self, method: &Method, path: &str) -> bool {
        let same = |(pattern, given): (&str, &str)| pattern.starts_with('{') || pattern == given;
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.method == method.as_str()
            && self.path.split('/').count() == path.split('/').count()
            && self.path.split('/').zip(path.split('/')).all(same)
    }
}

/// Fails where an operation gives a status that its document does not name.
#[track_caller]
pub(crate) fn check(method: &Method, path: &str, status: u16) {
    // A literal segment goes before a parameter, as in the router.
    let serving = OPERATIONS.iter().filter(|operation| operation.serves(method, path));
    let operation = serving.min_by_key(|operation| operation.path.matches('{').count());
    if let Some(operation) = operation {
        let known = operation.statuses.contains(&status);
        assert!(known, "{method} {} does not document {status}", operation.path);
    }
}

/// The control: a status that nobody documents is noticed, on a path with parameters too.
#[test]
#[should_panic(expected = "GET /v1/events/{event_id} does not document 418")]
fn an_undocumented_status_is_noticed() {
    check(&Method::GET, "/v1/events/evt_x", 418);
}

/// Each operation is found by its own path.
#[test]
fn every_operation_is_found() {
    for operation in OPERATIONS.iter() {
        let method = Method::from_bytes(operation.method.as_bytes()).unwrap();
        assert!(operation.serves(&method, &operation.path));
        assert!(operation.statuses.len() > 1 || operation.path.ends_with("/health"));
    }
    assert_eq!(OPERATIONS.len(), 20);
}
