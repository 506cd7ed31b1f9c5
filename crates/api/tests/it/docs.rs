//! The documentation: pages that load nothing from anywhere else, and schemas that are complete.

use std::collections::BTreeSet;

use http::Method;
use posthaste_api::{openapi, receiver_alone_openapi, receiver_openapi, routes};
use serde_json::Value;

use crate::support::{Answer, World};

const PREFIXES: [&str; 2] = ["/v1", "/receiver"];

/// The values of `src` and `href` in a page.
fn links(html: &str) -> Vec<&str> {
    let after = |name: &'static str| html.split(name).skip(1);
    after("src=\"").chain(after("href=\"")).map(|rest| rest.split('"').next().unwrap()).collect()
}

async fn get(world: &World, path: &str) -> Answer {
    let answer = world.get(path).send().await;
    assert_eq!(answer.status, 200, "{path}");
    answer
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// For all pages: every asset is ours, is there, and has its type; the policy allows no other.
#[tokio::test]
async fn pages_load_only_what_we_serve() {
    let world = World::new();
    for prefix in PREFIXES {
        for page in ["docs", "redoc"] {
            let answer = get(&world, &format!("{prefix}/{page}")).await;
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
            assert!(!policy.contains("unsafe-eval") && !policy.contains("http"), "{policy}");
            let html = text(&answer);
            assert!(!html.contains("://"), "{html}");
            let links = links(&html);
            assert!(links.len() >= 3, "{links:?}");
            for link in links {
                assert!(link.starts_with("docs/assets/"), "{link}");
                let asset = get(&world, &format!("{prefix}/{link}")).await;
                let kind = match link.rsplit_once('.').unwrap().1 {
                    "css" => "text/css; charset=utf-8",
                    "js" => "text/javascript; charset=utf-8",
                    "png" => "image/png",
                    other => panic!("{other}"),
                };
                assert_eq!(asset.header("content-type"), kind, "{link}");
                assert_eq!(asset.header("cache-control"), "public, max-age=3600");
                assert!(!asset.body.is_empty());
            }
        }
    }
}

/// No asset fetches from elsewhere by itself: no style sheet imports, no ReDoc logo, no validator.
#[tokio::test]
async fn assets_name_no_other_server() {
    let world = World::new();
    let asset = async |name: &str| text(&get(&world, &format!("/v1/docs/assets/{name}")).await);
    let css = asset("swagger-ui.css").await;
    assert!(!css.contains("@import") && !css.contains("url(http") && !css.contains("url(\"http"));
    let redoc = asset("redoc.standalone.js").await;
    for host in ["cdn.redoc.ly", "fonts.googleapis.com", "fonts.gstatic.com"] {
        assert!(!redoc.contains(host), "{host}");
    }
    assert!(asset("swagger.js").await.contains("validatorUrl: null"));
    for name in ["swagger.js", "redoc.js"] {
        assert!(!asset(name).await.contains("://"));
    }
}

#[tokio::test]
async fn an_asset_that_is_known_is_not_sent_again() {
    let world = World::new();
    let path = "/receiver/docs/assets/redoc.standalone.js";
    let tag = get(&world, path).await.header("etag").to_owned();
    let again = world.get(path).header("if-none-match", &tag).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let other = world.get(path).header("if-none-match", "\"other\"").send().await;
    assert_eq!(other.status, 200);
    for name in ["nothing.js", "..%2f..%2fCargo.toml", "%FF", "README.md"] {
        let answer = world.get(&format!("/v1/docs/assets/{name}")).send().await;
        assert_eq!(answer.status, 404, "{name}");
    }
}

#[tokio::test]
async fn the_schemas_are_what_the_handlers_say() {
    let world = World::new();
    for (prefix, document) in PREFIXES.into_iter().zip([openapi(), receiver_openapi()]) {
        let served = get(&world, &format!("{prefix}/openapi.json")).await;
        assert_eq!(served.header("content-type"), "application/json");
        assert_eq!(served.json(), serde_json::to_value(&document).unwrap());
        assert!(served.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    }
}

/// A document says where its paths begin as seen from itself, so that it is right behind a gateway
/// that serves it at `/prod/v1/openapi.json` too: as many steps up as its own path has.
#[test]
fn paths_begin_where_the_document_is_served() {
    let documents = [
        ("/v1/openapi.json", openapi()),
        ("/receiver/openapi.json", receiver_openapi()),
        ("/openapi.json", receiver_alone_openapi()),
    ];
    for (path, document) in documents {
        let json = serde_json::to_value(&document).unwrap();
        let up = vec![".."; path.matches('/').count() - 1].join("/");
        let here = if up.is_empty() { "." } else { &up };
        assert_eq!(json["servers"], serde_json::json!([{ "url": here }]), "{path}");
    }
}

/// The operations of both documents, as `(method, path)`.
fn documented() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for document in [openapi(), receiver_openapi()] {
        let json = serde_json::to_value(&document).unwrap();
        for (path, item) in json["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                assert!(found.insert((method.to_uppercase(), path.clone())), "{path} twice");
            }
        }
    }
    found
}

