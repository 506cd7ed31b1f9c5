//! The HTTP API: bodies, queries and whole requests, through the router over stores in memory.

mod world;

use http::{HeaderName, HeaderValue, Method, Request};
use posthaste_domain::{AddressPolicy, SigningKey, TargetUrl, WebhookSecret, stripe_signature};
use serde_json::Value;
use serde_json::value::RawValue;

use self::world::{ADMIN, Answer, BODY_BYTES_MAX, OWN, SECRET, START, TENANT, World, with_world};
use crate::input::{Input, split_once, text};

/// Levels that an event may have.
const DEPTH_MAX: usize = 128;

/// `POST /v1/events`: a line with an `Idempotency-Key`, or none, and a body.
pub(crate) fn ingest(data: &[u8]) {
    let mut input = Input(data);
    let key = input.line();
    let body = input.0;
    with_world(|world| {
        let mut request = world.request(Method::POST, "/v1/events", OWN, body);
        if !key.is_empty() {
            let Ok(value) = HeaderValue::from_bytes(key) else { return };
            request.headers_mut().insert("idempotency-key", value);
        }
        let answer = world.send(request);
        let is_event = is_event(body) && body.len() <= BODY_BYTES_MAX;
        let is_key = key.len() <= 255 && key.iter().all(u8::is_ascii_graphic);
        let expected = is_event && is_key;
        assert!(answer.status == 409 || (answer.status == 201) == expected, "{answer:?}");
        assert_eq!(answer.status == 413, is_key && body.len() > BODY_BYTES_MAX, "{answer:?}");
        let arrived = world.arrived();
        let payloads: Vec<_> = arrived.iter().filter_map(|arrival| arrival.as_deref()).collect();
        match answer.status {
            // Perhaps a repetition, of which there is nothing new.
            201 => assert!(payloads.iter().all(|payload| **payload == *body)),
            _ => assert!(payloads.is_empty(), "refused and taken all the same"),
        }
        assert!(key.is_empty() || payloads.len() <= 1);
        assert!(!expected || !key.is_empty() || payloads.len() == 1, "accepted and lost");
    });
}

/// Whether these bytes are one JSON object, not nested too deeply, by another parser.
fn is_event(bytes: &[u8]) -> bool {
    let is_json = serde_json::from_slice::<&RawValue>(bytes).is_ok();
    is_json && str::from_utf8(bytes).is_ok() && depth(bytes).is_some_and(|depth| depth <= DEPTH_MAX)
}

/// How deeply JSON is nested; none where it is no object.
fn depth(json: &[u8]) -> Option<usize> {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
    (first == Some(&b'{')).then_some(deepest)
}

/// `POST /v1/events/batch`: each entry that is taken arrives as the bytes that it was.
pub(crate) fn batch(data: &[u8]) {
    with_world(|world| {
        let request = world.request(Method::POST, "/v1/events/batch", OWN, data);
        let answer = world.send(request);
        let arrived = world.arrived();
        if answer.status >= 400 {
            assert!(arrived.is_empty(), "refused and taken all the same: {answer:?}");
            return;
        }
        assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "not JSON, and taken");
        let text = answer.body_text();
        let taken = text.matches("\"event_id\":\"evt_").count();
        assert_eq!(arrived.len(), taken, "{text}");
        for payload in arrived.iter().flatten() {
            assert!(is_event(payload), "{payload:?} is no event");
            assert!(is_part(data, payload), "{payload:?} was never sent");
        }
    });
}

