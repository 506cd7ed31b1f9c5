//! Forgetting what has had its time, a small batch at a time.
//!
//! Invariant: what is owed has no end and is never met here; a row goes only where its own words
//! agree with the index entry that led to it.

use posthaste_domain::Timestamp;
use posthaste_ports::PortError;

use super::Writer;
use crate::batch::Batch;
use crate::codec::{ClaimRow, EventRow, Standing};
use crate::keys::{self, Reader};
use crate::tables::{ReadError, Table, foreign_key, key_of};

impl Writer {
    /// Removes at most `max` expired events and claims; says how many.
    pub(super) fn sweep(
        &mut self,
        now: Timestamp,
        max: usize,
        batch: &mut Batch,
    ) -> Result<u64, PortError> {
        let from = keys::time(Timestamp::from_millis(self.next.expiry_low)).to_vec();
        let tables = self.shared.tables.clone();
        let view = tables.view();
        let mut swept = 0_usize;
        // Where nothing is left, the next entry is in the future: as far as anybody must look.
        let mut low = u64::MAX;
        for guard in view.range(Table::Expiry, from..) {
            let entry = key_of(Table::Expiry, guard)?;
            let ends = Reader::new(&entry).time().ok_or_else(|| foreign_key(Table::Expiry))?;
            if ends > now || swept == max {
                low = ends.as_millis();
                break;
            }
            match self.expire(&entry, ends, batch) {
                Ok(gone) => swept += usize::from(gone),
                Err(error) if error.is_damage() => {
                    self.shared.damaged(&error, &"an expired row");
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Entries of this very batch are not in the view.
        self.next.expiry_low = low.min(self.unseen_expiry_low);
        Ok(swept as u64)
    }

    /// Takes away what an index entry names, and the entry; says whether there was something.
    fn expire(&self, entry: &[u8], ends: Timestamp, batch: &mut Batch) -> Result<bool, ReadError> {
        let mut reader = Reader::new(entry);
        let kind = reader.time().and_then(|_| reader.byte());
        let name = reader.rest();
        match kind {
            Some(keys::EXPIRES_CLAIM) => {
                let claim: Option<ClaimRow> = batch.row(Table::Claims, name)?;
                batch.remove(Table::Expiry, entry);
                let over = claim.is_some_and(|claim| claim.ends == ends.as_millis());
                if over {
                    batch.remove(Table::Claims, name);
                }
                Ok(over)
            }
            Some(keys::EXPIRES_EVENT) => {
                let row: Option<EventRow> = batch.row(Table::Rows, name)?;
                let Some(row) = row.filter(|row| row.standing.ends() == Some(ends)) else {
                    batch.remove(Table::Expiry, entry);
                    return Ok(false);
                };
                self.forget(entry, name, &row, batch)?;
                Ok(true)
            }
            _ => Err(foreign_key(Table::Expiry)),
        }
    }

    /// Takes an event away from everywhere.
    fn forget(
        &self,
        entry: &[u8],
        name: &[u8],
        row: &EventRow,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        let (tenant, event) = keys::parse_event(name).ok_or_else(|| foreign_key(Table::Expiry))?;
        for n in 0..row.logged {
            batch.remove_once(Table::Log, keys::log(&tenant, event, n));
        }
        batch.remove_once(Table::Payloads, name);
        batch.remove_once(Table::Marks, keys::mark(keys::MARK_ANY, &tenant, event));
        batch.remove(Table::Rows, name);
        if matches!(row.standing, Standing::Delivered { .. }) && row.round == 0 {
            // It never was dead, and a delivered event never changes: its entry was written once.
            batch.remove_once(Table::Expiry, entry);
        } else {
            batch.remove(Table::Expiry, entry);
        }
        if let Some(mark) = super::mark_of(row.standing) {
            batch.remove(Table::Marks, keys::mark(mark, &tenant, event));
        }
        Ok(())
    }

    /// Notes that a batch has a row that ends at `ends`.
    pub(super) fn lower_expiry_low(&mut self, ends: Timestamp) {
        self.unseen_expiry_low = self.unseen_expiry_low.min(ends.as_millis());
        self.next.expiry_low = self.next.expiry_low.min(ends.as_millis());
    }
}
