//! Lambda `requeue`: fresh rounds for dead letters, by hand or behind API Gateway.

use std::process::ExitCode;
use std::sync::Arc;

use posthaste_api::{Part, Stores, gateway};
use posthaste_lambda::clock::Clock;
use posthaste_lambda::requeue::{Requeue, Tidying};
use posthaste_lambda::run;
use posthaste_lambda::serve::Serve;
use posthaste_lambda::stores::{Cloud, Keys, deps, settings};

fn main() -> ExitCode {
    run::start("requeue", async |environment| {
        let clock = Arc::new(Clock::default());
        let cloud = Cloud::new(environment.aws.clone()).await?;
        let keys = Arc::new(Keys::new(&cloud.client));
        let stores = Stores { dead_letters: Arc::new(Tidying::new(&cloud)), ..cloud.stores() };
        let (settings, deps) = (settings(&environment), deps(&environment, &clock));
        let router = gateway(Part::Hooks, settings, stores, deps, keys);
        let served = Serve::new(Part::Hooks, router, Arc::clone(&clock));
        Ok(Requeue::new(&cloud, clock, served))
    })
}
