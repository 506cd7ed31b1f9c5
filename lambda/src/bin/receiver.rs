//! Lambda `receiver`: the built-in receiver, behind API Gateway.

use std::process::ExitCode;
use std::sync::Arc;

use posthaste_api::{Part, gateway};
use posthaste_lambda::clock::Clock;
use posthaste_lambda::run;
use posthaste_lambda::serve::Serve;
use posthaste_lambda::stores::{Cloud, Keys, deps, settings};

fn main() -> ExitCode {
    run::start("receiver", async |environment| {
        let clock = Arc::new(Clock::default());
        let cloud = Cloud::new(environment.aws.clone()).await?;
        let keys = Arc::new(Keys::new(&cloud.client));
        let (settings, deps) = (settings(&environment), deps(&environment, &clock));
        let router = gateway(Part::Receiver, settings, cloud.stores(), deps, keys);
        Ok(Serve::new(Part::Receiver, router, clock))
    })
}
