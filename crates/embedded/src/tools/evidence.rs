//! Where events stand, by what finds them: asked where a row is lost, or older than it was.
//!
//! A damaged table can cost the newest write of a row, and an older one comes to light. What finds
//! the event has tables of its own. In doubt an event is owed: one that is delivered again is met
//! by receivers that know its id, one that is owed by nobody is lost.

use std::collections::HashMap;

use posthaste_domain::{DeadLetterCause, DeliveryKey, Verdict};
use posthaste_ports::{DELIVERED_KEPT_MS, LoggedAttempt};

use super::events::Gathered;
use crate::codec::{self, EventRow, FreshRow, Standing, TimerRow, cause_number};
use crate::keys::{self, Reader};
use crate::raw::{RawStore, Told};
use crate::tables::Table;
use crate::writer::{MARK_DEAD, MARK_PURGED};

/// What finds an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    fresh: Option<FreshRow>,
    timer: Option<(u64, TimerRow)>,
    is_dead: bool,
    is_purged: bool,
    ends: Option<u64>,
}

/// What finds each event, by its row's key.
#[derive(Default)]
pub(crate) struct Evidence(HashMap<Vec<u8>, Found>);

impl Evidence {
    /// Reads everything that finds an event.
    pub(crate) fn read(store: &RawStore) -> Self {
        let untold = Told::nobody();
        let mut evidence = Self::default();
        let layout = store.layout();
        for (key, value) in store.rows(Table::Fresh, &untold) {
            if let (Some(key), Ok(row)) = (layout.parse_fresh(&key), codec::decode(&value)) {
                evidence.of(&key).fresh = Some(row);
            }
        }
        for (key, value) in store.rows(Table::Timers, &untold) {
            if let (Some((due, key)), Ok(row)) = (keys::parse_timer(&key), codec::decode(&value)) {
                let found = evidence.of(&key);
                let later = |(_, known): &(u64, TimerRow)| reached(known) < reached(&row);
                if found.timer.as_ref().is_none_or(later) {
                    found.timer = Some((due.as_millis(), row));
                }
            }
        }
        for (key, _) in store.rows(Table::Marks, &untold) {
            let Some((tenant, event)) = layout.parse_mark(&key) else { continue };
            let found = evidence.0.entry(keys::event(&tenant, event)).or_default();
            match key.first() {
                Some(&MARK_DEAD) => found.is_dead = true,
                Some(&MARK_PURGED) => found.is_purged = true,
                _ => {}
            }
        }
        for (key, _) in store.rows(Table::Expiry, &untold) {
            let mut reader = Reader::new(&key);
            let (ends, kind) = (reader.time(), reader.byte());
            if let (Some(ends), Some(keys::EXPIRES_EVENT)) = (ends, kind) {
                let Some(named) = layout.split(reader.rest()) else { continue };
                let name = keys::event(&named.tenant, named.event);
                evidence.0.entry(name).or_default().ends = Some(ends.as_millis());
            }
        }
        evidence
    }

    fn of(&mut self, key: &DeliveryKey) -> &mut Found {
        self.0.entry(keys::event(&key.tenant, key.event)).or_default()
    }

    /// Takes what finds an event.
    pub(crate) fn take(&mut self, name: &[u8]) -> Found {
        self.0.remove(name).unwrap_or_default()
    }

    /// The keys of events that nobody took, which have neither a row nor a payload.
    pub(crate) fn left(self) -> Vec<Vec<u8>> {
        let mut left: Vec<_> = self.0.into_keys().collect();
        left.sort();
        left
    }
}

const fn reached(timer: &TimerRow) -> (u32, u32) {
    (timer.round, timer.attempts)
}

impl Found {
    /// The row of an event, as far as all that there is of it tells; whether it was made up.
    pub(crate) fn row_of(&self, gathered: &Gathered) -> (EventRow, bool) {
        // Those that are left are counted anew.
        let lines = u32::try_from(gathered.log.len()).unwrap_or(u32::MAX);
        match gathered.row.whole() {
            Some(row) => match self.owed().filter(|owed| is_newer(owed, row)) {
                Some(owed) => (EventRow { logged: lines, ..owed }, true),
                None => (EventRow { logged: lines, ..*row }, false),
            },
            None => {
                let last = gathered.log.last_key_value();
                let last = last.and_then(|(_, line)| line.clone().attempt().ok());
                let row = self.owed().unwrap_or_else(|| self.ended(last.as_ref()));
                let last_attempt_at = last.map(|last| last.attempt.at.as_millis());
                (EventRow { logged: lines, last_attempt_at, ..row }, true)
            }
        }
    }

    /// The row of an event that is owed by what finds it.
    fn owed(&self) -> Option<EventRow> {
        let fresh = self.fresh.map(|FreshRow { round, interrupted }| EventRow {
            round,
            interrupted,
            rewritten: true,
            ..EventRow::accepted()
        });
        let timer = self.timer.map(|(due, TimerRow { round, attempts, interrupted, .. })| {
            let standing = Standing::Timer { due };
            let row = EventRow { standing, round, attempts, interrupted, ..EventRow::accepted() };
            EventRow { rewritten: true, ..row }
        });
        match (fresh, timer) {
            (Some(fresh), Some(timer)) if is_newer(&timer, &fresh) => Some(timer),
            (fresh, timer) => fresh.or(timer),
        }
    }

    /// The row of an event that nothing owes; owed afresh where nothing says that it has ended.
    fn ended(&self, last: Option<&LoggedAttempt>) -> EventRow {
        let verdict = last.map(|last| last.attempt.verdict);
        let at = last.map_or(0, |last| last.attempt.at.as_millis());
        let row = EventRow {
            round: last.map_or(0, |last| last.round),
            attempts: last.map_or(0, |last| last.attempt.number),
            rewritten: true,
            ..EventRow::accepted()
        };
        let standing = match self.ends {
            Some(ends) if self.is_purged => Standing::Purged { ends },
            Some(ends) if self.is_dead => {
                let gone = verdict == Some(Verdict::Gone);
                let causes = [DeadLetterCause::AttemptsExhausted, DeadLetterCause::Gone];
                Standing::Dead { cause: cause_number(causes[usize::from(gone)]), at, ends }
            }
            Some(ends) => Standing::Delivered { ends },
            None if verdict == Some(Verdict::Delivered) => {
                Standing::Delivered { ends: at.saturating_add(DELIVERED_KEPT_MS) }
            }
            // As a requeue begins it, where it was attempted before.
            None => {
                let round = row.round.saturating_add(u32::from(last.is_some()));
                return EventRow { round, attempts: 0, ..row };
            }
        };
        EventRow { standing, ..row }
    }
}

/// Whether what owes an event is of a later step than its row.
const fn is_newer(owed: &EventRow, row: &EventRow) -> bool {
    owed.round > row.round || (owed.round == row.round && owed.attempts > row.attempts)
}
