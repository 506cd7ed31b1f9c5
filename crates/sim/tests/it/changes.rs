//! A tenant is changed or deleted while a million of its events wait (issue 6): what is to become
//! of them does, and nobody else notices.

use std::cell::RefCell;

use posthaste_engine::{Options, Rate, Settings};

use crate::stage::{Stage, delivers};

/// How many events of the tenant 0 wait.
const WAITING: u64 = 1_000_000;
/// Others beside the tenant 0, and what each of them posts in a second.
const OTHERS: std::ops::Range<usize> = 1..50;
const PER_S: u64 = 20;
/// The tenant 0 posts for so long; from then on the others are alone until it is changed.
const POSTED_MS: u64 = 10_000;
const CHANGED_MS: u64 = 40_000;
/// How long the others go on behind the change.
const WATCHED_MS: u64 = 60_000;

fn paused() -> Options {
    Options { paused: true, ..Options::default() }
}

/// A paused tenant, all of whose events wait, beside others that are at work.
fn beside_others(options: &RefCell<Options>) -> Stage<'_> {
    let mut stage = Stage::new(Settings::default(), OTHERS.end, |_, _| delivers(10))
        .with_options(|it| if it == 0 { options.borrow().clone() } else { Options::default() });
    stage.posts(0, WAITING * 1_000 / POSTED_MS, 0, POSTED_MS);
    OTHERS.for_each(|tenant| stage.posts(tenant, PER_S, 0, CHANGED_MS + WATCHED_MS));
    stage.run(CHANGED_MS);
    assert_eq!(stage.sums[0].attempts, 0, "it is paused");
    stage
}

/// That the others did not notice, and that no more was held than may be; says how it was.
fn check_others(stage: &Stage<'_>, what: &str) -> String {
    let before = stage.p99(OTHERS, (POSTED_MS, CHANGED_MS));
    let after = stage.p99(OTHERS, (CHANGED_MS, CHANGED_MS + WATCHED_MS));
    let held = stage.held_most;
    assert!(after * 10 <= before * 12, "{after} ms, and {before} ms before");
    let posted = OTHERS.len() as u64 * PER_S * (CHANGED_MS + WATCHED_MS) / 1_000;
    assert_eq!(stage.delivered(OTHERS) as u64, posted);
    assert!(held <= Settings::default().held_per_endpoint_max as u64 + 100, "{held} held");
    format!("{WAITING} wait, {what}: others' p99 {after} ms, {before} before; {held} held at most")
}

/// Runs until the tenant is owed nothing any more; gives how long that took from the change on.
fn until_done(stage: &mut Stage<'_>) -> u64 {
    stage.run(CHANGED_MS + WATCHED_MS + 1_000);
    let mut until = CHANGED_MS + WATCHED_MS + 1_000;
    while stage.owed_count() > 0 {
        until += 1_000;
        stage.run(until);
        assert!(until < CHANGED_MS + 4 * WAITING + WATCHED_MS, "{} left", stage.owed_count());
    }
    until - CHANGED_MS
}

/// It is resumed: all is delivered, once.
#[test]
fn a_resumed_tenant_gets_all_that_waits() {
    let options = RefCell::new(paused());
    let mut stage = beside_others(&options);
    options.replace(Options::default());
    stage.options_changed(0);
    let took = until_done(&mut stage);
    println!("{}", check_others(&stage, &format!("resumed, and done within {took} ms")));
    let sum = &stage.sums[0];
    assert_eq!((sum.delivered.len() as u64, sum.attempts), (WAITING, WAITING));
}

/// It is given a rate, which holds for all that waits; and is freed of it again.
#[test]
fn a_rate_holds_for_what_waits() {
    let options = RefCell::new(paused());
    let mut stage = beside_others(&options);
    options.replace(Options { rate: Some(Rate::per_second(100)), ..Options::default() });
    stage.options_changed(0);
    stage.run(CHANGED_MS + WATCHED_MS);
    let begun = stage.sums[0].attempts;
    let asked = 100 * WATCHED_MS / 1_000;
    assert!((asked - 200..=asked + 200).contains(&begun), "{begun} of {asked}");
    options.replace(Options::default());
    stage.options_changed(0);
    let took = until_done(&mut stage);
    println!(
        "{}",
        check_others(&stage, &format!("a rate for a minute, and done within {took} ms"))
    );
    assert_eq!(stage.sums[0].delivered.len() as u64, WAITING);
}

/// It is deleted: nothing more is attempted, and each event ends in the dead letters.
#[test]
fn a_deleted_tenants_events_end_in_the_dead_letters() {
    let options = RefCell::new(paused());
    let mut stage = beside_others(&options);
    stage.delete(0);
    options.replace(Options::default());
    stage.options_changed(0);
    let took = until_done(&mut stage);
    println!("{}", check_others(&stage, &format!("deleted, and done within {took} ms")));
    let sum = &stage.sums[0];
    assert_eq!((sum.dead_lettered, sum.attempts), (WAITING, 0));
}
