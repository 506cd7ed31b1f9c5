//! The client: one attempt from the guard to the record.
//!
//! Invariants: [`Client::attempt`] returns by the deadline plus a timer tick · it charges nothing
//! that is our own fault · dropping it closes the connection that it was using.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use posthaste_domain::{AddressPolicy, Attempt, ErrorClass, Host};
use smallvec::smallvec;

use crate::clock::Clock;
use crate::connect::{Connector, Destination};
#[cfg(target_os = "linux")]
use crate::connect::{LARGE_BYTES, UNACKNOWLEDGED_MAX};
use crate::connection::{self, Broken, Buffers, Connection, Exchange, Outgoing, Sink};
use crate::dns::{self, Addresses, Names, Resolve, SystemResolver};
use crate::endpoint::{Endpoint, Form};
use crate::failure::Failure;
use crate::pool::{Limits, Pool, Pooled as _};
use crate::progress::{Progress, Stage, micros};
use crate::request::{Moment, Request};
use crate::settings::{Settings, SettingsError};
use crate::tls;

/// Sweeping asks the operating system about each resting connection; once a second is plenty.
const SWEEP_EVERY_US: u64 = 1_000_000;

/// Makes attempts. Belongs to one thread.
pub struct Client {
    clock: Rc<dyn Clock>,
    names: Names,
    policy: AddressPolicy,
    pool: RefCell<Pool<Box<Connection>>>,
    connector: Connector,
    user_agent: HeaderValue,
    attempt_time_max: Duration,
    buffers: Buffers,
    reading: connection::Limits,
    closed: Cell<bool>,
    swept_us: Cell<u64>,
    counts: Cell<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: u64,
    reused: u64,
    resent: u64,
}

/// A client's figures. Counters start at 0 with the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open connections, in use and idle.
    pub connections_open: usize,
    /// Idle connections.
    pub connections_idle: usize,
    /// Connections opened so far (TLS included, where it is used).
    pub connections_opened: u64,
    /// Attempts that began on a connection that had served before.
    pub connections_reused: u64,
    /// Requests sent a second time because a reused connection broke without an answer.
    pub requests_resent: u64,
    /// Names remembered.
    pub dns_names: usize,
    /// Lookups made.
    pub dns_lookups: u64,
    /// Lookups that got no answer.
    pub dns_failures: u64,
    /// Answers refused by the address guard.
    pub dns_refusals: u64,
}

/// Where a connection may go.
enum Candidates {
    /// A literal address.
    Literal(IpAddr),
    /// A name's addresses.
    Resolved(Rc<Addresses>),
}

/// What stays the same for the whole of an attempt.
struct Plan<'a> {
    endpoint: &'a Endpoint,
    form: &'a Form,
    request: &'a Request,
    candidates: Candidates,
}

/// Hears of a response while it comes.
struct Told<'a> {
    client: &'a Client,
    progress: &'a mut Progress,
    sent_us: u64,
}

impl Client {
    /// A client that resolves names as [`Settings::dns_servers`] says.
    ///
    /// Reads the system's resolver configuration, hosts file and root certificates; called once
    /// per shard at start. Needs a tokio runtime with I/O and time when it is used, not now.
    ///
    /// # Errors
    /// [`SettingsError`] names the setting that makes no client.
    pub fn new(settings: Settings, clock: Rc<dyn Clock>) -> Result<Self, SettingsError> {
        let resolver =
            SystemResolver::new(&settings.dns_servers).map_err(SettingsError::Resolver)?;
        Self::with_resolver(settings, clock, Rc::new(resolver))
    }

