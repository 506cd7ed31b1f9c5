//! AWS mode's hand-overs: `crates/courier/src/batcher.rs` (the outbox, deletions, dead letters)
//! and `crates/courier/src/polls.rs` (intake).

use std::time::Duration;

use posthaste_ports::QUEUE_BATCH_MAX;
use shuttle::future::block_on;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::names::product;
use crate::run::{prove, prove_without_time};

product!(batcher, batcher_tells_first, batcher_ends_untold, batcher_looks_first);
product!(batcher_counts_late, batcher_looks_in_two_steps);
product!(polls, polls_look_first, polls_end_untold);

const LINGER: Duration = Duration::from_millis(5);

macro_rules! takers_scenario {
    ($module:ident) => {{
        fn scenario() {
            let batcher = Arc::new($module::Batcher::new(1, LINGER));
            let done = Arc::new(Mutex::new(Vec::new()));
            let takers: Vec<_> = (0..2)
                .map(|_| {
                    let (batcher, done) = (batcher.clone(), done.clone());
                    thread::spawn(move || {
                        let batch = block_on(batcher.take());
                        done.lock().unwrap().extend(batch.items.iter().copied());
                    })
                })
                .collect();
            let pusher = {
                let batcher = batcher.clone();
                thread::spawn(move || batcher.push([1]))
            };
            batcher.push([2]);
            pusher.join().unwrap();
            takers.into_iter().for_each(|taker| taker.join().unwrap());
            let mut done = done.lock().unwrap().clone();
            done.sort_unstable();
            assert_eq!(done, [1, 2]);
        }
        scenario as fn()
    }};
}

/// For all orders: everything that waits is taken, once, and nobody sleeps over it.
#[test]
fn what_is_pushed_is_taken() {
    let wrong = [("telling before it is there", takers_scenario!(batcher_tells_first))];
    // A linger ends by time alone, and nobody else may depend on one.
    prove("batcher", takers_scenario!(batcher), &wrong);
}

macro_rules! idle_scenario {
    ($module:ident) => {{
        fn scenario() {
            let batcher = Arc::new($module::Batcher::new(2, LINGER));
            let done = Arc::new(Mutex::new(Vec::new()));
            // Both in one batch, so that nothing waits while it is on its way.
            batcher.push([1, 2]);
            let taker = {
                let (batcher, done) = (batcher.clone(), done.clone());
                thread::spawn(move || {
                    let mut has_failed = false;
                    while done.lock().unwrap().len() < 2 {
                        let mut batch = block_on(batcher.take());
                        let mut items = std::mem::take(&mut batch.items);
                        // The first write of all fails, and goes back before the batch ends.
                        if !has_failed {
                            batcher.push(items.pop());
                            has_failed = true;
                        }
                        done.lock().unwrap().extend(items);
                    }
                })
            };
            block_on(batcher.idle());
            assert_eq!(done.lock().unwrap().len(), 2, "idle, and something waits");
            taker.join().unwrap();
        }
        scenario as fn()
    }};
}

/// For all orders: a stop that waits until nothing waits and nothing is on its way does so, and
/// wakes up.
#[test]
fn idle_is_when_everything_is_done() {
    let wrong = [
        ("an end that is not told", idle_scenario!(batcher_ends_untold)),
        ("looking before enrolling", idle_scenario!(batcher_looks_first)),
        ("counting a batch after it was taken", idle_scenario!(batcher_counts_late)),
        ("looking in two steps", idle_scenario!(batcher_looks_in_two_steps)),
    ];
    prove("idle", idle_scenario!(batcher), &wrong);
}

macro_rules! polls_scenario {
    ($module:ident) => {{
        fn scenario() {
            let polls = Arc::new($module::Polls::new(3));
            let loops: Vec<_> = (0..3)
                .map(|index| {
                    let polls = polls.clone();
                    thread::spawn(move || {
                        block_on(polls.turn(index));
                        let _going = polls.begin();
                        // Full, so that there is one more.
                        polls.brought(QUEUE_BATCH_MAX);
                    })
                })
                .collect();
            block_on(polls.turn(2));
            assert_eq!(polls.wanted(), 3);
            loops.into_iter().for_each(|poll| poll.join().unwrap());
            block_on(polls.idle());
        }
        scenario as fn()
    }};
}

macro_rules! polls_idle_scenario {
    ($module:ident) => {{
        fn scenario() {
            let polls = Arc::new($module::Polls::new(3));
            let going = polls.begin();
            let ended = Arc::new(Mutex::new(false));
            let poll = {
                let (polls, ended) = (polls.clone(), ended.clone());
                thread::spawn(move || {
                    let more = polls.begin();
                    *ended.lock().unwrap() = true;
                    drop(more);
                })
            };
            let waits = {
                let polls = polls.clone();
                thread::spawn(move || block_on(polls.idle()))
            };
            poll.join().unwrap();
            drop(going);
            waits.join().unwrap();
            assert!(*ended.lock().unwrap());
        }
        scenario as fn()
    }};
}

/// For all orders: as many loops poll as are wanted, and none sleeps over its turn.
#[test]
fn every_loop_gets_its_turn() {
    let wrong = [("looking before enrolling", polls_scenario!(polls_look_first))];
    prove_without_time("polls", polls_scenario!(polls), &wrong);
}

/// For all orders: the end of the intake is heard of.
#[test]
fn the_end_of_intake_is_heard_of() {
    let wrong = [("an end that is not told", polls_idle_scenario!(polls_end_untold))];
    prove_without_time("intake", polls_idle_scenario!(polls), &wrong);
}
