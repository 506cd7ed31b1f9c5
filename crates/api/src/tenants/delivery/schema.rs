//! The delivery options as OpenAPI shows them, with the limits that hold.

use std::borrow::Cow;

use posthaste_domain::{
    Bounded, ExtraHeaders, InFlightMax, RatePerS, RetryOption, RetrySchedule, TimeoutMs,
};
use serde_json::json;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::Wanted;

/// A header's name, as RFC 9110 has it.
const NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// A header's value: visible ASCII, with spaces and tabs between.
const VALUE: &str = "^([!-~]([ \\t!-~]*[!-~])?)?$";

impl ToSchema for Wanted {
    fn name() -> Cow<'static, str> {
        "DeliveryOptions".into()
    }
}

impl PartialSchema for Wanted {
    fn schema() -> RefOr<Schema> {
        let switch = ObjectBuilder::new().schema_type(or_null(Type::Boolean));
        ObjectBuilder::new()
            .description(Some(
                "How events are delivered, where that is not as the operator has it. What is left \
                 out stays as it is; `null` is the operator's setting again.",
            ))
            .property(
                "timeout_ms",
                number::<{ TimeoutMs::MIN }, { TimeoutMs::MAX }>(
                    "The deadline of an attempt, where the operator's is not shorter.",
                ),
            )
            .property("retry", retry())
            .property(
                "rate_per_s",
                number::<{ RatePerS::MIN }, { RatePerS::MAX }>(
                    "At most so many attempts a second.",
                ),
            )
            .property(
                "in_flight_max",
                number::<{ InFlightMax::MIN }, { InFlightMax::MAX }>(
                    "At most so many attempts at the same time.",
                ),
            )
            .property("headers", headers())
            .property(
                "paused",
                switch.description(Some(
                    "Whether deliveries wait. Events are taken in, kept, and delivered on resume.",
                )),
            )
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .min_properties(Some(1))
            .into()
    }
}

fn or_null(kind: Type) -> utoipa::openapi::schema::SchemaType {
    [kind, Type::Null].into_iter().collect()
}

fn number<const MIN: u32, const MAX: u32>(text: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(or_null(Type::Integer))
        .description(Some(text))
        .minimum(Some(Bounded::<MIN, MAX>::MIN))
        .maximum(Some(Bounded::<MIN, MAX>::MAX))
}

fn retry() -> ObjectBuilder {
    let delay = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(RetrySchedule::DELAY_MS_MAX));
    let delays = ArrayBuilder::new()
        .description(Some("Milliseconds after failure 1, 2, …; the last one repeats."))
        .items(delay)
        .min_items(Some(1))
        .max_items(Some(RetryOption::DELAYS_MAX))
        .examples([json!([60_000, 120_000, 240_000])]);
    let attempts = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("Attempts before an event is dead, the first one included."))
        .minimum(Some(1))
        .maximum(Some(RetrySchedule::ATTEMPTS_MAX));
    ObjectBuilder::new()
        .schema_type(or_null(Type::Object))
        .description(Some("One or both; what is left out is as the operator has it."))
        .property("delays_ms", delays)
        .property("attempts_max", attempts)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .min_properties(Some(1))
}

fn headers() -> ObjectBuilder {
    let text = |pattern: &str| {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        text.max_length(Some(ExtraHeaders::BYTES_MAX))
    };
    ObjectBuilder::new()
        .schema_type(or_null(Type::Object))
        .description(Some(format!(
            "Headers of every request, all of them together; values are not shown again. Names \
             that HTTP, the signatures or a cloud's metadata service own are refused, and more \
             than {} bytes.",
            ExtraHeaders::BYTES_MAX
        )))
        .property_names(Some(text(NAME)))
        .additional_properties(Some(text(VALUE)))
        .max_properties(Some(ExtraHeaders::COUNT_MAX))
        .examples([json!({"authorization": "Bearer a-token"})])
}
