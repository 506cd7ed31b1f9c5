//! No tenant pays for another: breaker, caps, hosts, slow endpoints, rates, weights, pauses.

use std::collections::BTreeMap;

use posthaste_domain::EndpointId;
use posthaste_domain::{OwedAs, RetrySchedule, Timestamp, Verdict};
use posthaste_engine::{Backoff, Engine, Health, Input, Options, Rate, Settings};

use crate::desk::{Desk, FAILED, START, settings, tenant, throttled};

/// With a breaker that trips after three failures, without retries within a test's time.
fn breaking() -> Settings {
    let schedule = RetrySchedule::try_new(&[3_600_000], 0.0, 5).expect("lawful");
    Settings { schedule, breaker_failures: 3, ..settings() }
}

fn post(desk: &mut Desk, number: u64, times: usize) {
    (0..times).for_each(|_| {
        desk.post(&tenant(number));
    });
}

fn health(desk: &Desk) -> Option<Health> {
    desk.engine.troubled(10).first().map(|view| view.health)
}

/// Ends everything in flight like this, until nothing is; says how many there were.
fn end_all(desk: &mut Desk, verdict: Verdict) -> usize {
    let mut ended = 0;
    while !desk.started.is_empty() {
        desk.end_next(verdict);
        ended += 1;
    }
    ended
}

/// An endpoint that trips.
fn tripped() -> Desk {
    let mut desk = Desk::new(Settings { in_flight_first: 1, ..breaking() });
    post(&mut desk, 0, 100);
    assert_eq!(end_all(&mut desk, FAILED), 3);
    assert_eq!(health(&desk), Some(Health::Tripped));
    desk
}

/// Tripped: nothing until the hold is over, then one at a time; each failed probe doubles it.
#[test]
fn a_dead_endpoint_costs_one_attempt_a_hold() {
    let mut desk = tripped();
    let mut probes = 0;
    for hold_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        desk.pass(hold_ms - 1);
        assert!(desk.started.is_empty(), "within the hold of {hold_ms} ms");
        desk.pass(hold_ms / 10 + 2);
        assert_eq!(desk.started.len(), 1, "one probe after {hold_ms} ms");
        assert_eq!(health(&desk), Some(Health::Probing));
        desk.end_next(FAILED);
        probes += 1;
    }
    assert_eq!(desk.engine.stats().attempts, 3 + probes);
    // What it is owed is all there, hardly any of it in memory.
    assert!(desk.engine.stats().held - desk.engine.stats().waiting <= 2);
    assert_eq!(desk.owed.len(), 100);
}

/// A probe that gets through begins a ramp: one in flight, then two, and 50 in its first second.
#[test]
fn a_recovered_endpoint_is_taken_up_slowly() {
    let mut desk = tripped();
    post(&mut desk, 0, 900);
    desk.pass(1_101);
    desk.end_next(Verdict::Delivered);
    assert_eq!(health(&desk), Some(Health::Ramp));
    let mut counts = Vec::new();
    for _ in 0..4 {
        let mut count = 0;
        for _ in 0..1_000 {
            count += end_all(&mut desk, Verdict::Delivered);
            desk.pass(1);
        }
        counts.push(count);
    }
    for (count, most) in counts.iter().zip([50, 100, 200, 400]) {
        assert!((most * 9 / 10..=most + most / 50 + 2).contains(count), "{counts:?}");
    }
    desk.pass(10_000);
    assert_eq!(health(&desk), None);
}

/// Whoever lifts it need not wait for the hold, whichever way the engine hears of it.
#[test]
fn a_lift_ends_the_hold() {
    for asked in [false, true] {
        let mut desk = tripped();
        let (tenant, endpoint) = (tenant(0), EndpointId::DEFAULT);
        if asked {
            let lifted_at = desk.now.plus_millis(1);
            desk.set_options(&tenant, Options { lifted_at, ..Options::default() });
            // Told again, it is no news.
            end_all(&mut desk, FAILED);
            assert_eq!(health(&desk), Some(Health::Tripped));
            desk.set_options(&tenant, Options { lifted_at, ..Options::default() });
            assert_eq!(health(&desk), Some(Health::Tripped));
            continue;
        }
        desk.tell(Input::Lift { tenant, endpoint });
        assert_eq!((health(&desk), desk.started.len()), (Some(Health::Ramp), 1));
    }
}

