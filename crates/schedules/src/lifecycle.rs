//! What ends the process early, and how shards are drained: `daemon/src/lifecycle.rs` and
//! `daemon/src/shards.rs`.

use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::names::product;
use crate::run::{prove, prove_without_time};

product!(fatal, fatal_raises_first);

macro_rules! fatal_scenario {
    ($module:ident) => {{
        fn scenario() {
            let fatal = $module::Fatal::default();
            let told: Vec<_> = (0..2)
                .map(|_| {
                    let fatal = fatal.clone();
                    thread::spawn(move || block_on(fatal.raised()))
                })
                .collect();
            let parts: Vec<_> = ["the ledger", "a shard"]
                .map(|reason| {
                    let fatal = fatal.clone();
                    thread::spawn(move || fatal.stop(reason.to_owned()))
                })
                .into();
            let told: Vec<_> = told.into_iter().map(|told| told.join().unwrap()).collect();
            parts.into_iter().for_each(|part| part.join().unwrap());
            let first = fatal.reason().unwrap();
            assert!(["the ledger", "a shard"].contains(&first.as_str()), "{first}");
            assert!(told.iter().all(|told| *told == first), "{told:?} and {first:?}");
        }
        scenario as fn()
    }};
}

/// For all orders: whoever waits for the end hears of it, and why, and it is the first reason.
#[test]
fn a_fault_is_heard_with_its_reason() {
    let wrong = [("raising before the reason is kept", fatal_scenario!(fatal_raises_first))];
    prove("fatal", fatal_scenario!(fatal), &wrong);
}

/// What `shards.rs` finds beside it: shards that do nothing but to obey, or not.
macro_rules! shards_beside {
    ($($world:ident: $module:ident),+ $(,)?) => {$(
        #[allow(dead_code, reason = "no scenario needs every nature in every world")]
        mod $world {
            use crate::names::product;

            product!($module);

            pub(super) mod shard {
                use posthaste_ports::ShardSpec;
                use shuttle::future::block_on;

                use super::$module::Order;
                use crate::tokio::sync::watch;

                #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
                pub(in super::super) struct Ended {
                    pub(in super::super) finished: usize,
                    pub(in super::super) cut_off: usize,
                }

                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub(in super::super) enum Nature {
                    Obeys,
                    NeverFinishes,
                    EndsByItself,
                    Fails,
                }

                pub(in super::super) struct Parts {
                    pub(in super::super) spec: ShardSpec,
                    pub(in super::super) order: watch::Receiver<Order>,
                    pub(in super::super) nature: Nature,
                }

                pub(super) fn run(mut parts: Parts) -> Result<Ended, &'static str> {
                    let until = match parts.nature {
                        Nature::Obeys => Order::Drain,
                        Nature::NeverFinishes => Order::Abandon,
                        Nature::EndsByItself => return Ok(Ended::default()),
                        Nature::Fails => return Err("no register"),
                    };
                    let order = block_on(parts.order.wait_for(|order| {
                        *order == until || *order == Order::Abandon
                    }));
                    let finished = usize::from(*order.unwrap() == Order::Drain);
                    Ok(Ended { finished, cut_off: 1 - finished })
                }
            }

            pub(super) fn start(
                natures: &[shard::Nature],
                fatal: &super::fatal::Fatal,
            ) -> $module::Shards {
                let order = $module::Shards::order();
                let count = u32::try_from(natures.len()).unwrap();
                let parts = (0..count).zip(natures).map(|(index, nature)| shard::Parts {
                    spec: posthaste_ports::ShardSpec { index, count },
                    order: order.subscribe(),
                    nature: *nature,
                });
                $module::Shards::start(parts.collect(), order.clone(), fatal).unwrap()
            }
        }
    )+};
}

shards_beside! {
    as_it_is: shards,
    uncounted: shards_end_uncounted,
    unnoticed: shards_end_unnoticed,
    failing_unnoticed: shards_fail_unnoticed,
    untold: shards_end_untold,
}

macro_rules! drain_scenario {
    ($world:ident, $($nature:ident),+) => {{
        fn scenario() {
            use $world::shard::Nature;
            let fatal = fatal::Fatal::default();
            let natures = [$(Nature::$nature),+];
            let shards = $world::start(&natures, &fatal);
            let ended = block_on(shards.drain(Duration::from_secs(35)));
            assert_eq!(ended.finished + ended.cut_off, natures.len(), "{ended:?}");
            let stubborn = natures.iter().filter(|nature| **nature == Nature::NeverFinishes);
            assert!(ended.cut_off >= stubborn.count(), "{ended:?}");
            assert_eq!(fatal.reason(), None, "an end that was asked for is no fault");
        }
        scenario as fn()
    }};
}

/// For all orders: a drain ends when its shards have, without any time passing, and has heard of
/// each.
#[test]
fn a_drain_hears_of_every_shard() {
    let wrong = [
        ("an end that is not counted", drain_scenario!(uncounted, Obeys, Obeys)),
        ("an end that is not told", drain_scenario!(untold, Obeys, Obeys)),
    ];
    prove_without_time("drain", drain_scenario!(as_it_is, Obeys, Obeys), &wrong);
}

/// For all orders and moments: what does not end in time is given up, and counted too.
#[test]
fn a_drain_gives_up_what_does_not_end() {
    let right = drain_scenario!(as_it_is, Obeys, NeverFinishes);
    let wrong = [("an end that is not told", drain_scenario!(untold, Obeys, NeverFinishes))];
    prove("drain in time", right, &wrong);
}

macro_rules! fault_scenario {
    ($world:ident, $nature:ident) => {{
        fn scenario() {
            use $world::shard::Nature;
            let fatal = fatal::Fatal::default();
            let shards = $world::start(&[Nature::Obeys, Nature::$nature], &fatal);
            let reason = block_on(fatal.raised());
            assert!(reason.starts_with("shard 1"), "{reason}");
            block_on(shards.handle().abandon());
        }
        scenario as fn()
    }};
}

/// For all orders: a shard that ends although nobody told it to ends the process.
#[test]
fn a_shard_that_ends_by_itself_is_noticed() {
    let wrong = [("not looking at the order", fault_scenario!(unnoticed, EndsByItself))];
    prove_without_time("shards", fault_scenario!(as_it_is, EndsByItself), &wrong);
    let wrong = [("not telling of a failure", fault_scenario!(failing_unnoticed, Fails))];
    prove_without_time("shards that fail", fault_scenario!(as_it_is, Fails), &wrong);
}