/// For all routes: documented, but for the documentation itself; and nothing else is documented.
#[test]
fn every_route_is_documented_and_nothing_else() {
    let pages = |path: &str| {
        ["docs", "redoc", "openapi.json", "docs/assets/{file}"]
            .iter()
            .any(|page| PREFIXES.iter().any(|prefix| path == format!("{prefix}/{page}")))
    };
    let served: BTreeSet<_> = routes()
        .into_iter()
        .filter(|(_, path)| !pages(path))
        .map(|(method, path)| (method.to_string(), path.to_owned()))
        .collect();
    assert_eq!(served, documented());
    assert_eq!(routes().len(), served.len() + 8);
}

/// For all documented paths: the router has exactly the documented methods.
#[tokio::test]
async fn the_router_has_the_documented_methods() {
    let world = World::new();
    let mut paths = BTreeSet::new();
    for (_, path) in documented() {
        paths.insert(path);
    }
    for path in paths {
        let concrete = path.replace(['{', '}'], "x");
        let answer = world.call(Method::from_bytes(b"NONE").unwrap(), &concrete).send().await;
        assert_eq!(answer.status, 405, "{path}");
        let allowed: BTreeSet<_> = answer.header("allow").split(',').collect();
        let documented = documented();
        let wanted: BTreeSet<_> =
            documented.iter().filter(|(_, p)| *p == path).map(|(method, _)| &method[..]).collect();
        let allowed: BTreeSet<_> = allowed.into_iter().filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, wanted, "{path}");
    }
}

/// For all operations: a summary, a success with a schema, and only schemas that exist.
#[test]
fn every_operation_is_described() {
    for document in [openapi(), receiver_openapi()] {
        let json = serde_json::to_value(&document).unwrap();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{name}");
                let responses = operation["responses"].as_object().unwrap();
                let success = |status: &&String| status.starts_with('2');
                assert_eq!(responses.keys().filter(success).count(), 1, "{name}");
                for (status, response) in responses {
                    let schema = &response["content"]["application/json"]["schema"]["$ref"];
                    assert!(schema.is_string(), "{name} {status}");
                    let is_error = schema == "#/components/schemas/Error";
                    assert_eq!(is_error, !status.starts_with('2'), "{name} {status}");
                }
                if !operation["security"].is_null() {
                    assert!(responses.contains_key("401"), "{name}");
                }
            }
        }
        let mut missing = vec![];
        references(&json, &mut |reference| {
            let pointer = reference.strip_prefix('#').unwrap();
            if json.pointer(pointer).is_none() {
                missing.push(reference.to_owned());
            }
        });
        assert_eq!(missing, [] as [&str; 0]);
    }
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found(reference);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
