//! No herd stays together, and no trouble outlives its cause.

use posthaste_domain::RetrySchedule;
use posthaste_engine::Settings;

use crate::long;
use crate::stage::{Stage, delivers, hangs, refuses};

const MINUTE_MS: u64 = 60_000;

/// Attempts that start in each second from the first retry on, and how many events were delivered.
fn seconds_of_retries(jitter: f64, events: u64) -> (Vec<u64>, u64) {
    const TENANTS: usize = 1_000;
    let delays = RetrySchedule::default().delays_ms().to_vec();
    let schedule = RetrySchedule::try_new(&delays, jitter, 5).expect("lawful");
    let settings = Settings {
        schedule,
        in_flight_max: 1_000_000,
        in_flight_per_endpoint_max: 1_000_000,
        in_flight_per_tenant_max: 1_000_000,
        in_flight_first: 1_000_000,
        breaker_failures: 0,
        ..Settings::default()
    };
    let mut stage = Stage::new(settings, TENANTS, |_, ms| match ms {
        0..2_000 => refuses(),
        _ => delivers(10),
    });
    let per_s = events / TENANTS as u64;
    (0..TENANTS).for_each(|tenant| stage.posts(tenant, per_s, 0, 1_000));
    stage.run(3 * MINUTE_MS);
    let delivered = stage.delivered(0..TENANTS) as u64;
    assert_eq!(delivered, events);
    let mut seconds = vec![0; 60];
    let retries = stage.sums.iter().flat_map(|sum| &sum.started).filter(|ms| **ms >= delays[0]);
    for ms in retries {
        seconds[usize::try_from((ms - delays[0]) / 1_000).expect("a few")] += 1;
    }
    (seconds, delivered)
}

/// A hundred thousand events fail within one second. Their retries are spread over the window that
/// chance adds to the first delay: no second has more than 1.3 times the mean of it.
#[test]
fn a_herd_is_flattened() {
    let events = 100_000;
    let schedule = RetrySchedule::default();
    #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
    let window_ms = schedule.delays_ms()[0] as f64 * schedule.jitter();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
    let most = (1.3 * f64::from(100_000_u32) / (window_ms / 1_000.0)) as u64;
    let (seconds, delivered) = seconds_of_retries(schedule.jitter(), events);
    let busiest = seconds.iter().max().copied().unwrap_or(0);
    assert!(busiest <= most, "{busiest} in one second, {most} at most: {seconds:?}");
    // The control: without chance they come as they failed.
    let together = seconds_of_retries(0.0, events).0.into_iter().max().unwrap_or(0);
    assert!(together > 2 * most, "{together} in one second without jitter");
    println!(
        "proof: 20 tried {events} held {delivered} control without jitter {together} start in one \
         second; {busiest} with it, {most} are allowed"
    );
}

/// Tenants of the worlds below, and what each posts in a second: 256 together, where a hundred
/// milliseconds an answer and 32 places make 320 possible.
const TENANTS: usize = 128;
const PER_S: u64 = 2;
/// Half of them, and those of this half that hang where others refuse.
const HALF: usize = TENANTS / 2;
const HANGING: usize = 40;

fn tight() -> Settings {
    Settings { in_flight_max: 32, ..Settings::default() }
}

fn unprotected() -> Settings {
    Settings {
        breaker_failures: 0,
        slow_percent_max: 100,
        slow_ms: 3_600_000,
        in_flight_first: 1_024,
        ..tight()
    }
}

/// From `from_ms` to `to_ms` half of all endpoints are down: some hang, some refuse.
fn half_down(settings: Settings, (from_ms, to_ms): (u64, u64)) -> Stage<'static> {
    let answers = move |tenant, ms| match tenant {
        0..HANGING if (from_ms..to_ms).contains(&ms) => hangs(),
        HANGING..HALF if (from_ms..to_ms).contains(&ms) => refuses(),
        _ => delivers(100),
    };
    Stage::new(settings, TENANTS, answers)
}

/// What was delivered of what was offered in each minute of a span, in percent.
fn goodput(stage: &Stage<'_>, tenants: std::ops::Range<usize>, span: (u64, u64)) -> Goodput {
    let offered = tenants.len() as u64 * PER_S * 60;
    let whole = (span.1 - span.0) / MINUTE_MS;
    let minutes = (0..whole).map(|minute| {
        let from = span.0 + minute * MINUTE_MS;
        let within = stage.delivered_within(tenants.clone(), (from, from + MINUTE_MS)) as u64;
        within * 100 / offered
    });
    Goodput(minutes.collect())
}

/// Minute by minute, in percent.
struct Goodput(Vec<u64>);

impl Goodput {
    /// The worst minute.
    fn least(&self) -> u64 {
        self.0.iter().min().copied().unwrap_or(0)
    }

    /// In how many minutes it was at least so much.
    fn held(&self, percent: u64) -> usize {
        self.0.iter().filter(|minute| **minute >= percent).count()
    }
}

