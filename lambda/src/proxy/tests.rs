//! Tests of the conversion: recorded shapes, and everything that a client or a mistaken gateway
//! could put into an event.

use http_body_util::BodyExt as _;
use posthaste_domain::TenantId;
use serde_json::{Value, json};

use super::*;

/// An event with these fields in place of its own.
fn event(fields: Value) -> String {
    let mut event = json!({
        "httpMethod": "POST",
        "path": "/v1/events",
        "headers": { "Authorization": "Bearer last" },
        "multiValueHeaders": { "Authorization": ["Bearer first", "Bearer last"] },
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "requestContext": { "stage": "prod" },
        "body": "{\"a\":1}",
        "isBase64Encoded": false,
    });
    let Value::Object(fields) = fields else { panic!("an object") };
    event.as_object_mut().unwrap().extend(fields);
    event.to_string()
}

fn request(fields: Value) -> Result<Request<Full<Bytes>>, NoRequest> {
    let event = event(fields);
    serde_json::from_str::<Event<'_>>(&event).unwrap().request()
}

async fn body(fields: Value) -> Bytes {
    request(fields).unwrap().into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_body_is_the_bytes_that_were_sent() {
    assert_eq!(body(json!({})).await, "{\"a\":1}");
    assert_eq!(body(json!({ "body": null })).await, "");
    assert_eq!(body(json!({ "body": "/wD+", "isBase64Encoded": true })).await, &[255, 0, 254][..]);
    for bad in ["/wD+=", "a", "€"] {
        let refused = request(json!({ "body": bad, "isBase64Encoded": true }));
        assert_eq!(refused.unwrap_err(), NoRequest::Body, "{bad}");
    }
}

#[test]
fn a_header_comes_as_often_as_it_came() {
    let count = |fields| request(fields).unwrap().headers().get_all("authorization").iter().count();
    assert_eq!(count(json!({})), 2);
    assert_eq!(count(json!({ "multiValueHeaders": null })), 1);
    assert_eq!(count(json!({ "multiValueHeaders": null, "headers": null })), 0);
    for bad in [json!({ "a b": ["x"] }), json!({ "a": ["x\r\ny: z"] }), json!({ "": [""] })] {
        let refused = request(json!({ "multiValueHeaders": bad }));
        assert_eq!(refused.unwrap_err(), NoRequest::Header);
    }
}

/// For all paths and queries: a request's target, and no character of it ends the path.
#[test]
fn targets_are_encoded_once() {
    let path = |path: &str| request(json!({ "path": path })).unwrap().uri().to_string();
    for (given, expected) in [
        ("/v1/events", "/v1/events"),
        ("/v1/events/a b", "/v1/events/a%20b"),
        ("/v1/events/a%2Fb", "/v1/events/a%2Fb"),
        ("/v1/events/100%", "/v1/events/100%25"),
        ("/v1/events/a?b#c", "/v1/events/a%3Fb%23c"),
        ("/v1/\u{fc}\u{0}\n", "/v1/%C3%BC%00%0A"),
        ("", "/"),
        ("v1/events", "/v1/events"),
        ("//evil.example/v1", "//evil.example/v1"),
    ] {
        assert_eq!(path(given), expected);
    }
    let query =
        json!({ "multiValueQueryStringParameters": { "a": ["1&b=2", "\u{fc}"], "c": [""] } });
    assert_eq!(request(query).unwrap().uri(), "/v1/events?a=1%26b%3D2&a=%C3%BC&c=");
    let single = json!({ "queryStringParameters": { "limit": "5" } });
    assert_eq!(request(single).unwrap().uri(), "/v1/events?limit=5");
    let long = json!({ "path": format!("/{}", "x".repeat(70_000)) });
    assert_eq!(request(long).unwrap_err(), NoRequest::Target);
    assert_eq!(request(json!({ "httpMethod": "G T" })).unwrap_err(), NoRequest::Method);
}

/// For all contexts: only the authorizer's says who sent it; what a client sends never does.
#[test]
fn only_the_context_says_who_sent_it() {
    let caller = |context: Value| {
        let fields = json!({
            "requestContext": { "authorizer": context },
            "multiValueHeaders": { "tenantId": ["evil"], "x-tenant-id": ["evil"] },
        });
        request(fields).unwrap().extensions().get::<Caller>().cloned()
    };
    let acme = Caller::Tenant(TenantId::try_new("acme").unwrap());
    let context = json!({ "tenantId": "acme", "status": "active", "plan": "gold",
        "principalId": "acme", "integrationLatency": 12 });
    assert_eq!(caller(context), Some(acme));
    let admin = json!({ "tenantId": "__ADMIN__", "status": "active", "plan": "admin" });
    assert_eq!(caller(admin), Some(Caller::Admin));
    for nobody in [
        json!(null),
        json!({}),
        json!({ "tenantId": "acme" }),
        json!({ "tenantId": "acme", "status": "suspended" }),
        json!({ "tenantId": "", "status": "active" }),
        json!({ "principalId": "acme", "status": "active" }),
    ] {
        assert_eq!(caller(nobody.clone()), None, "{nobody}");
    }
}

#[test]
fn what_is_no_proxy_event_is_none() {
    for text in ["null", "[]", "{}", "\"x\"", "{\"httpMethod\":1}", "{\"version\":\"2.0\"}"] {
        assert!(serde_json::from_str::<Event<'_>>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<Event<'_>>(&event(json!({ "requestContext": null }))).is_err());
}

#[test]
fn answers_that_are_no_text_travel_as_base64() {
    let mut response = Response::new(Bytes::from_static(&[0x89, b'P', b'N', b'G', 0xff]));
    for value in ["a", "b"] {
        response.headers_mut().append("x-twice", HeaderValue::from_static(value));
    }
    let answered = serde_json::to_value(Answered::of(response)).unwrap();
    assert_eq!(answered["isBase64Encoded"], true);
    assert_eq!(answered["body"], "iVBOR/8=");
    assert_eq!(answered["multiValueHeaders"]["x-twice"], json!(["a", "b"]));
    let text = serde_json::to_value(Answered::of(Response::new("ü".into()))).unwrap();
    assert_eq!((&text["body"], &text["isBase64Encoded"]), (&json!("ü"), &json!(false)));
}
