//! What chance comes to once in some thousand worlds, or in a hundred thousand: by plans made for
//! it, each of which is searched through a few seeds.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_fleet_sim::{
    Behaviour, Coverage, DiskFate, Fault, Happening, How, Mutant, Plan, Tenant, Window,
};

const MINUTE_MS: u64 = 60_000;
/// In so many worlds of its plan what is rare must be come to.
const SEEDS: u64 = 40;

/// A plan of a seed.
type Way = fn(u64) -> Plan;

/// What is rare, and the plan in which it is not.
const WAYS: [(&str, Way); 14] = [
    ("job waiting to dying", another_round_dies_elsewhere),
    ("job dying to waiting", requeued_before_its_mark),
    ("job dying to unwritten", poison_is_shown_again),
    ("job cut off to waiting", |seed| taken_over_where_it_was_cut_off(seed, 2)),
    ("job cut off to dying", |seed| taken_over_where_it_was_cut_off(seed, 1)),
    ("requeue leave_message", requeued_before_its_mark),
    ("dead dropped not_ours", marked_too_late),
    ("dead dropped overtaken", requeued_before_its_mark),
    ("input payload load failed", commits_that_fail),
    ("input timers read failed", commits_that_fail),
    ("row extend: refused", everybody_is_replaced),
    ("health tripped to ramp", given_up_and_lifted),
    ("health given up to ramp", given_up_and_lifted),
    ("health well to ramp", trips_and_is_lifted),
];

fn tenants(count: usize, behaviour: Behaviour) -> Vec<Tenant> {
    let id = |number| TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name");
    (0..count).map(|number| Tenant { id: id(number), behaviour, deleted_ms: None }).collect()
}

const fn outage(from_ms: u64, until_ms: u64) -> Window {
    Window { from_ms, until_ms, passes_permille: 0 }
}

/// Retries wait for an hour. Their senders ask for fresh rounds, which come to other daemons and
/// die there with their tenants, and these daemons are long on their way to the DLQ.
fn another_round_dies_elsewhere(seed: u64) -> Plan {
    let mut plan = Plan::at_failpoint(27, How::Delay, seed);
    let wishes = Behaviour::Throttling { permille: 1_000, retry_after_ms: Some(3_600_000) };
    // Many, for whoever hears that a tenant is gone ends all that it has of him.
    plan.tenants = tenants(40, wishes);
    plan.tenants.iter_mut().for_each(|tenant| tenant.deleted_ms = Some(MINUTE_MS));
    plan.clients.operations = 30;
    plan.calm_ms = 20 * MINUTE_MS;
    plan
}

/// The DLQ has the message, and its sender does not come to marking the row: operators requeue
/// and purge meanwhile.
fn requeued_before_its_mark(seed: u64) -> Plan {
    Plan::at_failpoint(31, How::Delay, seed)
}

/// A message that is poison, in a world that chance has made, is shown again before its event is
/// dead: among these is one of the long form's in which that came about (21,422).
fn poison_is_shown_again(seed: u64) -> Plan {
    Plan::draw(21_400 + seed, 16)
}

/// A daemon is so long on its way from the DLQ to the row's mark that another one takes the row
/// over, which cannot send to the DLQ.
fn marked_too_late(seed: u64) -> Plan {
    let mut plan = Plan::at_failpoint(28, How::Delay, seed);
    plan.queue.windows = vec![outage(20_000, 400_000)];
    plan.calm_ms = 10 * MINUTE_MS;
    plan
}

/// A crash cuts attempts off, others go on with them when their messages can be seen again, and
/// vanish: with one attempt a round, on their way to the DLQ. The first one comes back and takes
/// over what it has notes about.
fn taken_over_where_it_was_cut_off(seed: u64, attempts: u32) -> Plan {
    let mut plan = Plan::quiet(seed, 40);
    plan.tenants = tenants(4, Behaviour::SilentUntil(250_000));
    let schedule = RetrySchedule::try_new(&[20_000], 0.1, attempts);
    plan.fleet.engine.schedule = schedule.expect("lawful");
    let fault = |at_ms, daemon, what| Fault { at_ms, daemon, what };
    let vanishes = Happening::Crash(DiskFate::Lost, 400_000);
    plan.faults = vec![
        fault(12_000, 0, Happening::Crash(DiskFate::Kept, 240_000)),
        fault(240_000, 1, vanishes),
        fault(240_000, 2, vanishes),
    ];
    if attempts == 1 {
        plan.queue.windows = vec![outage(205_000, 400_000)];
    }
    plan.calm_ms = 12 * MINUTE_MS;
    plan
}

