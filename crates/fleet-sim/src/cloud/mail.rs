//! A queue's truth: messages that come again until they are deleted, in no order, with copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::RowKey;
use posthaste_ports::Receipt;
use posthaste_protocol::EventMessage;

use crate::plan::Oddities;
use posthaste_sim::Chance;

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) body: Bytes,
    /// Whose, where it can be read, and of which round.
    pub(crate) event: Option<(RowKey, Option<u32>)>,
    pub(crate) sent_ms: u64,
    visible_ms: u64,
    receives: u32,
    /// How often a receipt was given; the last one counts.
    receipts: u64,
    deleted: bool,
    /// Whether the next receipt does not count the ones before.
    miscounts: bool,
    /// Whether it is shown although somebody has it.
    pub(crate) is_copy: bool,
    /// Whether it was deleted and has come back.
    pub(crate) has_come_back: bool,
}

/// A message as it is received.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) receipt: Receipt,
    pub(crate) letter: Letter,
    pub(crate) receives: u32,
    /// Received before its time, or after its end.
    pub(crate) is_copy: bool,
    /// Received before, and says that it was not.
    pub(crate) is_miscounted: bool,
    /// Received before one that was sent earlier.
    pub(crate) is_reordered: bool,
}

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Used {
    /// It worked; whose message it was.
    Done(Option<(RowKey, Option<u32>)>),
    /// The message is gone, or was received again since.
    Stale,
}

/// A queue.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    letters: BTreeMap<u64, Letter>,
    visible: BTreeSet<(u64, u64)>,
    /// How many messages of an event's round are not deleted.
    live: BTreeMap<(RowKey, Option<u32>), u32>,
    next: u64,
}

impl Mail {
    /// How many messages are not deleted.
    pub(crate) fn len(&self) -> usize {
        self.visible.len()
    }

    /// Whether there is a message of this round.
    pub(crate) fn has(&self, key: &RowKey, round: u32) -> bool {
        let live = |round| self.live.contains_key(&(key.clone(), round));
        live(Some(round)) || live(None)
    }

    pub(crate) fn put(&mut self, body: Bytes, ms: u64) {
        let read = EventMessage::parse(&body).ok();
        let event = read.map(|message| (message.key, message.round));
        if let Some(event) = &event {
            *self.live.entry(event.clone()).or_default() += 1;
        }
        let letter = Letter {
            body,
            event,
            sent_ms: ms,
            visible_ms: ms,
            receives: 0,
            receipts: 0,
            deleted: false,
            miscounts: false,
            is_copy: false,
            has_come_back: false,
        };
        self.visible.insert((ms, self.next));
        self.letters.insert(self.next, letter);
        self.next += 1;
    }

    /// When the next message can be seen.
    pub(crate) fn next_visible_ms(&self) -> Option<u64> {
        self.visible.first().map(|(ms, _)| *ms)
    }

    /// Shows up to `max` messages, and hides them.
    pub(crate) fn show(
        &mut self,
        (ms, hidden_ms): (u64, u64),
        max: usize,
        (odd, chance): (Option<Oddities>, &mut Chance),
    ) -> Vec<Shown> {
        let look_ahead = odd.map_or(1, |odd| odd.look_ahead.max(1));
        let mut shown = Vec::new();
        while shown.len() < max {
            let open: Vec<_> =
                self.visible.range(..=(ms, u64::MAX)).take(look_ahead).copied().collect();
            if open.is_empty() {
                break;
            }
            let at = chance.index(open.len());
            let place = open[at];
            let Some(letter) = self.letters.get_mut(&place.1) else { break };
            self.visible.remove(&place);
            letter.receives += 1;
            letter.receipts += 1;
            let is_miscounted = letter.miscounts && letter.receives > 1;
            letter.visible_ms = ms + hidden_ms;
            shown.push(Shown {
                receipt: receipt(place.1, letter.receipts),
                receives: if is_miscounted { 1 } else { letter.receives },
                is_copy: letter.is_copy,
                is_miscounted,
                is_reordered: at > 0,
                letter: letter.clone(),
            });
            (letter.miscounts, letter.is_copy) = (false, false);
            if let Some(odd) = odd
                && chance.permille(odd.copies_permille)
            {
                letter.is_copy = true;
                letter.miscounts = chance.permille(odd.miscounted_permille);
                letter.visible_ms = ms + chance.within((0, 5_000));
            }
            self.visible.insert((letter.visible_ms, place.1));
        }
        shown
    }

    /// Deletes the message of a receipt. What is deleted may be seen again at `again_ms`.
    pub(crate) fn delete(&mut self, receipt: &Receipt, again_ms: Option<u64>) -> Used {
        let Some((id, letter)) = self.find(receipt) else { return Used::Stale };
        let event = letter.event.clone();
        let was_deleted = std::mem::replace(&mut letter.deleted, true);
        letter.is_copy = true;
        letter.has_come_back = true;
        let visible_ms = letter.visible_ms;
        self.visible.remove(&(visible_ms, id));
        match again_ms {
            Some(again) if !was_deleted => {
                letter_at(&mut self.letters, id).visible_ms = again;
                self.visible.insert((again, id));
            }
            _ => {
                self.letters.remove(&id);
            }
        }
        if let Some(event) = event.as_ref().filter(|_| !was_deleted)
            && let Some(live) = self.live.get_mut(event)
        {
            *live -= 1;
            if *live == 0 {
                self.live.remove(event);
            }
        }
        Used::Done(event)
    }

    /// Hides the message of a receipt until `ms`.
    pub(crate) fn hide(&mut self, receipt: &Receipt, until_ms: u64) -> Used {
        let Some((id, letter)) = self.find(receipt) else { return Used::Stale };
        let before = std::mem::replace(&mut letter.visible_ms, until_ms);
        let event = letter.event.clone();
        self.visible.remove(&(before, id));
        self.visible.insert((until_ms, id));
        Used::Done(event)
    }

    fn find(&mut self, receipt: &Receipt) -> Option<(u64, &mut Letter)> {
        let (id, number) = receipt.0.split_once(':')?;
        let (id, number): (u64, u64) = (id.parse().ok()?, number.parse().ok()?);
        let letter = self.letters.get_mut(&id).filter(|letter| letter.receipts == number)?;
        Some((id, letter))
    }
}

fn letter_at(letters: &mut BTreeMap<u64, Letter>, id: u64) -> &mut Letter {
    letters.get_mut(&id).expect("it was found a moment ago")
}

fn receipt(id: u64, number: u64) -> Receipt {
    Receipt(Arc::from(format!("{id}:{number}")))
}