/// An endpoint that never answers is given up after a day: what it is owed ends.
#[test]
fn who_is_given_up_gets_what_it_is_owed_by_the_schedule() {
    let mut desk = Desk::new(Settings {
        breaker_give_up_ms: 10_000,
        in_flight_first: 4,
        ..Settings { breaker_failures: 3, ..settings() }
    });
    post(&mut desk, 0, 40);
    let mut steps = 0;
    while !desk.owed.is_empty() {
        end_all(&mut desk, FAILED);
        desk.pass(1_000);
        steps += 1;
        assert!(steps < 200, "{} are owed for ever", desk.owed.len());
    }
    assert_eq!(health(&desk), Some(Health::GivenUp));
    assert_eq!(desk.engine.stats().dead_lettered, 40);
    // One that gets through begins its ramp.
    post(&mut desk, 0, 1);
    desk.end_next(Verdict::Delivered);
    assert_eq!(health(&desk), Some(Health::Ramp));
}

/// An hour is the longest that an endpoint can ask for, and it counts once: no breaker besides.
#[test]
fn retry_after_is_an_hour_at_most_and_no_failure_of_the_breaker() {
    let mut desk = Desk::new(breaking());
    for _ in 0..5 {
        post(&mut desk, 0, 1);
        desk.end_next(throttled(u64::MAX));
        assert_eq!(health(&desk), None);
        desk.pass(3_600_000 - 1);
        assert!(desk.started.is_empty());
        desk.pass(1);
        end_all(&mut desk, Verdict::Delivered);
    }
}

/// Paused: everything is kept and nothing attempted; resumed, it goes on slowly. The engine asks
/// by itself whether it is still paused.
#[test]
fn a_paused_endpoint_keeps_everything() {
    let mut desk = Desk::new(settings());
    desk.options
        .insert((tenant(0), EndpointId::DEFAULT), Options { paused: true, ..Options::default() });
    post(&mut desk, 0, 300);
    desk.pass(35_000);
    assert_eq!((desk.started.len(), desk.owed.len()), (0, 300));
    assert_eq!(health(&desk), Some(Health::Paused));
    assert!(desk.engine.stats().held <= 2, "{:?}", desk.engine.stats());
    assert_eq!(desk.asked, 1 + 3, "once, and every ten seconds");
    desk.options.clear();
    desk.pass(10_000);
    assert_eq!(desk.started.len(), 1, "resumed, from one at a time on");
    while !desk.owed.is_empty() {
        end_all(&mut desk, Verdict::Delivered);
        desk.pass(10);
    }
    assert_eq!(desk.engine.stats().delivered, 300);
}

/// Attempts that a pause has held back on their way are no sign that the process is ill: whoever
/// pauses all of its tenants stops nobody else.
#[test]
fn many_pauses_are_no_fault_of_ours() {
    let mut desk = Desk::new(settings());
    for number in 0..30 {
        post(&mut desk, number, 2);
    }
    for number in 0..30 {
        let paused = Options { paused: true, ..Options::default() };
        desk.set_options(&tenant(number), paused);
    }
    let started = std::mem::take(&mut desk.started);
    assert_eq!(started.len(), 60);
    for attempt in started {
        desk.tell(Input::HeldBack { delivery: attempt.delivery });
    }
    assert!(desk.started.is_empty(), "none is begun again");
    post(&mut desk, 99, 5);
    assert_eq!(desk.started.len(), 5, "nobody else waits");
    for number in 0..30 {
        desk.set_options(&tenant(number), Options::default());
    }
    assert_eq!(desk.started.len(), 35, "resumed, from one at a time on");
    while !desk.owed.is_empty() {
        end_all(&mut desk, Verdict::Delivered);
        desk.pass(10);
    }
    let stats = desk.engine.stats();
    assert_eq!((stats.delivered, stats.attempts, stats.not_charged), (65, 65, 0));
}

/// A pause that the engine has not heard of, or that has ended since, is no reason to try at once,
/// and again at once.
#[test]
fn a_pause_that_is_not_known_of_is_no_loop() {
    let mut desk = Desk::new(settings());
    post(&mut desk, 0, 1);
    for _ in 0..3 {
        let started = std::mem::take(&mut desk.started);
        assert_eq!(started.len(), 1);
        started.into_iter().for_each(|it| desk.tell(Input::HeldBack { delivery: it.delivery }));
        assert!(desk.started.is_empty(), "tried at once");
        desk.pass(60_000);
    }
    assert_eq!(desk.engine.stats().not_charged, 0);
    end_all(&mut desk, Verdict::Delivered);
    assert_eq!(desk.engine.stats().delivered, 1);
}