/// Disks are slow, and one commit of ten fails: reads meet the last moments of a daemon.
fn commits_that_fail(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 100);
    plan.tenants = tenants(4, Behaviour::FailsFirst(3));
    plan.fleet.engine.schedule = RetrySchedule::try_new(&[3_000, 12_000], 0.1, 5).expect("lawful");
    plan.clients.by_reference_permille = 1_000;
    plan.fleet.failed_commits_permille = 100;
    plan.fleet.disk_ms = (1, 50);
    plan
}

/// Leases are given away while fresh rounds begin.
fn everybody_is_replaced(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 40);
    plan.clients.operations = 60;
    let what = Happening::Replace(1_000);
    plan.faults =
        (0..8).map(|n| Fault { at_ms: 12_000 + 4_000 * n as u64, daemon: n % 3, what }).collect();
    plan
}

/// Endpoints are down until they are given up, come back, and are lifted now and then.
fn given_up_and_lifted(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 200);
    plan.fleet.engine.breaker_failures = 2;
    plan.fleet.engine.breaker_give_up_ms = MINUTE_MS;
    plan.tenants = tenants(4, Behaviour::DownUntil(6 * MINUTE_MS));
    plan.clients.post_ms = 9 * MINUTE_MS;
    plan.clients.changes = 8;
    plan.calm_ms = 10 * MINUTE_MS;
    plan
}

/// Endpoints that trip at each failure are lifted all the time, and daemons stand still: the next
/// turn of one brings a failure and a lift.
fn trips_and_is_lifted(seed: u64) -> Plan {
    let mut plan = Plan::quiet(seed, 200);
    plan.fleet.engine.breaker_failures = 1;
    plan.tenants = tenants(4, Behaviour::Shaky { permille: 500 });
    plan.clients.post_ms = 5 * MINUTE_MS;
    plan.clients.changes = 300;
    plan.calm_ms = 6 * MINUTE_MS;
    let what = Happening::Pause(9_000);
    plan.faults =
        (0..30).map(|n| Fault { at_ms: 10_000 * n as u64, daemon: n % 3, what }).collect();
    plan
}

/// The first world of a plan that comes to it; all of them up to there hold.
fn first(what: &str, plan: impl Fn(u64) -> Plan) -> Option<u64> {
    (0..SEEDS).find(|seed| {
        let run = posthaste_fleet_sim::run(&plan(*seed));
        run.unwrap_or_else(|failure| panic!("{what}: {failure}")).coverage.times(what) > 0
    })
}

/// For everything that is too rare for the seeds of CI: a plan comes to it. Quiet worlds do not.
#[test]
fn what_is_rare_is_come_to() {
    let mut names: Vec<_> = Coverage::rare().collect();
    names.sort_unstable();
    let mut ways = WAYS.map(|(what, _)| what);
    ways.sort_unstable();
    assert_eq!(ways[..], names[..], "each has its way, and there are no others");
    let never = WAYS.iter().filter(|(what, plan)| first(what, plan).is_none());
    let never: Vec<_> = never.map(|(what, _)| *what).collect();
    assert!(never.is_empty(), "not come to in {SEEDS} worlds each: {never:?}");
    let quiet = posthaste_fleet_sim::run(&Plan::quiet(0, 40)).expect("nothing happens in it");
    let by_itself: Vec<_> = names.iter().filter(|what| quiet.coverage.times(what) > 0).collect();
    assert!(by_itself.is_empty(), "the control: {by_itself:?} in a quiet world");
}

/// A row behind its message is not come to while reads are consistent; and where they are not, it
/// is seen.
#[test]
fn only_stale_reads_show_a_row_behind_its_message() {
    let what = "after_read leave";
    let stale = |seed| Plan { mutant: Some(Mutant::StaleReads), ..requeued_before_its_mark(seed) };
    assert_eq!(first(what, requeued_before_its_mark), None);
    assert!(first(what, stale).is_some(), "the control: stale reads do not show it");
}
