//! Who a key belongs to, remembered for a while so that the store is not asked on every request.
//!
//! Invariants: bounded, whatever clients send; refusals and acceptances are kept apart, so that
//! somebody who tries keys cannot push out the good ones; once [`AuthCache::invalidate`] has
//! returned, no answer that was read before it is served or kept.

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use posthaste_domain::{KeyHash, TenantId, Timestamp};

/// Locks: enough that threads seldom meet.
const SHARDS: usize = 16;
/// Keys remembered by default: a hundred bytes each.
const KEYS_MAX_DEFAULT: usize = 65_536;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// A live key of this tenant.
    Tenant(TenantId),
    /// A key that was never made, or that was revoked.
    Refused,
}

/// Remembers who a key belongs to, by the key's SHA-256. Share it by `Arc`.
#[derive(Debug)]
pub struct AuthCache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    /// Grows with every invalidation; an answer read under an older number is not kept.
    invalidations: u64,
    tenants: Generations,
    refusals: Generations,
}

/// What [`AuthCache::lookup`] found.
#[derive(Debug)]
pub(crate) enum Lookup {
    Hit(Known),
    /// Nothing; the number belongs to [`AuthCache::remember`].
    Miss(u64),
}

impl AuthCache {
    /// A cache of at most `keys_max` keys, and as many refusals.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        let half = (keys_max / SHARDS / 2).max(1);
        let shard = || {
            let (tenants, refusals) = (Generations::new(half), Generations::new(half));
            Mutex::new(Shard { invalidations: 0, tenants, refusals })
        };
        Self { shards: std::array::from_fn(|_| shard()) }
    }

    /// Forgets a key: the next request that shows it asks the store.
    pub fn invalidate(&self, key: &KeyHash) {
        let mut shard = self.shard(key);
        shard.invalidations += 1;
        shard.tenants.forget(key);
        shard.refusals.forget(key);
    }

    /// What is known of a key at `now`.
    pub(crate) fn lookup(&self, key: &KeyHash, now: Timestamp) -> Lookup {
        let mut shard = self.shard(key);
        let known = shard.tenants.at(key, now).or_else(|| shard.refusals.at(key, now));
        known.map_or(Lookup::Miss(shard.invalidations), Lookup::Hit)
    }

    /// The number that an answer read from now on must carry to [`AuthCache::remember`].
    pub(crate) fn before_read(&self, key: &KeyHash) -> u64 {
        self.shard(key).invalidations
    }

    /// Keeps an answer until `expires`, unless something was invalidated since `before`.
    pub(crate) fn remember(&self, key: KeyHash, known: Known, expires: Timestamp, before: u64) {
        let mut shard = self.shard(&key);
        if shard.invalidations != before {
            return;
        }
        match known {
            Known::Tenant(_) => {
                shard.refusals.forget(&key);
                shard.tenants.keep(key, known, expires);
            }
            Known::Refused => {
                shard.tenants.forget(&key);
                shard.refusals.keep(key, known, expires);
            }
        }
    }

    fn shard(&self, key: &KeyHash) -> MutexGuard<'_, Shard> {
        let index = usize::from(key.as_bytes()[0]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AuthCache {
    fn default() -> Self {
        Self::new(KEYS_MAX_DEFAULT)
    }
}

/// Two maps: when the young one is full, the old one is dropped and the young one grows old.
/// Cheaper than an exact order of use, and what is used survives.
#[derive(Debug)]
struct Generations {
    // Invariant: neither map has more than `half` entries.
    half: usize,
    young: HashMap<KeyHash, (Known, Timestamp)>,
    old: HashMap<KeyHash, (Known, Timestamp)>,
}

impl Generations {
    fn new(half: usize) -> Self {
        Self { half, young: HashMap::new(), old: HashMap::new() }
    }

    fn at(&mut self, key: &KeyHash, now: Timestamp) -> Option<Known> {
        if let Some((known, expires)) = self.young.get(key) {
            return (now < *expires).then(|| known.clone());
        }
        let (known, expires) = self.old.remove(key)?;
        self.keep(*key, known.clone(), expires);
        (now < expires).then_some(known)
    }

    fn keep(&mut self, key: KeyHash, known: Known, expires: Timestamp) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, (known, expires));
    }

    fn forget(&mut self, key: &KeyHash) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);
    const LATER: Timestamp = Timestamp::from_millis(2000);

    fn key(n: u32) -> KeyHash {
        let mut bytes = [0; 32];
        bytes[28..].copy_from_slice(&n.to_be_bytes());
        KeyHash::from_bytes(bytes)
    }

    fn tenant() -> Known {
        Known::Tenant(TenantId::try_new("acme").unwrap())
    }

    fn known(cache: &AuthCache, n: u32, now: Timestamp) -> Option<Known> {
        match cache.lookup(&key(n), now) {
            Lookup::Hit(known) => Some(known),
            Lookup::Miss(_) => None,
        }
    }

    #[test]
    fn an_answer_is_good_until_it_expires() {
        let cache = AuthCache::default();
        cache.remember(key(1), tenant(), LATER, 0);
        cache.remember(key(2), Known::Refused, LATER, 0);
        assert_eq!(known(&cache, 1, Timestamp::from_millis(1999)), Some(tenant()));
        assert_eq!(known(&cache, 2, Timestamp::from_millis(1999)), Some(Known::Refused));
        assert_eq!(known(&cache, 1, LATER), None);
        assert_eq!(known(&cache, 2, LATER), None);
    }

    /// A read that began before a revocation must not bring the key back.
    #[test]
    fn an_answer_read_before_an_invalidation_is_not_kept() {
        let cache = AuthCache::default();
        let before = cache.before_read(&key(1));
        cache.invalidate(&key(1));
        cache.remember(key(1), tenant(), LATER, before);
        assert_eq!(known(&cache, 1, NOW), None);
    }

    /// For all floods of refusals: the size stays bounded and the good keys stay.
    #[test]
    fn a_flood_of_refusals_is_bounded_and_pushes_out_no_good_key() {
        let cache = AuthCache::new(64);
        cache.remember(key(0), tenant(), LATER, 0);
        for n in 1..10_000 {
            cache.remember(key(n), Known::Refused, LATER, 0);
        }
        assert_eq!(known(&cache, 0, NOW), Some(tenant()));
        let held: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let refusals = &shard.lock().unwrap().refusals;
                refusals.young.len() + refusals.old.len()
            })
            .sum();
        assert!(held <= 64, "{held}");
    }

    /// What is asked for again and again outlives what was asked for once.
    #[test]
    fn keys_in_use_survive_new_ones() {
        let cache = AuthCache::new(64);
        cache.remember(key(0), tenant(), LATER, 0);
        for n in 1..1000 {
            cache.remember(key(n), tenant(), LATER, 0);
            assert_eq!(known(&cache, 0, NOW), Some(tenant()), "{n}");
        }
    }
}