/// What is ready before the options are known waits for them, and they are asked for once.
#[test]
fn options_are_asked_for_once_an_endpoint() {
    let mut desk = Desk::new(settings());
    for number in 0..50 {
        post(&mut desk, number, 20);
    }
    end_all(&mut desk, Verdict::Delivered);
    assert_eq!((desk.asked, desk.owed.len()), (50, 0));
}

/// A tenant's own schedule decides when and how often.
#[test]
fn a_schedule_of_its_own() {
    let mut desk = Desk::new(settings());
    let schedule = RetrySchedule::try_new(&[7_000], 0.0, 2).expect("lawful");
    let own = Options { schedule: Some(schedule), ..Options::default() };
    desk.options.insert((tenant(0), EndpointId::DEFAULT), own);
    post(&mut desk, 0, 1);
    desk.end_next(FAILED);
    desk.pass(6_999);
    assert!(desk.started.is_empty());
    desk.pass(1);
    desk.end_next(FAILED);
    assert_eq!(desk.engine.stats().dead_lettered, 1);
}

/// A rate is kept to the millisecond, costs no attempt, and no other tenant.
#[test]
fn a_rate_spreads_attempts_and_holds_up_nobody_else() {
    for of_tenant in [false, true] {
        let mut desk = Desk::new(settings());
        let rate = Some(Rate::per_second(100));
        let (rate, tenant_rate) = if of_tenant { (None, rate) } else { (rate, None) };
        let limited = Options { rate, tenant_rate, ..Options::default() };
        desk.options.insert((tenant(0), EndpointId::DEFAULT), limited);
        post(&mut desk, 0, 200);
        post(&mut desk, 1, 200);
        let mut at = Vec::new();
        for ms in 0..1_000_u64 {
            while let Some(started) = desk.started.pop_front() {
                if started.key.tenant == tenant(0) {
                    assert_eq!(started.number, 1);
                    at.push(ms);
                } else {
                    assert_eq!(ms, 0, "the other one waits for nothing");
                }
                desk.end(&started, Verdict::Delivered);
            }
            desk.pass(1);
        }
        assert!((100..=102).contains(&at.len()), "{}", at.len());
        assert!(at[3..].windows(2).all(|pair| pair[1] - pair[0] == 10), "{at:?}");
    }
}

/// Turns by weight: while all wait, each gets its share of every round.
#[test]
fn tenants_share_by_weight() {
    let mut desk = Desk::new(Settings { in_flight_max: 1, ..settings() });
    let weights = [1_u32, 2, 5, 0];
    for (number, weight) in (0..).zip(weights) {
        let options = Options { weight, ..Options::default() };
        desk.options.insert((tenant(number), EndpointId::DEFAULT), options);
        post(&mut desk, number, 200);
    }
    let mut counts = BTreeMap::<_, u32>::new();
    for _ in 0..9 * 20 {
        *counts.entry(desk.end_next(Verdict::Delivered).key.tenant).or_default() += 1;
    }
    for (number, weight) in (0..).zip(weights) {
        let (count, share) = (counts[&tenant(number)], weight.max(1) * 20);
        assert!(count.abs_diff(share) <= weight.max(1), "{count} of {share}");
    }
}

/// Those that share a host have its places in turn, whatever else they may have; one of them that
/// must wait for something of its own keeps none.
#[test]
fn a_shared_host_is_shared() {
    let caps = Settings { in_flight_per_host_max: 4, ..settings() };
    let mut desk = Desk::new(caps);
    for number in 0..6 {
        let rate = (number == 0).then(|| Rate::new(1, 3_600_000));
        let paused = number == 1;
        let shared = Options { host: 7, tenant_rate: rate, paused, ..Options::default() };
        desk.options.insert((tenant(number), EndpointId::DEFAULT), shared);
        post(&mut desk, number, 100);
    }
    let mut counts = BTreeMap::<_, u32>::new();
    for _ in 0..200 {
        assert_eq!(desk.started.len(), 4, "as many as the host may have");
        *counts.entry(desk.end_next(Verdict::Delivered).key.tenant).or_default() += 1;
    }
    assert_eq!((counts.get(&tenant(0)), counts.get(&tenant(1))), (Some(&1), None));
    assert!((2..6).all(|number| counts[&tenant(number)].abs_diff(50) <= 3), "{counts:?}");
}

