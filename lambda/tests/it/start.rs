//! The start of a function: what it needs, and what it says where that is wrong.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::host::{Function, Invoked};
use crate::support::{AUTHORIZER, INGEST, PATIENCE, RECEIVER, REQUEUE};

const ALL: [&str; 4] = [AUTHORIZER, INGEST, RECEIVER, REQUEUE];

/// For all functions: they start without AWS. A cold start must not wait for it, and an outage must
/// not keep them from telling clients to come again.
#[tokio::test]
async fn a_function_starts_without_aws() {
    for binary in ALL {
        let nowhere = "http://127.0.0.1:1";
        let function = Function::new(
            Path::new(binary),
            &[
                ("AWS_REGION", "us-east-1"),
                ("POSTHASTE_AWS_SQS_ENDPOINT", nowhere),
                ("POSTHASTE_AWS_DYNAMODB_ENDPOINT", nowhere),
            ],
        );
        assert!(function.cold_start().await > Duration::ZERO);
        assert!(function.pid().await.is_some(), "{binary}: {}", function.log());
    }
}

/// For all functions and mistakes: the process ends, and one line of its log says why, without
/// what was put where a hash belongs.
#[tokio::test]
async fn a_function_with_a_mistake_in_its_environment_says_so() {
    for binary in ALL {
        for (name, value, said) in [
            ("POSTHASTE_AWS_PREFX", "acme", "POSTHASTE_AWS_PREFX: no such setting"),
            ("POSTHASTE_AUTH_ADMIN_KEY_SHA256", "phk_canary", "not a SHA-256"),
            ("AWS_NOTHING", "x", "no region is set"),
        ] {
            // Nor does this machine know a region.
            let profile = ("AWS_EC2_METADATA_DISABLED", "true");
            let mut variables = vec![(name, value), profile];
            if name.starts_with("POSTHASTE") {
                variables.push(("AWS_REGION", "us-east-1"));
            }
            let function = Function::new(Path::new(binary), &variables);
            assert_eq!(function.invoke("{}", PATIENCE).await, Invoked::Ended);
            let log = function.log();
            let line: Value = serde_json::from_str(log.trim()).expect("one line of JSON");
            let error = line["error"].as_str().expect("an error");
            assert!(error.contains(said), "{binary}: {error}");
            assert_eq!((&line["level"], log.contains("canary")), (&"ERROR".into(), false));
        }
    }
}
