//! Lambda `authorizer`: API Gateway's TOKEN authorizer.

use std::process::ExitCode;
use std::sync::Arc;

use posthaste_api::Authorizer;
use posthaste_aws::Client;
use posthaste_lambda::authorize::Authorize;
use posthaste_lambda::run;
use posthaste_lambda::stores::Keys;

fn main() -> ExitCode {
    run::start("authorizer", async |environment| {
        let client = Client::new(environment.aws).await?;
        let keys = Arc::new(Keys::new(&client));
        Ok(Authorize::new(Authorizer::new(environment.admin_keys, keys)))
    })
}