/// For all numbers of endpoints that never answer, all at once and before anything is known of
/// them: there is always a place for one that is quick, and they get no more than their share when
/// it is known.
#[test]
fn endpoints_that_hang_leave_places() {
    for hanging in [1, 4, 16, 60] {
        let caps = Settings { in_flight_max: 256, ..settings() };
        let mut desk = Desk::new(caps);
        for number in 0..hanging {
            post(&mut desk, number, 100);
        }
        assert!(desk.started.len() < 256, "{hanging} that hang take all");
        let mut left = desk.engine.stats().in_flight;
        desk.started.clear();
        // Known by now, they get no more than their share when others end.
        desk.pass(2_001);
        for _ in 0..50 {
            post(&mut desk, 1_000_000, 1);
            assert_eq!(desk.started.len(), 1, "beside {hanging} that hang");
            desk.end_next(Verdict::Delivered);
            assert!(desk.started.is_empty());
            left = left.max(192);
            assert!(desk.engine.stats().slow_in_flight <= left, "{:?}", desk.engine.stats());
        }
    }
}

/// Receivers that answer 200 after 29 s, for ever: they are slow and nothing else. None is left
/// alone, each gets all of its events, together they have no more than their share, and one that
/// is quick has a place whenever it needs one.
#[test]
fn endpoints_that_answer_after_29_seconds_for_ever_are_slow_and_nothing_else() {
    const SLOW: usize = 16;
    const EVENTS: usize = 200;
    let mut desk = Desk::new(Settings { in_flight_max: 256, ..settings() });
    (0..16).for_each(|number| post(&mut desk, number, EVENTS));
    let (mut ended, mut rounds) = (0, 0);
    while ended < SLOW * EVENTS {
        desk.pass(29_000);
        let before = desk.started.len();
        post(&mut desk, 1_000_000, 1);
        assert_eq!(desk.started.len(), before + 1, "a place for the quick, in round {rounds}");
        let quick = desk.started.pop_back().expect("it has begun");
        desk.end(&quick, Verdict::Delivered);
        for started in std::mem::take(&mut desk.started) {
            desk.end(&started, Verdict::Delivered);
            ended += 1;
        }
        if rounds > 0 {
            let slow = desk.engine.stats().slow_in_flight;
            assert!(slow <= 192, "three quarters at most, not {slow}");
        }
        rounds += 1;
    }
    assert_eq!(ended, SLOW * EVENTS);
    assert!(desk.engine.troubled(10).is_empty(), "slow is not ill");
    assert!(rounds < 40, "{rounds} rounds: they get their share, too");
}

/// A receiver that answers within a millisecond gets its cap of 64 within eight of them.
#[test]
fn a_quick_endpoint_is_given_all_that_it_may_have() {
    let mut desk = Desk::new(Settings { in_flight_first: 1, ..settings() });
    post(&mut desk, 0, 2_000);
    for round in 0..8 {
        assert_eq!(desk.started.len(), 1 << round.min(6));
        desk.pass(1);
        for started in std::mem::take(&mut desk.started) {
            desk.end(&started, Verdict::Delivered);
        }
    }
}

/// Failures halve what an endpoint may have, once for all that were in flight.
#[test]
fn failures_take_places_away() {
    let mut desk = Desk::new(Settings { in_flight_first: 32, ..settings() });
    post(&mut desk, 0, 500);
    for most in [32, 16, 8, 4, 2, 1, 1] {
        assert_eq!(desk.started.len(), most);
        desk.pass(1);
        for started in std::mem::take(&mut desk.started) {
            desk.end(&started, FAILED);
        }
    }
}

/// For all that fell due while nobody was there: it is spread over as long as it is late, a minute
/// at most, and none of it goes before its time.
#[test]
fn what_is_overdue_is_spread() {
    for (late_ms, within_ms) in [(500, 1), (10_000, 10_000), (3_600_000, 60_000)] {
        let caps = Settings { timers_window_ms: 60_000, ..settings() };
        let mut desk = Desk::new(caps);
        post(&mut desk, 0, 300);
        end_all(&mut desk, FAILED);
        assert_eq!(desk.engine.stats().waiting, 300);
        // The clock jumps; nobody was woken meanwhile.
        desk.now = desk.now.plus_millis(1_000 + late_ms);
        let mut most = 0;
        let mut started = 0;
        for _ in 0..(within_ms / 10_u64).max(1) {
            desk.pass(10);
            let count = end_all(&mut desk, Verdict::Delivered);
            (most, started) = (most.max(count), started + count);
        }
        assert_eq!(started, 300, "{late_ms} ms late");
        let even = 300 * 10 / usize::try_from(within_ms).unwrap();
        assert!(within_ms == 1 || most <= even * 3 + 8, "{most} in 10 ms, {even} evenly");
    }
}

