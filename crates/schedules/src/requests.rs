//! What the requests of all threads share: `crates/api/src/auth/cache.rs`, `receiver/replays.rs`,
//! `quota.rs` and the budget of `body.rs`.

use std::num::NonZeroU32;

use posthaste_domain::{KeyHash, TenantId, Timestamp};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::names::product;
use crate::run::prove;

product!(auth_cache, auth_cache_keeps_all, auth_cache_counts_nothing);
product!(replays, replays_admit_in_two_steps);
product!(quota, quota_takes_in_two_steps);
product!(budget, budget_takes_in_two_steps);

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LATER: Timestamp = NOW.plus_millis(300_000);

fn acme() -> TenantId {
    TenantId::try_new("acme").unwrap()
}

macro_rules! revoke_scenario {
    ($module:ident) => {{
        fn scenario() {
            use $module::{AuthCache, Known, Lookup};
            let key = KeyHash::from_bytes([7; 32]);
            let cache = Arc::new(AuthCache::new(64));
            let (live, revoked) = (Arc::new(Mutex::new(true)), Arc::new(AtomicBool::new(false)));
            let requests: Vec<_> = (0..2)
                .map(|_| {
                    let (cache, live, revoked) = (cache.clone(), live.clone(), revoked.clone());
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let was_revoked = revoked.load(Ordering::SeqCst);
                            // As `App::caller` does it.
                            let known = match cache.lookup(&key, NOW) {
                                Lookup::Hit(known) => known,
                                Lookup::Miss(before) => {
                                    let live = *live.lock().unwrap();
                                    let known =
                                        if live { Known::Tenant(acme()) } else { Known::Refused };
                                    cache.remember(key, known.clone(), LATER, before);
                                    known
                                }
                            };
                            let passes = known != Known::Refused;
                            assert!(!(was_revoked && passes), "a revoked key opens");
                        }
                    })
                })
                .collect();
            // As `revoke_key` does it: the store first, then the cache, then the answer.
            *live.lock().unwrap() = false;
            cache.invalidate(&key);
            revoked.store(true, Ordering::SeqCst);
            requests.into_iter().for_each(|request| request.join().unwrap());
            let known = matches!(cache.lookup(&key, NOW), Lookup::Hit(Known::Tenant(_)));
            assert!(!known, "a revoked key is remembered");
        }
        scenario as fn()
    }};
}

/// For all orders: once a key's revocation is answered, it opens nothing.
#[test]
fn a_revoked_key_stops() {
    let wrong = [
        ("keeping what was read before", revoke_scenario!(auth_cache_keeps_all)),
        ("not counting invalidations", revoke_scenario!(auth_cache_counts_nothing)),
    ];
    prove("auth cache", revoke_scenario!(auth_cache), &wrong);
}

/// What a message is known by, as `receiver/verify.rs` has it.
#[derive(Clone, Copy, Debug)]
struct Identity {
    plain: u128,
    named: Option<u128>,
}

macro_rules! replay_scenario {
    ($module:ident) => {{
        fn scenario() {
            let replays = Arc::new($module::Replays::new(64));
            let copies: Vec<_> = (0..3)
                .map(|_| {
                    let replays = replays.clone();
                    let message = Identity { plain: 7, named: Some(8) };
                    thread::spawn(move || replays.admit(&message, NOW))
                })
                .collect();
            let admitted = copies.into_iter().map(|copy| copy.join().unwrap());
            assert_eq!(admitted.filter(|admitted| *admitted).count(), 1);
        }
        scenario as fn()
    }};
}

/// For all orders: of copies that come at once, one is taken.
#[test]
fn a_message_is_taken_once() {
    let wrong = [("looking and noting in two steps", replay_scenario!(replays_admit_in_two_steps))];
    prove("replays", replay_scenario!(replays), &wrong);
}

/// What `quota.rs` refuses with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    OverQuota { retry_after_s: u64 },
}

macro_rules! quota_scenario {
    ($module:ident) => {{
        fn scenario() {
            let quota = Arc::new($module::Quota::new(NonZeroU32::new(2).unwrap()));
            let requests: Vec<_> = (0..3)
                .map(|_| {
                    let quota = quota.clone();
                    thread::spawn(move || quota.take(&acme(), 1, NOW))
                })
                .collect();
            let answers = requests.into_iter().map(|request| request.join().unwrap());
            let refused = answers.filter_map(Result::err).collect::<Vec<_>>();
            assert_eq!(refused, [Refusal::OverQuota { retry_after_s: 1 }]);
        }
        scenario as fn()
    }};
}

/// For all orders: of three events at once, a quota of two lets two through.
#[test]
fn a_quota_is_kept() {
    let wrong = [("looking and taking in two steps", quota_scenario!(quota_takes_in_two_steps))];
    prove("quota", quota_scenario!(quota), &wrong);
}

/// What `body.rs` turns a body down with, when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy;

macro_rules! budget_scenario {
    ($module:ident) => {{
        fn scenario() {
            let budget = Arc::new($module::Budget::new(3));
            let bodies: Vec<_> = (0..3)
                .map(|_| {
                    let budget = budget.clone();
                    thread::spawn(move || {
                        let mut share = $module::Share { budget: &*budget, bytes: 0 };
                        share.grow(1).is_ok() && share.grow(1).is_ok()
                    })
                })
                .collect();
            bodies.into_iter().for_each(|body| {
                body.join().unwrap();
            });
            // All of it has been given back, and no more.
            let mut whole = $module::Share { budget: &*budget, bytes: 0 };
            assert_eq!((whole.grow(3), whole.grow(1)), (Ok(()), Err(Busy)));
        }
        scenario as fn()
    }};
}

/// For all orders: what bodies take together is what there is, and it all comes back.
#[test]
fn a_budget_is_kept() {
    let wrong = [("looking and taking in two steps", budget_scenario!(budget_takes_in_two_steps))];
    prove("budget", budget_scenario!(budget), &wrong);
}
