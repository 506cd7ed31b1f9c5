//! From the start of a process to its events: the same for all four functions.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lambda_runtime::{Context, Diagnostic, LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;
use tracing::{Instrument as _, error, field, info_span};

use crate::environment::Environment;
use crate::logging;

/// What the runtime's client cannot do without; Lambda sets all of them.
const NEEDED: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// An answer, as JSON that is written already.
pub type Answer = Box<RawValue>;

/// What a function does with an event.
pub trait Handler: Send + Sync + 'static {
    /// Answers one event. Called in the span of its request, whose `tenant` it may fill in.
    fn handle(
        &self,
        event: &RawValue,
        context: &Context,
    ) -> impl Future<Output = Result<Answer, Refused>>;
}

/// Why a function has no answer, in words that API Gateway or whoever invoked it sees. Nothing of
/// the event may be in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Its kind.
    pub kind: &'static str,
    /// For a person; `Unauthorized` for API Gateway.
    pub message: String,
}

impl Refused {
    /// With a message.
    #[must_use]
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<Refused> for Diagnostic {
    fn from(refused: Refused) -> Self {
        Self { error_type: refused.kind.to_owned(), error_message: refused.message }
    }
}

/// Writes an answer.
///
/// # Errors
/// Never, as long as it consists of texts, numbers and lists.
pub fn answer(of: &impl serde::Serialize) -> Result<Answer, Refused> {
    serde_json::value::to_raw_value(of).map_err(|error| {
        error!(%error, "an answer could not be written");
        Refused::new("Fault", "internal fault")
    })
}

/// Runs a function until Lambda ends it. What goes wrong before the first event is told in one
/// line of the log, and by the exit code.
pub fn start<H: Handler>(
    function: &'static str,
    make: impl AsyncFnOnce(Environment) -> Result<H>,
) -> ExitCode {
    match run(make) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(function, error = format!("{error:#}"), "cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run<H: Handler>(make: impl AsyncFnOnce(Environment) -> Result<H>) -> Result<()> {
    let environment = Environment::of_process();
    // Its own mistakes are told by a logger that starts without it.
    let level = environment.as_ref().map_or(tracing::Level::INFO, |known| known.log_level);
    logging::start(level).context("cannot log")?;
    let environment = environment.context("the environment")?;
    let missing: Vec<_> = NEEDED.into_iter().filter(|name| env::var_os(name).is_none()).collect();
    if !missing.is_empty() {
        bail!(
            "this is a Lambda function, and Lambda does not run it: {} not set",
            missing.join(", ")
        );
    }
    // One event at a time is all that comes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot make a runtime")?.block_on(async {
        let handler = Arc::new(make(environment).await?);
        let handle = |event: LambdaEvent<Answer>| {
            let handler = Arc::clone(&handler);
            async move {
                let LambdaEvent { payload, context } = event;
                let span =
                    info_span!("event", request_id = context.request_id, tenant = field::Empty);
                handler.handle(&payload, &context).instrument(span).await
            }
        };
        let served = Runtime::new(service_fn(handle)).run().await;
        served.map_err(anyhow::Error::from_boxed).context("the Runtime API")
    })
}
