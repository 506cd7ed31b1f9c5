//! The refusals that routes have in common, as OpenAPI shows them. Types without values: they
//! exist to be named in `#[utoipa::path]`.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($status:literal $text:literal)+ })+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                BTreeMap::from([$(($status.to_owned(), refusal($status, $text))),+])
            }
        }
    )+};
}

refusals! {
    /// Of every route that takes a key and asks the store.
    KeyRefusals {
        "401" "No API key, or none that is valid."
        "403" "A valid key, but not for this."
        "500" "A fault of ours that trying again does not mend."
        "503" "The store cannot answer now; see `Retry-After`."
        "507" "The disk is too full to promise anything."
    }
    /// Of every route that reads a body.
    BodyRefusals {
        "400" "Not JSON, not UTF-8, nested too deeply, or a value that is not lawful."
        "408" "The body did not arrive in time."
        "413" "The body is over the limit."
        "415" "The body is compressed."
        "422" "JSON, but not of the expected shape."
    }
    /// Of routes that take events.
    QuotaRefusals {
        "429" "More events than the tenant's quota allows; see `Retry-After`."
    }
    /// Of routes with query parameters.
    QueryRefusals {
        "400" "A query parameter is unknown, given twice, or not lawful."
    }
    /// Of routes that name something.
    NameRefusals {
        "404" "There is no such thing, or not for this key."
    }
}

fn refusal(status: &str, text: &str) -> RefOr<Response> {
    let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
    let response = ResponseBuilder::new().description(text).content("application/json", schema);
    let response = match status {
        "401" => response.header("WWW-Authenticate", HeaderBuilder::new().build()),
        "429" | "503" => response.header("Retry-After", HeaderBuilder::new().build()),
        _ => response,
    };
    response.build().into()
}
