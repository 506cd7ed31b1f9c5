//! Logs to standard error, which Lambda keeps: one JSON object a line.
//!
//! Our own lines by level; of other people's only warnings, because what the SDK and the runtime
//! tell about their work shows requests and events. A panic is told by its place alone: what it
//! says may quote the event.
//!
//! Every line within an event has `span.request_id` and, once it is known, `span.tenant`.

use std::io;
use std::panic;

use tracing::{Level, error};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Our crates, and the binaries.
const OURS: [&str; 6] =
    ["posthaste", "posthaste_lambda", "authorizer", "ingest", "receiver", "requeue"];
/// It tells each refused event as an error, with what the refusal says; so do we.
const RUNTIME: &str = "lambda_runtime";

/// Starts logging, once a process.
///
/// # Errors
/// Where somebody else in this process logs already.
pub fn start(level: Level) -> Result<(), TryInitError> {
    let layer = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_targets(OURS.map(|ours| (ours, level)))
        .with_target(RUNTIME, LevelFilter::OFF);
    tracing_subscriber::registry().with(targets).with(layer).try_init()?;
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        error!(place, "panicked");
    }));
    Ok(())
}