/// Half of the endpoints are down for ten minutes at 80 % load, more of them hanging than there are
/// places: the others keep the places that slow endpoints may not have, a quarter of all, and two
/// minutes after the end everything flows again as it is offered.
#[test]
fn an_outage_of_half_the_endpoints_leaves_nothing_behind() {
    let (down, up) = (MINUTE_MS, 11 * MINUTE_MS);
    let end = long(15, 60) * MINUTE_MS;
    let mut stage = half_down(tight(), (down, up));
    (0..TENANTS).for_each(|tenant| stage.posts(tenant, PER_S, 0, end));
    stage.run(end);
    let during = goodput(&stage, HALF..TENANTS, (down + MINUTE_MS, up));
    let later = goodput(&stage, 0..TENANTS, (up + 2 * MINUTE_MS, end));
    let (beside, after) = (during.least(), later.least());
    let mut bare = half_down(unprotected(), (down, up));
    (0..TENANTS).for_each(|tenant| bare.posts(tenant, PER_S, 0, up));
    bare.run(up);
    let without = goodput(&bare, HALF..TENANTS, (down + MINUTE_MS, up)).least();
    println!(
        "half down: {beside} % of what the others offer, {after} % of everything from two minutes \
         after it on; without protection {without} %"
    );
    assert!(beside >= 60, "{beside} % beside the outage: eight places make 62 % possible");
    assert!(after >= 95, "{after} % after it");
    assert!(without < 30, "the control: {without} % without protection");
    println!(
        "proof: 19 tried {} held {} control without breaker and slow places the others get \
         {without} %; minutes, half the endpoints down for 10 min at 80 % load: others {beside} %, \
         all {after} % from 2 min after it on",
        during.0.len() + later.0.len(),
        during.held(60) + later.held(95)
    );
}

/// The store does nothing for five minutes at 80 % load.
#[test]
fn an_outage_of_the_store_leaves_nothing_behind() {
    let (out, back, end) = (MINUTE_MS, 6 * MINUTE_MS, 12 * MINUTE_MS);
    let mut stage = Stage::new(tight(), TENANTS, |_, _| delivers(100)).with_store_out(out, back);
    (0..TENANTS).for_each(|tenant| stage.posts(tenant, PER_S, 0, end));
    stage.run(end);
    let during = stage.delivered_within(0..TENANTS, (out, back));
    let later = goodput(&stage, 0..TENANTS, (back + 2 * MINUTE_MS, end));
    let after = later.least();
    assert_eq!(during, 0, "the control: an outage is one");
    assert!(after >= 95, "{after} % after it");
    println!(
        "proof: 19 tried {} held {} control nothing is settled meanwhile; minutes, the store out \
         for 5 min: {after} % from 2 min after it on",
        later.0.len(),
        later.held(95)
    );
}

/// A start with very many retries overdue, at 80 % load: what is delivered in a minute is never
/// less than what comes in, from two minutes on, and nothing that is overdue is forgotten.
#[test]
fn a_start_with_a_backlog_keeps_going() {
    let overdue = long(25_600, 1_000_000);
    // Twice as many places and events, so that the backlog has an end.
    let settings = Settings { in_flight_max: 64, ..Settings::default() };
    let mut stage = Stage::new(settings, TENANTS, |_, _| delivers(100));
    let each = usize::try_from(overdue).expect("a million") / TENANTS;
    (0..TENANTS).for_each(|tenant| stage.owes(tenant, each));
    stage.restart();
    let loaded = 6 * MINUTE_MS;
    (0..TENANTS).for_each(|tenant| stage.posts(tenant, 2 * PER_S, 0, loaded));
    stage.run(loaded);
    let after = goodput(&stage, 0..TENANTS, (2 * MINUTE_MS, loaded)).least() / 2;
    // Three of four places are for what is new while both wait: at 80 % load nearly all it needs.
    let fresh = stage.sums.iter().flat_map(|sum| &sum.delivered);
    let fresh = fresh.filter(|(posted, took)| *posted > 0 && posted + took < loaded).count() as u64;
    let offered = TENANTS as u64 * 2 * PER_S * loaded / 1_000;
    let fresh = fresh * 100 / offered;
    assert!(fresh >= 90, "{fresh} % of what is new");
    stage.run(loaded + 10 * MINUTE_MS + 2 * overdue);
    assert!(after >= 95, "{after} %");
    let (tried, left) = (each * TENANTS, stage.owed_count());
    assert_eq!(left, 0, "everything overdue was delivered");
    println!(
        "proof: 19 tried {tried} held {} control see the outage of half the endpoints; \
         a start with so many overdue at 80 % load: {after} % of what comes in is delivered in \
         each minute from 2 min on, and {fresh} % of what is new meanwhile; the last retry {} ms \
         after the start",
        tried - left,
        stage.retries.latest_ms.saturating_sub(3_600_000)
    );
}
