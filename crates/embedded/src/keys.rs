//! How rows are named: byte strings whose order is the order that readers need.
//!
//! ```text
//! rows, payloads   event 16 | tenant 0
//! log              event 16 | tenant 0 | n 4
//! fresh            place 3 | tenant 0 | endpoint 2 | event 16
//! timers           due 8 | tenant 0 | event 16 | endpoint 2
//! marks            'A' | place 3 | tenant 0 | event 16     mark 1 | tenant 0 | event 16
//! claims           tenant 0 | key hash 32
//! expiry           ends 8 | kind 1 | event 16 | tenant 0, or tenant 0 | key hash 32
//! jobs             tenant 0 | event 16 | endpoint 2, as are their payloads
//! job index        'C' | noted 8 | job | place 12     'O' | job | place 12
//!                  'T' | due 8 | job | place 12
//! tenants          0 | tenant    1 | key hash 32    2 | tenant 0 | key hash 32    3 | setting
//! ```
//!
//! Numbers are big-endian. A tenant id has only `a-z`, `0-9` and `-`, all above 0, so that a 0
//! behind it ends it: keys of one tenant stand together where they begin with it. Fixed-width ids
//! would take 50 bytes a key where 5 to 20 do.
//!
//! What an event has stands in the order in which events were made, whosever they are (ADR 0017):
//! what is new goes to one place, so a memtable is written at its warm end, and tables on disk do
//! not overlap, so that merges move them as they are. Where each event has a row among its
//! tenant's, a hash of the tenant's name is before it. In a directory of format 1 the tenant stands
//! first: see [`Layout`].

mod layout;

use std::ops::Range;

use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, KeyHash, TenantId, TimerPosition, Timestamp,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::Place;
pub(crate) use layout::{FIRST_OF_TENANTS, Layout, Named};

/// Ends a tenant id within a key.
const END: u8 = 0;
const EVENT_LEN: usize = 16;

/// Kinds of rows that expire.
pub(crate) const EXPIRES_EVENT: u8 = 0;
/// See [`EXPIRES_EVENT`].
pub(crate) const EXPIRES_CLAIM: u8 = 1;

/// The mark of every event, as long as there is a row of it: the others stand beside it.
pub(crate) const MARK_ANY: u8 = b'A';

/// Kinds of index entries of jobs.
const CUT_OFF: u8 = b'C';
const OUTBOX: u8 = b'O';
const JOB_TIMER: u8 = b'T';
/// Behind the last timer of a job.
pub(crate) const JOB_TIMERS_END: &[u8] = &[JOB_TIMER + 1];
const PLACE_LEN: usize = 12;
/// Behind every place.
const AFTER_PLACES: [u8; PLACE_LEN] = [0xFF; PLACE_LEN];

const TENANT: u8 = 0;
const API_KEY: u8 = 1;
const OWNED_KEY: u8 = 2;
const SETTING: u8 = 3;

/// Builds a key; longest first use decides the one allocation.
struct Key(Vec<u8>);

impl Key {
    fn new() -> Self {
        Self(Vec::with_capacity(80))
    }

    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    fn tenant(mut self, tenant: &TenantId) -> Self {
        self.0.extend_from_slice(tenant.as_str().as_bytes());
        self.0.push(END);
        self
    }

    /// A tenant behind its [`place_of`].
    fn placed(self, tenant: &TenantId) -> Self {
        self.bytes(&place_of(tenant)).tenant(tenant)
    }

