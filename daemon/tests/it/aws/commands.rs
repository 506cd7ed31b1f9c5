//! The demo and the check on an AWS of their own.

use std::process::{Command, Output, Stdio};

use posthaste_loadgen::aws_sim::{AwsSim, Settings};

use super::world::{PREFIX, client};

fn run(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, printed + &complaint)
}

/// Every accepted event is delivered or dead-lettered, by way of SQS and DynamoDB.
#[test]
fn the_demo_adds_up_on_aws() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let arguments = ["demo", "--aws", &sim.url(), "--once", "--events", "300", "--rate", "0"];
    let (output, printed) = run(&arguments);
    assert!(output.status.success(), "{}: {printed}", output.status);
    assert!(
        printed.contains("accepted 300 events = delivered 285 + dead-lettered 15"),
        "{printed}"
    );
    assert!(printed.contains("0 wrong"), "{printed}");
}

fn check(url: &str) -> (Output, String) {
    let settings = [
        "aws.enabled=true".to_owned(),
        "aws.region=us-east-1".to_owned(),
        format!("aws.prefix={PREFIX}"),
        format!("aws.sqs-endpoint={url}"),
        format!("aws.dynamodb-endpoint={url}"),
    ];
    let mut arguments = vec!["check", "--env"];
    for setting in &settings {
        arguments.extend(["--set", setting]);
    }
    run(&arguments)
}

/// One line for each thing that was tried; what is missing is named, with the exit code of a
/// configuration that cannot be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tries_queues_and_tables() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    client(&sim.url()).await.create().await.expect("queues and tables can be made");
    let (output, printed) = check(&sim.url());
    assert!(output.status.success(), "{}: {printed}", output.status);
    assert!(printed.contains("configuration ok"), "{printed}");
    assert!(!printed.contains("failed"), "{printed}");
    for thing in
        ["t-events", "t-events-dlq", "t-Events", "t-TenantWebhookConfig", "t-TenantIdentity"]
    {
        assert!(
            printed.lines().any(|line| line.starts_with("ok") && line.contains(thing)),
            "{printed}"
        );
    }
    sim.reset();
    let (output, printed) = check(&sim.url());
    assert_eq!(output.status.code(), Some(78), "{printed}");
    assert!(
        printed.lines().any(|line| line.starts_with("failed") && line.contains("t-Events")),
        "{printed}"
    );
}
