//! From the store's writer to the shards: `daemon/src/inbox.rs`.
//!
//! For all orders: what was handed over is taken, or remembered as being in the store, and a
//! shard that has nothing to do but to wait for it does not sleep over it.

use std::collections::BTreeSet;
use std::time::Duration;

use posthaste_domain::{DeliveryKey, EndpointId, EventId, Owed, OwedAs, TenantId};
use posthaste_ports::{Arrival, ArrivalSink as _};
use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;

use crate::names::product;
use crate::run::prove;
use crate::tokio::time::timeout;

product!(inbox, inbox_wakes_first, inbox_wakes_who_waits, inbox_takes_in_two_steps);

fn tenant() -> TenantId {
    TenantId::try_new("acme").unwrap()
}

fn arrival(shard_key: u32, event: u128) -> Arrival {
    let event = EventId::from_u128(event);
    let key = DeliveryKey { tenant: tenant(), event, endpoint: EndpointId::DEFAULT };
    let owed =
        Owed { key, round: 0, attempts: 0, interrupted: 0, owed_as: OwedAs::Fresh, payload: None };
    Arrival { shard_key, owed }
}

/// What a shard knows of: events, and from where on it has to look in the store.
#[derive(Default)]
struct Known {
    events: BTreeSet<EventId>,
    behind: Option<EventId>,
}

impl Known {
    /// Whether it knows of all these, one way or the other.
    fn covers(&self, events: &[EventId]) -> bool {
        let is_behind = |event: &EventId| self.behind.is_some_and(|from| from <= *event);
        events.iter().all(|event| self.events.contains(event) || is_behind(event))
    }
}

macro_rules! scenario {
    ($module:ident) => {{
        fn scenario() {
            let inboxes = $module::Inboxes::new(2);
            // Event 9 of shard 0 is only ever told as being in the store.
            let expected = [vec![1, 3, 5, 7, 9], vec![2, 4, 6, 8]];
            let shards: Vec<_> = inboxes
                .shards()
                .zip(expected)
                .map(|((_, inbox), events)| {
                    let events: Vec<_> = events.into_iter().map(EventId::from_u128).collect();
                    thread::spawn(move || {
                        let mut known = Known::default();
                        while !known.covers(&events) {
                            // A turn that something else begins leaves the wait behind.
                            if thread_rng().gen_ratio(1, 4) {
                                drop(block_on(timeout(Duration::ZERO, inbox.woken())));
                            } else {
                                block_on(inbox.woken());
                            }
                            let waiting = inbox.take();
                            known.events.extend(waiting.arrived.iter().map(|owed| owed.key.event));
                            known.behind = waiting.behind.into_values().chain(known.behind).min();
                        }
                    })
                })
                .collect();
            let writer = thread::spawn({
                let inboxes = inboxes.clone();
                move || {
                    inboxes.arrived(vec![arrival(0, 1), arrival(1, 2), arrival(0, 3)]);
                    inboxes.arrived(vec![arrival(1, 4)]);
                }
            });
            let (_, first) = inboxes.shards().next().unwrap();
            first.behind(tenant(), EndpointId::DEFAULT, EventId::from_u128(9));
            inboxes.arrived(vec![arrival(0, 5), arrival(1, 6)]);
            inboxes.arrived(vec![arrival(0, 7), arrival(1, 8)]);
            writer.join().unwrap();
            shards.into_iter().for_each(|shard| shard.join().unwrap());
        }
        scenario as fn()
    }};
}

#[test]
fn every_arrival_is_taken_or_remembered() {
    let wrong = [
        ("waking before storing", scenario!(inbox_wakes_first)),
        ("waking only who waits", scenario!(inbox_wakes_who_waits)),
        ("taking in two steps", scenario!(inbox_takes_in_two_steps)),
    ];
    prove("inbox", scenario!(inbox), &wrong);
}