    /// A client that resolves names by `resolver`.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_resolver(
        settings: Settings,
        clock: Rc<dyn Clock>,
        resolver: Rc<dyn Resolve>,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|_| SettingsError::UserAgent(settings.user_agent.clone()))?;
        let connector = Connector {
            tls: tls::connector(&settings.tls_roots, settings.tls_session_hosts_max)?,
            clock: Rc::clone(&clock),
            time_max: Duration::from_millis(settings.connect_timeout_ms),
            egress: RefCell::default(),
        };
        let limits = Limits {
            open_max: settings.connections_max,
            per_target_max: settings.idle_per_target_max,
            idle_us_max: settings.idle_timeout_ms.saturating_mul(1000),
        };
        Ok(Self {
            names: Names::new(&settings, resolver, Rc::clone(&clock)),
            pool: RefCell::new(Pool::new(limits)),
            connector,
            user_agent,
            attempt_time_max: Duration::from_millis(settings.attempt_timeout_ms),
            buffers: Buffers::new(),
            reading: connection::Limits {
                head_bytes_max: settings.response_head_bytes_max,
                body_bytes_max: settings.response_body_bytes_max,
            },
            policy: settings.address_policy,
            closed: Cell::new(false),
            swept_us: Cell::new(clock.monotonic_us()),
            counts: Cell::default(),
            clock,
        })
    }

    /// Makes one attempt: at most one request, or two where the first went out on a reused
    /// connection that broke without a byte of response.
    ///
    /// Never fails: whatever happens is the attempt's verdict.
    pub async fn attempt(&self, endpoint: &Endpoint, request: Request) -> Attempt {
        let at = self.clock.now();
        let queue_us = at.millis_since(request.ready_at).saturating_mul(1000);
        let mut progress =
            Progress::new(self.clock.monotonic_us(), u32::try_from(queue_us).unwrap_or(u32::MAX));
        let run = self.run(endpoint, &request, &mut progress);
        let time_max =
            endpoint.time_max.map_or(self.attempt_time_max, |own| own.min(self.attempt_time_max));
        let failure = match tokio::time::timeout(time_max, run).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_elapsed) => Some(self.overdue(endpoint, &progress, time_max)),
        };
        let host = failure.is_some().then(|| endpoint.target.host.to_string());
        let failure = failure.zip(host.as_deref());
        progress.into_attempt(request.number, at, self.clock.monotonic_us(), failure)
    }

    /// The attempt's time is over. What could not be reached until then may be our own fault, and
    /// whoever else asks is to know of it.
    fn overdue(&self, endpoint: &Endpoint, progress: &Progress, time_max: Duration) -> Failure {
        let now_us = self.clock.monotonic_us();
        let class = match (progress.stage, &endpoint.target.host) {
            (Stage::Resolving { since_us }, Host::Name(name)) => {
                let took_us = now_us.saturating_sub(since_us);
                let is_ours = self.names.is_cut_off_by_us(name, took_us);
                is_ours.then_some(ErrorClass::DnsUnavailable)
            }
            (Stage::Connecting { first: Some(first), since_us }, _) => {
                let mut egress = self.connector.egress.borrow_mut();
                let is_ours = egress.is_down(first, since_us, now_us);
                is_ours.then_some(ErrorClass::ConnectTimeout)
            }
            _ => None,
        };
        let overdue = overdue(progress.stage, time_max);
        match class {
            Some(class) => Failure::ours(class, overdue.text),
            None => overdue,
        }
    }

    /// Drops idle connections that are too old or dead, and names that have expired. Cheap to
    /// call often: it works once a second at most.
    pub fn maintain(&self) {
        let now_us = self.clock.monotonic_us();
        if now_us.saturating_sub(self.swept_us.get()) >= SWEEP_EVERY_US {
            self.swept_us.set(now_us);
            self.pool.borrow_mut().sweep(now_us);
            self.names.sweep();
        }
    }

    /// The figures as they stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let pool = self.pool.borrow();
        let (counts, dns) = (self.counts.get(), self.names.counters());
        Stats {
            connections_open: pool.open(),
            connections_idle: pool.resting(),
            connections_opened: counts.opened,
            connections_reused: counts.reused,
            requests_resent: counts.resent,
            dns_names: self.names.remembered(),
            dns_lookups: dns.lookups,
            dns_failures: dns.failures,
            dns_refusals: dns.refusals,
        }
    }

    /// Closes idle connections, and those in use when their attempts end. Later attempts are not
    /// charged (`shutting_down`); those under way go on.
    pub fn close(&self) {
        self.closed.set(true);
        self.pool.borrow_mut().clear();
    }

    async fn run(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        if self.closed.get() {
            let text = "the process is shutting down";
            return Err(Failure::ours(ErrorClass::ShuttingDown, text));
        }
        let form = endpoint
            .form()
            .map_err(|invalid| Failure::charged(ErrorClass::InvalidRequest, invalid.to_string()))?;
        let candidates = self.candidates(endpoint, progress).await?;
        let plan = Plan { endpoint, form, request, candidates };
        let mut first_sent = None;
        if let Some(connection) = self.take(&plan) {
            progress.phases.reused = true;
            let moment = *first_sent.insert(self.moment());
            match self.exchange(connection, &plan, moment, progress).await {
                Ok(()) => return Ok(()),
                Err(broken) if !broken.unanswered => return Err(Failure::exchange(&broken.error)),
                Err(_) => {
                    // The peer closed while our request was on its way, as it may at any time.
                    progress.phases.reused = false;
                    self.count(|counts| counts.resent += 1);
                }
            }
        }
        // Apart, for the time it takes: an attempt that had room for all that a handshake needs
        // would be copied with it.
        let connection = Box::pin(self.connect(&plan, progress)).await?;
        let moment = first_sent.unwrap_or_else(|| self.moment());
        let exchanged = self.exchange(connection, &plan, moment, progress).await;
        exchanged.map_err(|broken| Failure::exchange(&broken.error))
    }

    /// Where the endpoint's connections may go, as its name stands now.
    async fn candidates(
        &self,
        endpoint: &Endpoint,
        progress: &mut Progress,
    ) -> Result<Candidates, Failure> {
        // Before any lookup: what is refused must not even be asked for.
        endpoint.url.vet(&self.policy).map_err(|refused| dns::refused_target(&refused))?;
        let name = match &endpoint.target.host {
            Host::Name(name) => name,
            Host::V4(address) => return Ok(Candidates::Literal((*address).into())),
            Host::V6(address) => return Ok(Candidates::Literal((*address).into())),
        };
        let known = match self.names.recall(name) {
            Some(known) => known,
            None => {
                let started_us = self.clock.monotonic_us();
                progress.stage = Stage::Resolving { since_us: started_us };
                let known = Box::pin(self.names.resolve(name)).await;
                progress.phases.dns_us = micros(started_us, self.clock.monotonic_us());
                known
            }
        };
        match known {
            Ok(addresses) => Ok(Candidates::Resolved(addresses)),
            Err(unresolved) => Err(self.names.failure(name, &unresolved)),
        }
    }

    fn take(&self, plan: &Plan<'_>) -> Option<Box<Connection>> {
        let now_us = self.clock.monotonic_us();
        let allowed = |address| match &plan.candidates {
            Candidates::Literal(literal) => *literal == address,
            Candidates::Resolved(addresses) => addresses.contains(address),
        };
        let taken = self.pool.borrow_mut().take(&plan.endpoint.target, now_us, allowed);
        if taken.is_some() {
            self.count(|counts| counts.reused += 1);
        }
        taken
    }

    async fn connect(
        &self,
        plan: &Plan<'_>,
        progress: &mut Progress,
    ) -> Result<Box<Connection>, Failure> {
        let Some(token) = self.pool.borrow_mut().admit() else {
            let text = "as many connections are in use as the settings allow";
            return Err(Failure::ours(ErrorClass::LocalResource, text));
        };
        let destination = Destination {
            addresses: match &plan.candidates {
                Candidates::Literal(address) => smallvec![*address],
                Candidates::Resolved(addresses) => addresses.to_try(),
            },
            port: plan.endpoint.target.port,
            server_name: plan.form.server_name.as_ref(),
        };
        let connection = Box::new(self.connector.connect(destination, token, progress).await?);
        if let Candidates::Resolved(addresses) = &plan.candidates {
            addresses.worked(connection.address());
        }
        self.count(|counts| counts.opened += 1);
        Ok(connection)
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), wall: self.clock.wall() }
    }

    /// Sends the request, takes in the response, and puts the connection back where it is fit.
    async fn exchange(
        &self,
        mut connection: Box<Connection>,
        plan: &Plan<'_>,
        moment: Moment,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        progress.stage = Stage::Waiting;
        #[cfg(target_os = "linux")]
        if plan.request.payload.len() > LARGE_BYTES {
            connection.be_patient(self.attempt_time_max.max(UNACKNOWLEDGED_MAX));
        }
        let sent_us = self.clock.monotonic_us();
        let mut head = self.buffers.head();
        let request = plan.request;
        let endpoint = (plan.form, plan.endpoint);
        request.sign_into(&mut head, endpoint, &self.user_agent, moment);
        let outgoing = Outgoing { head, body: request.payload.clone(), written: 0 };
        let told = Told { client: self, progress, sent_us };
        let mut exchange =
            Exchange::new(&mut connection, &self.buffers, self.reading, outgoing, told);
        let is_fit = poll_fn(|context| exchange.poll(context)).await?;
        if is_fit && !self.closed.get() {
            let now_us = self.clock.monotonic_us();
            self.pool.borrow_mut().put(&plan.endpoint.target, connection, now_us);
        }
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Sink for Told<'_> {
    fn head(&mut self, status: StatusCode, retry_after: Option<&[u8]>) {
        let Self { client, progress, sent_us } = self;
        let now_us = client.clock.monotonic_us();
        client.connector.egress.borrow_mut().shown(now_us);
        progress.phases.first_byte_us = micros(*sent_us, now_us);
        progress.head(status, retry_after, client.clock.wall());
    }

    fn body(&mut self, piece: &[u8]) {
        self.progress.body(piece);
    }
}

fn overdue(stage: Stage, time_max: Duration) -> Failure {
    let waiting = match stage {
        Stage::Resolving { .. } => "resolving the name",
        Stage::Connecting { .. } | Stage::Securing => "connecting",
        Stage::Waiting => "waiting for the response",
        Stage::Reading => "reading the response body",
    };
    let limit = time_max.as_millis();
    let text = format!("the attempt was not done within {limit} ms ({waiting})");
    Failure::charged(ErrorClass::Timeout, text)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