    fn marked(self, mark: u8, tenant: &TenantId) -> Self {
        let key = self.byte(mark);
        if mark == MARK_ANY { key.placed(tenant) } else { key.tenant(tenant) }
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn event(self, event: EventId) -> Self {
        self.bytes(&event.as_u128().to_be_bytes())
    }

    fn endpoint(self, endpoint: EndpointId) -> Self {
        self.bytes(&endpoint.as_u16().to_be_bytes())
    }

    fn job(self, key: &DeliveryKey) -> Self {
        self.tenant(&key.tenant).event(key.event).endpoint(key.endpoint)
    }

    fn place(self, place: Place) -> Self {
        self.bytes(&place.commit.to_be_bytes()).bytes(&place.n.to_be_bytes())
    }

    fn time(self, time: Timestamp) -> Self {
        self.bytes(&time.as_millis().to_be_bytes())
    }
}

/// Where a tenant stands in the keyspaces of which each event has a row somewhere in the middle: by
/// chance, so that the four bytes of a key that the store keeps beside its pointer tell tenants
/// apart whose names begin alike. Never to be changed: it is on disks.
fn place_of(tenant: &TenantId) -> [u8; 3] {
    let [a, b, c, ..] = xxh3_64(tenant.as_str().as_bytes()).to_be_bytes();
    [a, b, c]
}

/// An event's row or payload.
pub(crate) fn event(tenant: &TenantId, event: EventId) -> Vec<u8> {
    Key::new().event(event).tenant(tenant).0
}

/// The `n`-th line of an event's log.
pub(crate) fn log(tenant: &TenantId, event: EventId, n: u32) -> Vec<u8> {
    Key::new().event(event).tenant(tenant).bytes(&n.to_be_bytes()).0
}

/// A fresh delivery.
pub(crate) fn fresh(tenant: &TenantId, endpoint: EndpointId, event: EventId) -> Vec<u8> {
    Key::new().placed(tenant).endpoint(endpoint).event(event).0
}

/// An endpoint's fresh deliveries.
pub(crate) fn fresh_prefix(tenant: &TenantId, endpoint: EndpointId) -> Vec<u8> {
    Key::new().placed(tenant).endpoint(endpoint).0
}

/// A waiting retry.
pub(crate) fn timer(due: Timestamp, key: &DeliveryKey) -> Vec<u8> {
    Key::new().time(due).tenant(&key.tenant).event(key.event).endpoint(key.endpoint).0
}

/// Where the timers after a position begin: a key to be excluded.
pub(crate) fn timer_position(position: &TimerPosition) -> Vec<u8> {
    match &position.key {
        Some(key) => timer(position.due, key),
        None => position.due.as_millis().to_be_bytes().to_vec(),
    }
}

/// The beginning of what is due at `time`, in keyspaces that are ordered by time.
pub(crate) fn time(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

/// An event's mark: it stands where the event is neither fresh nor delivered.
pub(crate) fn mark(mark: u8, tenant: &TenantId, event: EventId) -> Vec<u8> {
    Key::new().marked(mark, tenant).event(event).0
}

/// A tenant's marks of one kind.
pub(crate) fn mark_prefix(mark: u8, tenant: &TenantId) -> Vec<u8> {
    Key::new().marked(mark, tenant).0
}

/// An idempotency claim.
pub(crate) fn claim(tenant: &TenantId, hash: &[u8; 32]) -> Vec<u8> {
    Key::new().tenant(tenant).bytes(hash).0
}

/// When a row goes, and which; `row` is its key in its own keyspace.
pub(crate) fn expiry(ends: Timestamp, kind: u8, row: &[u8]) -> Vec<u8> {
    Key::new().time(ends).byte(kind).bytes(row).0
}

/// A delivery's job.
pub(crate) fn job(key: &DeliveryKey) -> Vec<u8> {
    Key::new().job(key).0
}

/// A waiting job.
pub(crate) fn job_timer(due: Timestamp, key: &DeliveryKey, place: Place) -> Vec<u8> {
    Key::new().byte(JOB_TIMER).time(due).job(key).place(place).0
}

/// Where the timers of jobs after a position begin: a key to be excluded.
pub(crate) fn after_job_timer(position: &TimerPosition) -> Vec<u8> {
    let due = Key::new().byte(JOB_TIMER).time(position.due);
    match &position.key {
        Some(key) => due.job(key).bytes(&AFTER_PLACES).0,
        None => due.0,
    }
}

/// A job to be sent.
pub(crate) fn outbox(key: &DeliveryKey, place: Place) -> Vec<u8> {
    Key::new().byte(OUTBOX).job(key).place(place).0
}

/// Where the outbox after a delivery begins: a key to be excluded.
pub(crate) fn after_outbox(after: Option<&DeliveryKey>) -> Vec<u8> {
    let outbox = Key::new().byte(OUTBOX);
    match after {
        Some(key) => outbox.job(key).bytes(&AFTER_PLACES).0,
        None => outbox.0,
    }
}

/// Behind the outbox.
pub(crate) fn outbox_end() -> Vec<u8> {
    vec![OUTBOX + 1]
}

/// A cut-off job.
pub(crate) fn cut_off(at: Timestamp, key: &DeliveryKey, place: Place) -> Vec<u8> {
    Key::new().byte(CUT_OFF).time(at).job(key).place(place).0
}

/// Cut-off jobs that were noted before a time.
pub(crate) fn cut_off_range(before: Timestamp) -> Range<Vec<u8>> {
    vec![CUT_OFF]..Key::new().byte(CUT_OFF).time(before).0
}

/// All index entries of jobs.
pub(crate) fn job_index_range() -> Range<Vec<u8>> {
    vec![CUT_OFF]..JOB_TIMERS_END.to_vec()
}

/// A tenant's record.
pub(crate) fn tenant(tenant: &TenantId) -> Vec<u8> {
    Key::new().byte(TENANT).bytes(tenant.as_str().as_bytes()).0
}

/// An API key.
pub(crate) fn api_key(hash: &KeyHash) -> Vec<u8> {
    Key::new().byte(API_KEY).bytes(hash.as_bytes()).0
}

/// An API key in its owner's list.
pub(crate) fn owned_key(tenant: &TenantId, hash: &KeyHash) -> Vec<u8> {
    Key::new().byte(OWNED_KEY).tenant(tenant).bytes(hash.as_bytes()).0
}

/// All API keys of a tenant.
pub(crate) fn owned_keys(tenant: &TenantId) -> Vec<u8> {
    Key::new().byte(OWNED_KEY).tenant(tenant).0
}

/// A named setting of the process.
pub(crate) fn setting(name: &str) -> Vec<u8> {
    Key::new().byte(SETTING).bytes(name.as_bytes()).0
}

/// Reads a key from its front; `None` from any step on where it is not of our making.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn tenant(&mut self) -> Option<TenantId> {
        let end = self.0.iter().position(|byte| *byte == END)?;
        let text = str::from_utf8(&self.0[..end]).ok()?;
        self.0 = &self.0[end + 1..];
        TenantId::try_new(text).ok()
    }

