//! The fleet as a little web server: `gateway DIR [--aws URL] [--listen ADDRESS] [--create]`.
//!
//! `DIR` has the four binaries. First line: `listening on http://…`, which is `hooks.<zone>`; second
//! line: `receiver on http://…`, which is `receiver.<zone>`. A request becomes a REST v1 proxy
//! event, the authorizer is asked first where a route wants a key, nothing is remembered between.
//!
//! Without `--aws` it brings a simulated AWS, with queues and tables; with it `--create` makes
//! them. `POSTHASTE_` and `AWS_` variables are handed on. Where none says who is the admin, a key
//! is made up and printed: `admin key phk_…`.

#![expect(clippy::print_stdout, reason = "what it prints is how to reach it")]
#![expect(clippy::disallowed_methods, reason = "this is a host, outside of the functions")]

#[path = "../tests/it/front.rs"]
mod front;
#[expect(dead_code, reason = "tests look closer")]
#[path = "../tests/it/host.rs"]
mod host;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use posthaste_api::Entropy as _;
use posthaste_aws::{Client, Keys, Settings};
use posthaste_domain::ApiKey;
use posthaste_lambda::chance::Chance;
use posthaste_loadgen::aws_sim::{self, AwsSim};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use front::{Fleet, Host};
use host::Function;

/// What API Gateway takes.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
const ADMIN_KEYS: &str = "POSTHASTE_AUTH_ADMIN_KEY_SHA256";
const PREFIX: &str = "POSTHASTE_AWS_PREFIX";

struct Arguments {
    binaries: PathBuf,
    aws: Option<String>,
    listen: String,
    create: bool,
}

impl Arguments {
    fn of_process() -> Result<Self> {
        let (mut binaries, mut aws, mut create) = (None, None, false);
        let mut listen = "127.0.0.1:0".to_owned();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--aws" => aws = Some(arguments.next().context("--aws URL")?),
                "--listen" => listen = arguments.next().context("--listen ADDRESS")?,
                "--create" => create = true,
                _ if argument.starts_with('-') => bail!("no such option: {argument}"),
                _ => binaries = Some(PathBuf::from(argument)),
            }
        }
        let usage = "gateway DIR [--aws URL] [--listen ADDRESS] [--create]";
        Ok(Self { binaries: binaries.context(usage)?, aws, listen, create })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::of_process()?;
    let sim = match &arguments.aws {
        None => Some(AwsSim::start(aws_sim::Settings::default())?),
        Some(_) => None,
    };
    let url = arguments.aws.clone().or_else(|| Some(sim.as_ref()?.url()));
    let url = url.context("an AWS")?;
    let (variables, admin) = variables(&url);
    if sim.is_some() || arguments.create {
        create(&url, &variables).await?;
    }
    let fleet = Arc::new(fleet(&arguments.binaries, &variables));
    let hooks = TcpListener::bind(&arguments.listen).await.context("cannot listen")?;
    let receiver = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
    println!("listening on http://{}", hooks.local_addr()?);
    println!("receiver on http://{}", receiver.local_addr()?);
    if let Some(admin) = admin {
        println!("admin key {}", admin.expose());
    }
    tokio::join!(
        serve(hooks, Host::Hooks, Arc::clone(&fleet)),
        serve(receiver, Host::Receiver, fleet),
    );
    Ok(())
}

/// What the functions are told: what we were, and what is missing in it.
fn variables(url: &str) -> (Vec<(String, String)>, Option<ApiKey>) {
    let ours = |name: &str| name.starts_with("POSTHASTE_") || name.starts_with("AWS_");
    let mut variables: Vec<_> = std::env::vars().filter(|(name, _)| ours(name)).collect();
    let mut or = |name: &str, value: &str| {
        if !variables.iter().any(|(known, _)| known == name) {
            variables.push((name.to_owned(), value.to_owned()));
        }
    };
    or("AWS_REGION", "us-east-1");
    or("AWS_ACCESS_KEY_ID", "123456789012");
    or("AWS_SECRET_ACCESS_KEY", "test");
    or("POSTHASTE_AWS_SQS_ENDPOINT", url);
    or("POSTHASTE_AWS_DYNAMODB_ENDPOINT", url);
    let mut entropy = [0; 32];
    Chance.fill(&mut entropy);
    let admin = ApiKey::from_entropy(&entropy);
    let is_known = std::env::var_os(ADMIN_KEYS).is_some();
    if !is_known {
        or(ADMIN_KEYS, &admin.hash().to_string());
    }
    (variables, (!is_known).then_some(admin))
}

async fn create(url: &str, variables: &[(String, String)]) -> Result<()> {
    let value = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let prefix = value(PREFIX).unwrap_or_else(|| "posthaste".to_owned());
    let key = |name| value(name).unwrap_or_default();
    let settings = Settings {
        region: value("AWS_REGION"),
        keys: Some(Keys::new(&key("AWS_ACCESS_KEY_ID"), &key("AWS_SECRET_ACCESS_KEY"))),
        ..Settings::with_prefix(&prefix).at(url)
    };
    Ok(Client::new(settings).await?.create().await?)
}

fn fleet(binaries: &Path, variables: &[(String, String)]) -> Fleet {
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let function = |name: &str| Function::new(&binaries.join(name), &variables);
    Fleet::new(["authorizer", "ingest", "receiver", "requeue"].map(function))
}

async fn serve(listener: TcpListener, host: Host, fleet: Arc<Fleet>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let fleet = Arc::clone(&fleet);
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let fleet = Arc::clone(&fleet);
                async move { Ok::<_, Infallible>(answer(&fleet, host, request).await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            // A client that went away needs no answer.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(fleet: &Fleet, host: Host, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => fleet.answer(host, Request::from_parts(head, body.to_bytes())).await,
        Err(_) => {
            let mut response = Response::new(Full::from("{\"detail\":\"the body is too large\"}"));
            *response.status_mut() = hyper::StatusCode::PAYLOAD_TOO_LARGE;
            let json = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", json);
            response
        }
    }
}
