//! What the judge knows about each event, and its verdict on requests.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use posthaste_domain::{InstanceId, RowKey, Verdict};

use super::{Judge, NOT_LEARNT};

/// An event.
#[derive(Debug)]
pub(super) struct Case {
    payload: Bytes,
    pub(super) accepted: bool,
    /// Whether the row has an owner.
    pub(super) is_owned: bool,
    pub(super) rounds: BTreeMap<u32, RoundCase>,
    /// Why it may be seen again, once each.
    pub(super) excuses: Vec<&'static str>,
    /// Duplicates so far.
    pub(super) used: usize,
    /// Attempts that a daemon's end cut off.
    pub(super) cut_off: u32,
    /// Who owned it at which round and epoch.
    pub(super) owners: BTreeMap<(u32, u64), InstanceId>,
}

/// One of its rounds.
#[derive(Debug, Default)]
pub(super) struct RoundCase {
    /// Attempts that were seen, by number.
    seen: BTreeSet<u32>,
    requests: usize,
    /// A 2xx was heard at some time.
    pub(super) taken: bool,
    /// A 2xx was heard, and has not got lost with the daemon that heard it.
    pub(super) is_heard: bool,
    /// A 410 was heard.
    pub(super) gone: bool,
    /// Messages sent.
    sent: u32,
    /// Messages of its end in the DLQ.
    pub(super) dead_letters: u32,
}

/// An attempt that is begun and whose outcome is not in the row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) round: u32,
    pub(super) number: u32,
    pub(super) since_ms: u64,
    /// Whether its outcome is known.
    pub(super) is_answered: bool,
    /// Whether it is a 2xx.
    is_taken: bool,
}

/// What a request carries.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) key: &'a RowKey,
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) payload: &'a Bytes,
}

impl Case {
    pub(super) const fn new(payload: Bytes) -> Self {
        Self {
            payload,
            accepted: false,
            is_owned: false,
            rounds: BTreeMap::new(),
            excuses: Vec::new(),
            used: 0,
            cut_off: 0,
            owners: BTreeMap::new(),
        }
    }
}

impl Judge {
    /// A daemon begins an attempt.
    pub(crate) fn begun(&mut self, daemon: usize, request: &Request<'_>, since_ms: u64) {
        let Request { round, number, .. } = *request;
        let open = Open { round, number, since_ms, is_answered: false, is_taken: false };
        self.open.insert((daemon, request.key.clone()), open);
    }

    /// A daemon knows what its attempt came to, or that there was none to speak of.
    pub(crate) fn answered(&mut self, daemon: usize, key: &RowKey, is_charged: bool) {
        let place = (daemon, key.clone());
        if !is_charged {
            self.open.remove(&place);
        } else if let Some(open) = self.open.get_mut(&place) {
            open.is_answered = true;
        }
    }

    /// An endpoint sees a request.
    pub(crate) fn reached(&mut self, request: &Request<'_>) -> Result<(), String> {
        let Request { key, round, number, payload } = *request;
        let most = self.attempts_max as usize;
        // Somebody else's: who attempts has no outcome of it that is on its way.
        let is_on_its_way =
            self.open.iter().any(|((_, its), it)| its == key && it.round == round && it.is_taken);
        let case = self.cases.get_mut(key).ok_or_else(|| format!("{key:?} was never posted"))?;
        if case.payload != *payload {
            return Err(format!("{key:?} is delivered with another payload"));
        }
        let known = case.rounds.entry(round).or_default();
        known.requests += 1;
        let is_new = known.seen.insert(number);
        if !is_new || known.is_heard {
            case.used += 1;
            self.duplicates += 1;
        }
        if is_new && known.is_heard && is_on_its_way && !case.excuses.is_empty() {
            case.excuses.push(NOT_LEARNT);
            self.excused += 1;
        }
        let (used, excuses) = (case.used, &case.excuses);
        if used > excuses.len() {
            return Err(format!(
                "attempt {number} of round {round} of {key:?} is duplicate {used}, with excuses \
                 for {excuses:?} (heard before: {})",
                known.is_heard
            ));
        }
        if number as usize > most || known.requests > most + excuses.len() {
            return Err(format!(
                "P7: {} requests, the last is attempt {number}, in round {round} of {key:?}: \
                 {most} and {excuses:?} are allowed",
                known.requests
            ));
        }
        Ok(())
    }

    /// A daemon heard what an endpoint made of it.
    pub(crate) fn heard(&mut self, daemon: usize, key: &RowKey, (round, verdict): (u32, Verdict)) {
        if let Some(open) = self.open.get_mut(&(daemon, key.clone())) {
            open.is_taken = verdict == Verdict::Delivered;
        }
        if let Some(case) = self.cases.get_mut(key) {
            let known = case.rounds.entry(round).or_default();
            known.is_heard |= verdict == Verdict::Delivered;
            known.taken |= known.is_heard;
            known.gone |= verdict == Verdict::Gone;
        }
    }

    /// A message was put into the main queue.
    pub(crate) fn sent(&mut self, key: &RowKey, round: u32) {
        let Some(case) = self.cases.get_mut(key) else { return };
        let known = case.rounds.entry(round).or_default();
        known.sent += 1;
        if known.sent > 1 {
            self.excuse(key, "a second message");
        }
    }

    /// A message was put into the DLQ.
    pub(crate) fn dead_lettered(&mut self, key: &RowKey, round: u32) {
        if let Some(case) = self.cases.get_mut(key) {
            case.rounds.entry(round).or_default().dead_letters += 1;
        }
    }
}