/// The view is bounded, and those in trouble for longest come first.
#[test]
fn the_view_shows_who_is_in_trouble_for_longest() {
    let hold = Backoff { first_ms: 60_000, most_ms: 60_000 };
    let mut desk = Desk::new(Settings { breaker_failures: 1, breaker_hold: hold, ..breaking() });
    for number in [5, 3, 9] {
        post(&mut desk, number, 1);
        desk.end_next(FAILED);
        desk.pass(10);
    }
    let view = desk.engine.troubled(2);
    let since: Vec<Timestamp> = view.iter().map(|it| it.since).collect();
    assert_eq!(since, [START, START.plus_millis(10)]);
    assert_eq!((&view[0].tenant, view[0].trips), (&tenant(5), 1));
    assert!(view[0].next_attempt_at.is_some_and(|at| at >= START.plus_millis(60_000)));
    assert_eq!(desk.engine.stats().endpoints_troubled, 3);
}

/// One tenant's record cannot be read: it waits, is read again less and less often, and goes on
/// when it can be; nobody who becomes known meanwhile waits for it.
#[test]
fn options_that_cannot_be_read_hold_up_nobody_else() {
    let mut desk = Desk::new(settings());
    desk.unreadable.insert(tenant(0));
    post(&mut desk, 0, 10);
    assert!(desk.started.is_empty(), "it may be paused");
    for number in 1..200 {
        post(&mut desk, number, 1);
        assert_eq!(desk.started.len(), 1, "tenant {number} is attempted at once");
        desk.end_next(Verdict::Delivered);
        desk.pass(100);
    }
    let asked = desk.asked - 199;
    assert!((5..20).contains(&asked), "asked for {asked} times in 20 s");
    desk.unreadable.clear();
    desk.pass(5_001);
    assert_eq!(end_all(&mut desk, Verdict::Delivered), 10);
    assert!(desk.owed.is_empty());
}

/// An endpoint that is forgotten while its record could not be read is asked for when it is owed
/// something again.
#[test]
fn what_could_not_be_read_is_read_for_the_next_event() {
    let mut desk = Desk::new(breaking());
    desk.unreadable.insert(tenant(0));
    post(&mut desk, 0, 1);
    desk.pass(60_000);
    desk.unreadable.clear();
    post(&mut desk, 0, 1);
    desk.pass(5_001);
    assert_eq!(end_all(&mut desk, Verdict::Delivered), 2);
}

/// A lift is heard within the time that it takes to ask, whether the endpoint owed something when
/// it tripped or only since.
#[test]
fn a_lift_is_heard_while_it_is_tripped() {
    let mut desk = Desk::new(Settings { in_flight_first: 1, ..breaking() });
    post(&mut desk, 0, 3);
    assert_eq!(end_all(&mut desk, FAILED), 3);
    for hold_ms in [1_000, 2_000, 4_000, 8_000, 16_000] {
        desk.pass(hold_ms + hold_ms / 10 + 1);
        post(&mut desk, 0, 1);
        assert_eq!(end_all(&mut desk, FAILED), 1, "a probe");
    }
    // Held for 32 s, and nothing to do: all retries are an hour away.
    desk.pass(11_000);
    post(&mut desk, 0, 1);
    let options = Options { lifted_at: desk.now, ..Options::default() };
    desk.options.insert((tenant(0), EndpointId::DEFAULT), options);
    desk.pass(10_001);
    assert_eq!(end_all(&mut desk, Verdict::Delivered), 1);
}

/// Refused connections come quickly, and say nothing about how long answers take: an endpoint that
/// answers after 150 ms is given places again after an outage.
#[test]
fn quick_failures_are_no_measure_of_answers() {
    let mut desk = Desk::new(Settings { in_flight_first: 16, ..breaking() });
    let answer = |desk: &mut Desk| {
        desk.pass(150);
        let answered = std::mem::take(&mut desk.started);
        answered.iter().for_each(|started| desk.end(started, Verdict::Delivered));
        answered.len()
    };
    post(&mut desk, 0, 1_000);
    (0..5).for_each(|_| assert!(answer(&mut desk) > 0));
    // Refused at once, for 20 probes.
    for _ in 0..20 {
        end_all(&mut desk, FAILED);
        while desk.started.is_empty() {
            desk.pass(20);
        }
    }
    let most = (0..30).map(|_| answer(&mut desk)).max().expect("some");
    assert!(most >= 16, "no more than {most} at a time after 4.5 s of answers");
}

