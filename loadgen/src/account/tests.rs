//! The account against events in every order, and against sinks that cheat.

use proptest::prelude::*;

use super::*;

fn account() -> Account {
    Account::new(2, 1_000)
}

#[test]
fn everything_delivered_adds_up_and_costs_nothing() {
    let mut account = account();
    let count = PAGE_EVENTS * 3;
    for event in 0..count {
        account.sent(event);
        account.accepted(event, 0);
        assert_eq!(account.delivered(event, 0, 10), Delivery::First);
    }
    let totals = account.totals();
    assert_eq!((totals.accepted, totals.delivered, totals.missing), (count, count, 0));
    assert!(totals.adds_up());
    assert_eq!(account.page_bytes(), 0, "full pages are only marks");
    assert_eq!(account.delivered(PAGE_EVENTS, 0, 10), Delivery::Duplicate, "and still exact");
}

/// A day at 200 events/s: 17,280,000 events. At worst one of each page is never delivered, and
/// each page stays: a quarter of a byte an event. Where only the last ones are on their way, the
/// day before them costs nothing.
#[test]
fn a_day_costs_a_quarter_of_a_byte_an_event_at_worst() {
    const EVENTS: u64 = 200 * 86_400;
    let day = |is_stuck: fn(u64) -> bool| {
        let mut account = account();
        for event in 0..EVENTS {
            account.sent(event);
            account.accepted(event, 0);
            if !is_stuck(event) {
                account.delivered(event, 0, 10);
            }
        }
        (account.page_bytes(), account.totals().missing)
    };
    let (worst, open) = day(|event| event.is_multiple_of(PAGE_EVENTS));
    assert_eq!(open, EVENTS.div_ceil(PAGE_EVENTS));
    assert_eq!(worst, EVENTS.div_ceil(PAGE_EVENTS) * PAGE_EVENTS / 4);
    assert!(worst < 4_330_000, "{worst}");
    let (usual, open) = day(|event| event >= EVENTS - 200);
    assert_eq!((usual, open), (PAGE_EVENTS / 4, 200), "the last page only");
    // What else grows by the hour: an interval every ten seconds.
    let intervals = 8_640 * size_of::<crate::record::Interval>();
    assert!(intervals < 8_000_000, "{intervals}");
}

/// A sink that loses, doubles or alters one delivery in 100,000: caught, wherever it is.
#[test]
fn one_fault_in_a_hundred_thousand_is_caught_every_time() {
    const EVENTS: u64 = 100_000;
    for round in 0..20 {
        let victim = crate::chance::mix(99, round) % EVENTS;
        for fault in ["drop", "double", "alter"] {
            let mut account = account();
            for event in 0..EVENTS {
                account.sent(event);
                account.accepted(event, 1);
                match fault {
                    _ if event != victim => _ = account.delivered(event, 1, 5),
                    "double" => {
                        account.delivered(event, 1, 5);
                        account.delivered(event, 1, 5);
                    }
                    // The check refuses an altered one: it is faulty, and not delivered.
                    "alter" => account.faulty(),
                    _ => {}
                }
            }
            let totals = account.totals();
            match fault {
                "drop" => assert_eq!((totals.missing, account.missing(9)), (1, vec![victim])),
                "double" => assert_eq!((totals.missing, totals.duplicated), (0, 1)),
                _ => assert_eq!((totals.missing, totals.faulty), (1, 1)),
            }
            assert_eq!(totals.adds_up(), fault == "double", "{fault}");
        }
    }
}

#[test]
fn events_without_a_201_stand_apart() {
    let mut account = account();
    for event in 0..4 {
        account.sent(event);
    }
    account.accepted(0, 0);
    account.delivered(0, 0, 1);
    account.delivered(1, 0, 1);
    let totals = account.totals();
    assert_eq!((totals.unknown, totals.unknown_delivered, totals.missing), (3, 1, 0));
    assert!(totals.adds_up());
    // Its 201 was only slow.
    account.accepted(1, 0);
    let totals = account.totals();
    assert_eq!((totals.unknown, totals.unknown_delivered, totals.delivered), (2, 0, 2));
}

#[test]
fn what_the_system_owes_is_not_missing() {
    let mut account = account();
    for event in 0..4 {
        account.sent(event);
        account.accepted(event, 0);
    }
    assert_eq!(account.totals().missing, 4);
    assert!(account.reported(0, Fate::Owed));
    assert!(account.reported(1, Fate::DeadLettered));
    assert!(!account.reported(1, Fate::Owed), "terminal is final");
    assert!(!account.reported(9, Fate::Owed), "never sent");
    let totals = account.totals();
    assert_eq!((totals.owed, totals.dead_lettered, totals.missing), (1, 1, 2));
    assert_eq!(account.missing(10), [2, 3]);
    account.delivered(0, 0, 1);
    let totals = account.totals();
    assert_eq!((totals.owed, totals.delivered, totals.missing), (0, 1, 2), "delivered after all");
}

#[test]
fn strangers_and_latecomers_are_seen() {
    let mut account = account();
    account.sent(0);
    assert_eq!(account.delivered(u64::MAX, 0, 1), Delivery::Foreign);
    assert_eq!(account.page_bytes(), 0, "a stranger's number buys no memory");
    account.delivered(0, 0, 1_001);
    assert_eq!((account.totals().late, account.totals().foreign), (1, 1));
}

proptest! {
    /// For all orders in which 201s and deliveries come: the sums are those of a plain table.
    #[test]
    fn sums_do_not_depend_on_the_order(
        steps in proptest::collection::vec((any::<bool>(), 0_u64..40, 0_u32..2), 0..200)
    ) {
        let mut account = account();
        for event in 0..40 {
            account.sent(event);
        }
        let (mut accepted, mut delivered) = (BTreeSet::new(), BTreeSet::new());
        let mut duplicates = 0;
        for (is_delivery, event, _) in steps {
            let tenant = u32::try_from(event % 2).unwrap();
            if is_delivery {
                let first = delivered.insert(event);
                duplicates += u64::from(!first);
                let seen = account.delivered(event, tenant, 1);
                prop_assert_eq!(seen == Delivery::First, first);
            } else {
                accepted.insert(event);
                account.accepted(event, tenant);
            }
        }
        let totals = account.totals();
        let both = accepted.intersection(&delivered).count() as u64;
        prop_assert_eq!(totals.accepted, accepted.len() as u64);
        prop_assert_eq!(totals.delivered, both);
        prop_assert_eq!(totals.missing, accepted.difference(&delivered).count() as u64);
        prop_assert_eq!(totals.unknown_delivered, delivered.difference(&accepted).count() as u64);
        prop_assert_eq!(totals.duplicated, duplicates);
        let settled: u64 = account.tenants().iter().map(|count| count.settled).sum();
        prop_assert_eq!(settled, both);
    }
}
