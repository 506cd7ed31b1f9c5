//! Requests that nobody would write: whatever comes, the answer is lawful, documented and no
//! fault of ours, and only what was accepted is stored.

use std::sync::atomic::Ordering;

use http::{HeaderName, HeaderValue, Method, Uri};
use posthaste_api::routes;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::World;

/// What stands for a parameter of a path, or behind a `?`.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["acme", "other", "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX", "..", "%00", "%FF", "%2F"])
            .prop_map(str::to_owned),
        "[a-zA-Z0-9_.~!$&'()*+,;=:@%-]{0,40}",
    ]
}

fn query() -> impl Strategy<Value = String> {
    let name = select(vec!["limit", "status", "next_token", "tenant_id", "x"]);
    let value = prop_oneof![Just("5".to_owned()), Just("DLQ".to_owned()), segment()];
    prop::collection::vec((name, value), 0..4).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    })
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let name = select(vec![
        "idempotency-key",
        "content-type",
        "content-encoding",
        "stripe-signature",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "webhook-attempt",
        "if-none-match",
        "x-http-method-override",
    ]);
    let value = prop_oneof![
        "[ -~]{0,60}".prop_map(String::into_bytes),
        "t=[0-9]{1,12},v1=[0-9a-f]{60,68}".prop_map(String::into_bytes),
        prop::collection::vec(0x20_u8..=0xFF, 0..20),
    ];
    prop::collection::vec((name, value), 0..4)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"{}".to_vec()),
        Just(b"[{},{}]".to_vec()),
        "[\\[\\]{}:,\"a0 \\\\]{0,40}".prop_map(String::into_bytes),
        "\\{\"(target_url|tenant_id|batchSize|events|x)\":(1|null|\"http://[a-z.]{1,9}/\"|\\[\\])\\}"
            .prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// For all requests to all routes with all kinds of callers. That every answer is documented
    /// and of the one form for errors is checked as for every other test.
    #[test]
    fn no_request_is_our_fault(
        route: Index,
        segments in prop::collection::vec(segment(), 3),
        query in query(),
        headers in headers(),
        body in body(),
        caller in 0..4,
    ) {
        let (method, pattern) = route.get(&routes()).clone();
        let mut segments = segments.into_iter();
        let path: Vec<_> = pattern
            .split('/')
            .map(|part| if part.starts_with('{') { segments.next().unwrap() } else { part.into() })
            .collect();
        let path = format!("{}?{query}", path.join("/"));
        // What cannot be a URI does not get as far as us.
        prop_assume!(path.parse::<Uri>().is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
            let event = world.event(&acme).await;
            world.kill(&acme, event).await;
            let accepts = world.store.accepts.load(Ordering::SeqCst);
            let mut call = world.call(method.clone(), &path).body(body);
            for (name, value) in headers {
                let lawful = HeaderValue::from_bytes(&value).is_ok();
                if lawful && name.parse::<HeaderName>().is_ok() {
                    call = call.header(name, value);
                }
            }
            let answer = match caller {
                0 => call.send().await,
                1 => call.key(&acme.key).send().await,
                2 => call.key(&other.key).send().await,
                _ => call.key(&world.admin).send().await,
            };
            prop_assert!(answer.status < 500, "{method} {path}: {answer:?}");
            let stored = world.store.accepts.load(Ordering::SeqCst) > accepts;
            let posts = method == Method::POST && pattern.starts_with("/v1/events");
            prop_assert!(!stored || (posts && matches!(answer.status, 201 | 207)), "{answer:?}");
            Ok(())
        })?;
    }
}