fn is_part(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// What makes or changes a tenant: a byte that says which, and the body.
pub(crate) fn tenant_body(data: &[u8]) {
    let mut input = Input(data);
    let makes = input.byte() & 1 == 1;
    let body = input.0;
    with_world(|world| {
        let request = if makes {
            world.request(Method::POST, "/v1/tenants", ADMIN, body)
        } else {
            world.request(Method::PATCH, &format!("/v1/tenants/{TENANT}"), OWN, body)
        };
        let answer = world.send(request);
        if answer.status >= 400 {
            return;
        }
        let mut answered: Value = serde_json::from_slice(&answer.body).expect("answers are JSON");
        if !makes {
            let look = world.get(&format!("/v1/tenants/{TENANT}"), OWN).expect("a target of ours");
            let looked = world.send(look);
            assert_eq!(looked.status, 200, "{looked:?}");
            answered = serde_json::from_slice(&looked.body).expect("answers are JSON");
        }
        let tenant = if makes { &answered } else { &answered["tenant"] };
        let target = tenant["target_url"].as_str().expect("a tenant has a target");
        let vetted = TargetUrl::parse(target, &AddressPolicy::default());
        assert_eq!(vetted.map(|url| url.as_str() == target), Ok(true), "{target}");
        if let (false, Ok(given)) = (makes, serde_json::from_slice::<Value>(body)) {
            is_not_shown(&given["webhook_secret"], &answered);
            let headers = given["delivery"]["headers"].as_object();
            headers.into_iter().flatten().for_each(|(_, value)| is_not_shown(value, &answered));
        }
    });
}

/// What is secret stands in no answer.
fn is_not_shown(secret: &Value, answered: &Value) {
    let Some(secret) = secret.as_str().filter(|secret| secret.len() >= 12) else { return };
    let public = [&answered["tenant"]["target_url"], &answered["tenant"]["delivery"]["headers"]];
    let is_public = public.iter().any(|value| value.to_string().contains(secret));
    assert!(is_public || !answered.to_string().contains(secret), "a secret is shown");
}

/// Query strings and page tokens: a byte that says which list, and the query.
pub(crate) fn query(data: &[u8]) {
    let mut input = Input(data);
    let (path, key) = match input.byte() % 4 {
        0 => ("/v1/events", OWN),
        1 => ("/v1/admin/dlq/messages", ADMIN),
        2 => ("/v1/admin/dlq/messages", OWN),
        _ => ("/v1/tenants/acme/keys", OWN),
    };
    let Some(query) = text(input.0) else { return };
    with_world(|world| {
        let Some(request) = world.get(&format!("{path}?{query}"), key) else { return };
        let asked = request.uri().query().unwrap_or_default().to_owned();
        let answer = world.send(request);
        let pairs = url::form_urlencoded::parse(asked.as_bytes());
        let names: Vec<_> = pairs.map(|(name, _)| name.into_owned()).collect();
        let is_list = !path.ends_with("/keys");
        if is_list && answer.status == 200 {
            assert!(!names.iter().any(|name| name == "next_token"), "a token that nobody made");
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len(), "a parameter twice: {asked}");
        }
    });
}

/// A whole request: `METHOD target`, headers, an empty line, the body. `{own}`, `{other}` and
/// `{admin}` in a header are keys; without one of them nobody gets anything.
pub(crate) fn request(data: &[u8]) {
    with_world(|world| {
        let Some((request, had_key)) = read_request(world, data) else { return };
        let path = request.uri().path().to_owned();
        let answer = world.send(request);
        let is_open = ["/v1/docs", "/v1/redoc", "/v1/openapi.json", "/receiver"]
            .iter()
            .any(|open| path.starts_with(open));
        assert!(is_open || had_key || answer.status >= 400, "{path}: {answer:?}");
        let text = answer.body_text();
        // Who writes it into a request knows it: a refusal may name a field that is none of ours.
        let is_given = data.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(is_given || !text.contains(SECRET), "the tenant's secret is shown");
        drop(world.arrived());
    });
}

/// Reads a request as it is written in a corpus; says whether a key of ours is in it.
fn read_request(world: &World, data: &[u8]) -> Option<(Request<world::Body>, bool)> {
    let mut input = Input(data);
    let (method, target) = split_once(input.line(), b' ')?;
    let mut had_key = false;
    let mut headers = http::HeaderMap::new();
    loop {
        let line = input.line();
        let Some((name, value)) = split_once(line, b':') else { break };
        let name = HeaderName::from_bytes(name).ok()?;
        let (value, has_key) = world.with_keys(text(value.trim_ascii())?);
        had_key |= has_key;
        headers.try_append(name, HeaderValue::from_str(&value).ok()?).ok()?;
    }
    let mut request = Request::new(world::Body::from(input.0.to_vec()));
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = text(target)?.parse().ok()?;
    *request.headers_mut() = headers;
    Some((request, had_key))
}

/// A webhook at the built-in receiver: the tenant, headers, an empty line, the body. `{stripe}`
/// is the right signature; without it nothing is taken.
pub(crate) fn receiver(data: &[u8]) {
    let mut input = Input(data);
    let Some(tenant) = text(input.line()) else { return };
    let mut lines = Vec::new();
    loop {
        let line = input.line();
        if line.is_empty() {
            break;
        }
        let Some(line) = text(line) else { return };
        lines.push(line);
    }
    let body = input.0;
    let secret = WebhookSecret::try_new(SECRET).expect("a lawful secret");
    let right = stripe_signature([&SigningKey::new(&secret)], START, body);
    let is_signed = lines.iter().any(|line| line.contains("{stripe}"));
    with_world(|world| {
        let path = format!("/receiver/{tenant}/webhook");
        let Some(mut request) = world.post(&path, body) else { return };
        for line in &lines {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim().replace("{stripe}", &right);
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) else { return };
            request.headers_mut().append(name, value);
        }
        let Answer { status, .. } = world.send(request);
        let taken = world.received();
        if status == 200 {
            assert!(is_signed, "nobody signed this");
            assert!(taken.is_none_or(|taken| taken == body));
        } else {
            assert_eq!(taken, None, "refused and taken all the same");
        }
    });
}
