//! Random writes: the table does what `apply` says, whatever comes.

use std::collections::BTreeMap;

use posthaste_domain::{Lease, Row, RowChange, RowKey, RowWrite, Timestamp};

use super::{Table, deliver, extend, fail, fail_last, purge, requeue};
use crate::Written;
use crate::chance::Chance;
use crate::conformance::samples::{at, die, instance};

/// Nearly the right write for a row: most conditions hold, sometimes one does not.
fn draw(chance: &mut Chance, row: &Row) -> (u32, RowChange) {
    let owners = ["a", "b", "c"];
    let index = usize::try_from(chance.below(3)).unwrap_or(0);
    let (owner, epoch, until) = match &row.lease {
        Some(Lease { owner: Some(owner), epoch, until }) if chance.below(8) > 0 => {
            (owner.as_str().to_owned(), *epoch, *until)
        }
        Some(lease) => (owners[index].to_owned(), lease.epoch, lease.until),
        None => (owners[index].to_owned(), 0, Timestamp::ZERO),
    };
    let epoch = if chance.below(10) == 0 { chance.below(4) } else { epoch };
    let attempts = if chance.below(10) == 0 { chance.small(6) + 1 } else { row.attempts + 1 };
    let until = if chance.below(10) == 0 { at(1) } else { until };
    let new_until = at(100_000 + chance.below(100_000));
    let change = match chance.below(16) {
        0 => deliver(attempts),
        1 => purge(),
        2..=3 => requeue(chance.percent(50)),
        4..=5 => die(&owner, epoch, row.attempts),
        6..=7 => fail_last(&owner, epoch, attempts),
        8 => extend(&owner, epoch),
        9..=11 => RowChange::Claim {
            owner: instance(owners[index]),
            epoch_seen: epoch,
            until_seen: until,
            until: new_until,
        },
        _ => fail(&owner, epoch, attempts),
    };
    let round = if chance.below(12) == 0 { chance.small(3) } else { row.round };
    (round, change)
}

pub(super) async fn writes_as_apply_has_them(table: Table) {
    let mut chance = Chance::new(1, 0);
    let (mut done, mut refused) = (0, 0);
    for number in 0..10 {
        let key = table.put(number).await;
        for _ in 0..25 {
            let row = table.row(&key).await.expect("the row is there");
            let (round, change) = draw(&mut chance, &row);
            match table.write(&key, round, change).await {
                true => done += 1,
                false => refused += 1,
            }
        }
    }
    assert!(done >= 40 && refused >= 40, "{done} done, {refused} refused: nothing was learned");
}

/// The same in batches, against a model that starts where the table starts.
pub(super) async fn writes_of_many_rows_as_apply_has_them(table: Table) {
    let mut chance = Chance::new(2, 0);
    let mut model: BTreeMap<RowKey, Row> = BTreeMap::new();
    for number in 0..60 {
        model.insert(table.put(number).await, Row::new());
    }
    let keys: Vec<_> = model.keys().cloned().collect();
    for step in 0..20 {
        let mut writes = Vec::new();
        let mut wanted = Vec::new();
        for (key, row) in &mut model {
            let (round, change) = draw(&mut chance, row);
            let write = RowWrite { key: key.clone(), round, change };
            wanted.push(match write.apply(row) {
                Ok(applied) => {
                    *row = applied;
                    Ok(Written::Done)
                }
                Err(_) => Ok(Written::Refused(Some(row.clone()))),
            });
            writes.push(write);
        }
        assert_eq!(table.rows().write(writes).await, wanted, "step {step}");
        let read = table.rows().read(&keys).await.expect("a read");
        let rows: Vec<_> = read.into_iter().flatten().map(|event| event.row).collect();
        assert_eq!(rows, model.values().cloned().collect::<Vec<_>>(), "step {step}");
    }
}

/// Three writers at one row, each with what it read last: whatever is acknowledged happened, and
/// in an order that `apply` allows.
pub(super) async fn racing_writers_leave_one_history(table: Table) {
    let mut chance = Chance::new(3, 0);
    let key = table.put(1).await;
    for _ in 0..30 {
        let before = table.row(&key).await.expect("the row is there");
        let draws: Vec<_> = (0..3)
            .map(|_| {
                let (round, change) = draw(&mut chance, &before);
                RowWrite { key: key.clone(), round, change }
            })
            .collect();
        let rows = table.rows();
        let one = |index: usize| rows.write(vec![draws[index].clone()]);
        let answers = tokio::join!(one(0), one(1), one(2));
        let answers = [answers.0, answers.1, answers.2].concat();
        let after = table.row(&key).await.expect("the row is there");
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let explained = orders.iter().any(|order| {
            let mut row = before.clone();
            let agrees = order.iter().all(|index| match draws[*index].apply(&row) {
                Ok(applied) => {
                    row = applied;
                    answers[*index] == Ok(Written::Done)
                }
                Err(_) => answers[*index] == Ok(Written::Refused(Some(row.clone()))),
            });
            agrees && row == after
        });
        assert!(explained, "no order explains {answers:?} to {draws:?} of {before:?}: {after:?}");
    }
}