    /// A tenant behind its [`place_of`].
    fn placed(&mut self) -> Option<TenantId> {
        let place = self.array()?;
        self.tenant().filter(|tenant| place_of(tenant) == place)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn event(&mut self) -> Option<EventId> {
        self.array::<EVENT_LEN>().map(|bytes| EventId::from_u128(u128::from_be_bytes(bytes)))
    }

    pub(crate) fn endpoint(&mut self) -> Option<EndpointId> {
        self.array().map(|bytes| EndpointId::from_u16(u16::from_be_bytes(bytes)))
    }

    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        self.array().map(|bytes| Timestamp::from_millis(u64::from_be_bytes(bytes)))
    }

    fn job(&mut self) -> Option<DeliveryKey> {
        let (tenant, event, endpoint) = (self.tenant()?, self.event()?, self.endpoint()?);
        Some(DeliveryKey { tenant, event, endpoint })
    }

    fn place(&mut self) -> Option<Place> {
        let (commit, n) = (self.array()?, self.array()?);
        Some(Place { commit: u64::from_be_bytes(commit), n: u32::from_be_bytes(n) })
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// The delivery that a timer's key names, and its due time.
pub(crate) fn parse_timer(key: &[u8]) -> Option<(Timestamp, DeliveryKey)> {
    let mut reader = Reader::new(key);
    let due = reader.time()?;
    let (tenant, event, endpoint) = (reader.tenant()?, reader.event()?, reader.endpoint()?);
    Some((due, DeliveryKey { tenant, event, endpoint }))
}

/// The job that a timer's index entry names, and its due time.
pub(crate) fn parse_job_timer(entry: &[u8]) -> Option<(Timestamp, DeliveryKey)> {
    let mut reader = Reader::new(entry);
    reader.byte().filter(|kind| *kind == JOB_TIMER)?;
    let (due, key) = (reader.time()?, reader.job()?);
    reader.place().map(|_| (due, key))
}

/// The job to be sent that an index entry names.
pub(crate) fn parse_outbox(entry: &[u8]) -> Option<(DeliveryKey, Place)> {
    let mut reader = Reader::new(entry);
    reader.byte().filter(|kind| *kind == OUTBOX)?;
    Some((reader.job()?, reader.place()?))
}

/// The cut-off job that an index entry names, and when it was noted.
pub(crate) fn parse_cut_off(entry: &[u8]) -> Option<(Timestamp, DeliveryKey, Place)> {
    let mut reader = Reader::new(entry);
    reader.byte().filter(|kind| *kind == CUT_OFF)?;
    Some((reader.time()?, reader.job()?, reader.place()?))
}

/// The job that any index entry names.
pub(crate) fn parse_indexed(entry: &[u8]) -> Option<DeliveryKey> {
    let timer = parse_job_timer(entry).map(|(_, key)| key);
    let cut_off = || parse_cut_off(entry).map(|(_, key, _)| key);
    timer.or_else(|| parse_outbox(entry).map(|(key, _)| key)).or_else(cut_off)
}

/// The delivery that a fresh row's key names.
pub(crate) fn parse_fresh(key: &[u8]) -> Option<DeliveryKey> {
    Layout::Current.parse_fresh(key)
}

/// The event that a mark's key names.
pub(crate) fn parse_mark(key: &[u8]) -> Option<(TenantId, EventId)> {
    Layout::Current.parse_mark(key)
}

/// What a row of the tenants' table is.
pub(crate) enum RegistryKey {
    Tenant(TenantId),
    ApiKey(KeyHash),
    /// An API key in its owner's list.
    Owned,
    Setting(String),
}

/// What a key of the tenants' table names.
pub(crate) fn parse_registry(key: &[u8]) -> Option<RegistryKey> {
    let mut reader = Reader::new(key);
    let kind = reader.byte()?;
    let hash = |bytes: &[u8]| bytes.try_into().ok().map(KeyHash::from_bytes);
    match kind {
        TENANT => {
            let id = str::from_utf8(reader.rest()).ok()?;
            TenantId::try_new(id).ok().map(RegistryKey::Tenant)
        }
        API_KEY => hash(reader.rest()).map(RegistryKey::ApiKey),
        OWNED_KEY => {
            reader.tenant()?;
            hash(reader.rest()).map(|_| RegistryKey::Owned)
        }
        SETTING => {
            let name = str::from_utf8(reader.rest()).ok()?;
            Some(RegistryKey::Setting(name.to_owned()))
        }
        _ => None,
    }
}

/// The delivery that a job's key names.
pub(crate) fn parse_job(key: &[u8]) -> Option<DeliveryKey> {
    let mut reader = Reader::new(key);
    reader.job().filter(|_| reader.rest().is_empty())
}

/// The event that a row's key names.
pub(crate) fn parse_event(key: &[u8]) -> Option<(TenantId, EventId)> {
    Layout::Current.split(key).map(|named| (named.tenant, named.event))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenants() -> impl Strategy<Value = TenantId> {
        "[a-z0-9-]{3,50}".prop_map(|text| TenantId::try_new(&text).unwrap())
    }

    fn deliveries() -> impl Strategy<Value = DeliveryKey> {
        (tenants(), any::<u128>(), any::<u16>()).prop_map(|(tenant, event, endpoint)| DeliveryKey {
            tenant,
            event: EventId::from_u128(event),
            endpoint: EndpointId::from_u16(endpoint),
        })
    }

    proptest! {
        /// For all deliveries and times: keys say what they were made of.
        #[test]
        fn keys_are_what_they_were_made_of(key in deliveries(), due: u64) {
            let due = Timestamp::from_millis(due);
            prop_assert_eq!(parse_timer(&timer(due, &key)), Some((due, key.clone())));
            let named = Some((key.tenant.clone(), key.event));
            for layout in [Layout::One, Layout::Current] {
                let row = layout.fresh(&key.tenant, key.endpoint, key.event);
                prop_assert_eq!(layout.parse_fresh(&row), Some(key.clone()));
                for kind in [7, MARK_ANY] {
                    let row = layout.mark(kind, &key.tenant, key.event);
                    prop_assert_eq!(&layout.parse_mark(&row), &named);
                }
                let name = layout.event(&key.tenant, key.event);
                let line = [&name[..], &[1, 2, 3]].concat();
                let read = layout.split(&line).unwrap();
                prop_assert_eq!((read.name, read.rest), (&name[..], 3));
                prop_assert_eq!(&Some((read.tenant, read.event)), &named);
            }
            prop_assert_eq!(&parse_event(&event(&key.tenant, key.event)), &named);
        }

        /// For all jobs: index entries say what they were made of, and positions stand between
        /// the entries of their own delivery and all that follow.
        #[test]
        fn index_entries_are_what_they_were_made_of(
            key in deliveries(), time: u64, commit: u64, n: u32,
        ) {
            let (time, place) = (Timestamp::from_millis(time), Place { commit, n });
            prop_assume!(commit < u64::MAX);
            let (timer, sent) = (job_timer(time, &key, place), outbox(&key, place));
            let cut = cut_off(time, &key, place);
            prop_assert_eq!(parse_job_timer(&timer), Some((time, key.clone())));
            prop_assert_eq!(parse_outbox(&sent), Some((key.clone(), place)));
            prop_assert_eq!(parse_cut_off(&cut), Some((time, key.clone(), place)));
            for entry in [&timer, &sent, &cut] {
                prop_assert_eq!(parse_indexed(entry), Some(key.clone()));
                prop_assert!(job_index_range().contains(entry));
            }
            let position = TimerPosition { due: time, key: Some(key.clone()) };
            prop_assert!(timer < after_job_timer(&position));
            let open = TimerPosition { due: time, key: None };
            prop_assert!(after_job_timer(&open) < timer);
            prop_assert!(sent < after_outbox(Some(&key)) && after_outbox(None) < sent);
            prop_assert!(!cut_off_range(time).contains(&cut));
        }

        /// For all pairs: the order of keys is due time, tenant, event; and an open position
        /// stands before everything at its time.
        #[test]
        fn timers_are_ordered_by_due_time(
            a in deliveries(), b in deliveries(), due_a in 0_u64..4, due_b in 0_u64..4,
        ) {
            let order = (due_a, &a.tenant, a.event, a.endpoint)
                .cmp(&(due_b, &b.tenant, b.event, b.endpoint));
            let (due_a, due_b) = (Timestamp::from_millis(due_a), Timestamp::from_millis(due_b));
            prop_assert_eq!(timer(due_a, &a).cmp(&timer(due_b, &b)), order);
            let open = timer_position(&TimerPosition { due: due_a, key: None });
            prop_assert!(open < timer(due_a, &a));
        }

        /// For all bytes: reading a key that is not ours ends in nothing, never in a panic.
        #[test]
        fn foreign_keys_are_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _read = (parse_timer(&bytes), parse_fresh(&bytes), parse_mark(&bytes));
            let _read = (parse_indexed(&bytes), parse_event(&bytes));
            let _read = Layout::One.split(&bytes).map(|named| named.rest);
            let _read = (Layout::One.parse_fresh(&bytes), Layout::One.parse_mark(&bytes));
        }

        /// For all tenants of which one id begins with the other's: their keys stay apart.
        #[test]
        fn a_tenant_is_no_prefix_of_another(one in tenants(), id: u128) {
            let longer = format!("{one}-").chars().take(50).collect::<String>();
            let other = TenantId::try_new(&longer).unwrap();
            prop_assume!(one != other);
            let id = EventId::from_u128(id);
            for kind in [7, MARK_ANY] {
                prop_assert!(!mark(kind, &other, id).starts_with(&mark_prefix(kind, &one)));
            }
            for layout in [Layout::One, Layout::Current] {
                prop_assert!(!layout.event(&other, id).starts_with(&layout.event(&one, id)));
            }
        }
    }
}
