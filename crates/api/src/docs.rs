//! Documentation pages: Swagger UI, ReDoc and the schema, for each of the two APIs.
//!
//! Every asset is compiled in and served from here; the content security policy lets a page load
//! nothing from anywhere else. See `assets/README.md` for what is vendored.

use std::future::{Ready, ready};

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use utoipa::openapi::OpenApi;

use crate::answer;
use crate::openapi::{openapi, receiver_alone_openapi, receiver_openapi};
use crate::refusal::Refusal;
use crate::surface::Surface;

const SWAGGER_PAGE: &str = include_str!("docs/swagger.html");
const REDOC_PAGE: &str = include_str!("docs/redoc.html");

/// Inline styles and data images are how both pages draw; ReDoc searches in a blob worker.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:; \
                      object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Assets change only with a release; after an hour a browser asks whether one has.
const KEEP_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
const KEEP_NOT: HeaderValue = HeaderValue::from_static("no-cache");

struct Asset {
    name: &'static str,
    kind: &'static str,
    /// Names the content: the package's version, or ours.
    tag: &'static str,
    bytes: &'static [u8],
}

const SWAGGER_TAG: &str = "\"swagger-ui-dist-5.35.0\"";
const REDOC_TAG: &str = "\"redoc-2.5.4-without-logo\"";
const OWN_TAG: &str = concat!("\"posthaste-", env!("CARGO_PKG_VERSION"), "\"");

const ASSETS: [Asset; 6] = [
    Asset {
        name: "swagger-ui.css",
        kind: "text/css; charset=utf-8",
        tag: SWAGGER_TAG,
        bytes: include_bytes!("../assets/swagger-ui/swagger-ui.css"),
    },
    Asset {
        name: "swagger-ui-bundle.js",
        kind: SCRIPT,
        tag: SWAGGER_TAG,
        bytes: include_bytes!("../assets/swagger-ui/swagger-ui-bundle.js"),
    },
    Asset {
        name: "favicon.png",
        kind: "image/png",
        tag: SWAGGER_TAG,
        bytes: include_bytes!("../assets/swagger-ui/favicon-32x32.png"),
    },
    Asset {
        name: "redoc.standalone.js",
        kind: SCRIPT,
        tag: REDOC_TAG,
        bytes: include_bytes!("../assets/redoc/redoc.standalone.js"),
    },
    Asset {
        name: "swagger.js",
        kind: SCRIPT,
        tag: OWN_TAG,
        bytes: include_bytes!("docs/swagger.js"),
    },
    Asset { name: "redoc.js", kind: SCRIPT, tag: OWN_TAG, bytes: include_bytes!("docs/redoc.js") },
];

/// The four routes of an API's pages under a prefix. Assets are two segments below it, so that no
/// tenant's `{tenant_id}/webhook` is hidden by them.
macro_rules! pages_under {
    ($surface:expr, $prefix:literal, $document:expr) => {
        $surface
            .route(Method::GET, concat!($prefix, "/docs"), || async { page(SWAGGER_PAGE) })
            .route(Method::GET, concat!($prefix, "/redoc"), || async { page(REDOC_PAGE) })
            .route(Method::GET, concat!($prefix, "/openapi.json"), schema(&$document))
            .route(Method::GET, concat!($prefix, "/docs/assets/{file}"), asset)
    };
}

/// Adds the pages of the ingest and admin API.
pub(crate) fn mount(surface: Surface) -> Surface {
    pages_under!(surface, "/v1", openapi())
}

/// Adds the pages of the receiver beside that API.
pub(crate) fn mount_receiver(surface: Surface) -> Surface {
    pages_under!(surface, "/receiver", receiver_openapi())
}

/// Adds the pages of the receiver on its own host.
pub(crate) fn mount_receiver_alone(surface: Surface) -> Surface {
    pages_under!(surface, "", receiver_alone_openapi())
}

fn page(html: &'static str) -> Response {
    let mut response = answer::typed(StatusCode::OK, HeaderValue::from_static(HTML), html);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, KEEP_NOT);
    response
}

/// A handler that serves a document; it is written once, here.
fn schema(document: &OpenApi) -> impl Fn() -> Ready<Response> + Clone + use<> {
    let json = Bytes::from(document.to_json().unwrap_or_default());
    move || ready(answer::json_bytes(StatusCode::OK, json.clone()))
}

async fn asset(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let name = path.map_or_else(|_| String::new(), |Path(name)| name);
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or(Refusal::NotFound("no such file"))?;
    let known =
        headers.get(IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == asset.tag.as_bytes());
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, Body::from(asset.bytes))
    };
    let mut response = answer::typed(status, HeaderValue::from_static(asset.kind), body);
    response.headers_mut().insert(ETAG, HeaderValue::from_static(asset.tag));
    response.headers_mut().insert(CACHE_CONTROL, KEEP_HOUR);
    Ok(response)
}