/// Whoever moves to a host with attempts in flight takes no place that is kept there for another
/// one beyond the cap.
#[test]
fn a_host_that_gets_full_keeps_no_place() {
    let at = |host| Options { host, ..Options::default() };
    let caps = Settings { in_flight_per_host_max: 1, settling_max: 1, ..settings() };
    let mut desk = Desk::new(caps);
    for (number, host) in [(0, 1), (1, 1), (2, 2)] {
        desk.options.insert((tenant(number), EndpointId::DEFAULT), at(host));
        post(&mut desk, number, 1);
    }
    assert_eq!(desk.started.len(), 2, "one a host");
    // The first ends, and the second is called; but nothing may start while its outcome settles.
    desk.unanswered = Some(Vec::new());
    desk.end_next(Verdict::Delivered);
    assert_eq!(desk.started.len(), 1);
    desk.set_options(&tenant(2), at(1));
    desk.answer_all();
    assert_eq!(desk.started.len(), 1, "the host is full");
    desk.end_next(Verdict::Delivered);
    assert_eq!(end_all(&mut desk, Verdict::Delivered), 1);
    assert_eq!(desk.engine.stats().invariant_violations, 0);
}

/// One tenant is paused, and has more overdue retries than may wait in memory. Those of others that
/// come behind them in due order are made all the same after a start, within the minute over which
/// what is late is spread.
#[test]
fn overdue_retries_of_one_hold_up_nobody_elses() {
    let caps = || {
        let (timers_held_max, timers_read_max, held_per_endpoint_max) = (64, 32, 16);
        Settings { timers_held_max, timers_read_max, held_per_endpoint_max, ..settings() }
    };
    let mut desk = Desk::new(caps());
    let paused = Options { paused: true, ..Options::default() };
    desk.options.insert((tenant(0), EndpointId::DEFAULT), paused);
    for number in 0..2_000 {
        let owner = tenant(u64::from(number == 1_999));
        let key = desk.store_fresh(&owner, EndpointId::DEFAULT).key;
        let row = desk.owed.get_mut(&key).unwrap();
        (row.attempts, row.owed_as) = (1, OwedAs::Timer(START.plus_millis(number)));
    }
    desk.now = START.plus_millis(3_600_000);
    desk.engine = Engine::new(caps(), 7);
    let mut passed_ms = 0;
    while desk.started.is_empty() && passed_ms < 70_000 {
        desk.pass(100);
        passed_ms += 100;
    }
    let started: Vec<_> = desk.started.iter().map(|it| it.key.tenant.clone()).collect();
    assert_eq!(started, [tenant(1)], "after {passed_ms} ms");
}

/// More endpoints hang than are remembered while they have nothing to do. Each is known for it when
/// its next event comes, minutes later, so that there is a place for one that is quick.
#[test]
fn what_hangs_is_known_for_it_when_its_next_event_comes() {
    const HANGING: u64 = 1_200;
    let schedule = RetrySchedule::try_new(&[3_600_000], 0.0, 5).unwrap();
    let mut desk = Desk::new(Settings { schedule, in_flight_max: 256, ..settings() });
    (0..HANGING).for_each(|number| post(&mut desk, number, 1));
    while !desk.started.is_empty() {
        desk.pass(30_000);
        for started in std::mem::take(&mut desk.started) {
            desk.end(&started, FAILED);
        }
    }
    assert_eq!(desk.settled.len() as u64, HANGING);
    desk.pass(120_000);
    (0..HANGING).for_each(|number| post(&mut desk, number, 1));
    let taken = desk.started.len();
    post(&mut desk, 1_000_000, 1);
    let is_quick = desk.started.iter().any(|it| it.key.tenant == tenant(1_000_000));
    assert!(is_quick && taken < 256, "{taken} of 256 places are taken by what hangs");
    // Not for ever: what is not heard of again takes no memory.
    while !desk.started.is_empty() {
        for started in std::mem::take(&mut desk.started) {
            desk.end(&started, FAILED);
        }
    }
    assert!(desk.engine.stats().endpoints > HANGING);
    desk.pass(15 * 60_000);
    let known = desk.engine.stats().endpoints;
    assert!(known <= 1_025, "{known} endpoints are known");
}
