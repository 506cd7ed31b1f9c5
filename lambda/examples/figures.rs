//! Measures the functions under a Runtime API on this machine: `figures DIR`, where `DIR` has the
//! four binaries as they are deployed.
//!
//! | figure | what it is                                                                   |
//! |--------|------------------------------------------------------------------------------|
//! | size   | of the binary                                                                |
//! | cold   | from the start of the process to its call for the first event                |
//! | first  | that event, with the connections to AWS, which is in this process, by TLS    |
//! | warm   | an event from here to the function and back                                  |
//! | RSS    | the most memory it had (`VmHWM`), after all of them                          |
//!
//! `GET /health` of the receiver asks nothing of AWS: what it takes is the functions' own overhead,
//! the way through two sockets included. The functions trust what this machine trusts, and one
//! certificate more: as on Lambda, all of it is read at the start.

#![expect(clippy::print_stdout, reason = "figures are for people")]
#![expect(clippy::disallowed_methods, reason = "this is a host, outside of the functions")]

#[expect(dead_code, reason = "tests look closer")]
#[path = "../tests/it/host.rs"]
mod host;
#[path = "figures/tls.rs"]
mod tls;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use posthaste_aws::{Client, Keys, Settings};
use posthaste_domain::ApiKey;
use posthaste_loadgen::aws_sim::{self, AwsSim};
use serde_json::{Value, json};

use host::{Function, Invoked};

const STARTS: usize = 20;
const EVENTS: usize = 2_000;
const PATIENCE: Duration = Duration::from_secs(10);
const PREFIX: &str = "posthaste";

#[tokio::main]
async fn main() -> Result<()> {
    let directory = std::env::args().nth(1).context("figures DIR")?;
    let sim = AwsSim::start(aws_sim::Settings::default())?;
    let tls = tls::Front::before(sim.url().replace("http://", "")).await?;
    let settings = Settings {
        region: Some("us-east-1".to_owned()),
        keys: Some(Keys::new("test", "test")),
        ..Settings::with_prefix(PREFIX).at(&sim.url())
    };
    Client::new(settings).await?.create().await?;
    println!(
        "{:<22} {:>9} {:>18} {:>9} {:>27} {:>9}",
        "function", "size", "cold p50/max", "first", "warm p50/p99/max", "RSS"
    );
    for (binary, what, event) in events() {
        let path = Path::new(&directory).join(binary);
        let admin = ApiKey::from_entropy(&[7; 32]).hash().to_string();
        let function = Function::new(
            &path,
            &[
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("POSTHASTE_AWS_SQS_ENDPOINT", tls.url()),
                ("POSTHASTE_AWS_DYNAMODB_ENDPOINT", tls.url()),
                ("SSL_CERT_FILE", tls.trusted()),
                ("POSTHASTE_AUTH_ADMIN_KEY_SHA256", &admin),
            ],
        );
        let bytes = fs::metadata(&path).context("the binary")?.len();
        let mut cold = Vec::new();
        for _ in 0..STARTS {
            cold.push(function.cold_start().await);
        }
        let first = timed(&function, &event).await?;
        let mut warm = Vec::new();
        for _ in 0..EVENTS {
            warm.push(timed(&function, &event).await?);
        }
        let memory_kib = u32::try_from(function.memory_kib().await.context("it runs")?)?;
        cold.sort_unstable();
        warm.sort_unstable();
        println!(
            "{:<22} {:>6.2} MB {:>15} ms {:>6} ms {:>24} ms {:>5.1} MiB",
            format!("{binary} {what}"),
            f64::from(u32::try_from(bytes)?) / 1e6,
            format!("{} / {}", ms(cold[STARTS / 2]), ms(cold[STARTS - 1])),
            ms(first),
            format!(
                "{} / {} / {}",
                ms(warm[EVENTS / 2]),
                ms(warm[EVENTS * 99 / 100]),
                ms(warm[EVENTS - 1])
            ),
            f64::from(memory_kib) / 1024.0,
        );
    }
    Ok(())
}

/// Which function with which event: of the API's most frequent kinds.
fn events() -> [(&'static str, &'static str, Value); 5] {
    let key = ApiKey::from_entropy(&[9; 32]);
    let proxy = |method: &str, path: &str, body: Option<&str>| {
        let authorizer = json!({ "tenantId": "acme", "status": "active", "plan": "standard" });
        json!({
            "httpMethod": method,
            "path": path,
            "multiValueHeaders": { "content-type": ["application/json"] },
            "requestContext": { "authorizer": authorizer },
            "body": body,
        })
    };
    let token = json!({
        "type": "TOKEN",
        "authorizationToken": format!("Bearer {}", key.expose()),
        "methodArn": "arn:aws:execute-api:us-east-1:123456789012:a1b2c3/prod/POST/v1/events",
    });
    let mut unknown = proxy("POST", "/v1/admin/dlq/requeue", None);
    unknown["multiValueHeaders"]["authorization"] = json!([format!("Bearer {}", key.expose())]);
    [
        ("receiver", "health", proxy("GET", "/health", None)),
        ("receiver", "status", proxy("GET", "/status", None)),
        ("authorizer", "unknown key", token),
        ("ingest", "list", proxy("GET", "/v1/events", None)),
        // Who asks for more waits for the DLQ, which is no overhead.
        ("requeue", "unknown key", unknown),
    ]
}

async fn timed(function: &Function, event: &Value) -> Result<Duration> {
    let text = event.to_string();
    let began = Instant::now();
    match function.invoke(text, PATIENCE).await {
        Invoked::Answer(_) => Ok(began.elapsed()),
        other => bail!("{other:?}: {}", function.log()),
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}
