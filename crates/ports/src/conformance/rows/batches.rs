//! Many writes in one call, repeats, and texts that want to be more.

use bytes::Bytes;
use posthaste_domain::{RESPONSE_KEPT_BYTES_MAX, RowChange, RowKey, RowWrite};

use super::{Table, claim, deliver, extend, fail, fail_last, purge, requeue};
use crate::Written;
use crate::conformance::samples::{at, die, instance};

fn of(key: &RowKey, change: RowChange) -> RowWrite {
    RowWrite { key: key.clone(), round: 0, change }
}

pub(super) async fn nothing_in_nothing_out(table: Table) {
    assert_eq!(table.rows().write(Vec::new()).await, Vec::new());
}

pub(super) async fn answers_come_in_order(table: Table) {
    let mut keys = Vec::new();
    for number in 0..12 {
        keys.push(table.put(number).await);
    }
    // Every third is refused, the last one does not exist.
    let change = |index| fail("a", u64::from(index % 3 == 0), 1);
    let mut writes: Vec<_> =
        keys.iter().enumerate().map(|(index, key)| of(key, change(index))).collect();
    writes.push(of(&table.key(99), deliver(1)));
    let answers = table.rows().write(writes).await;
    assert_eq!(answers.len(), 13);
    for (index, answer) in answers[..12].iter().enumerate() {
        let done = *answer == Ok(Written::Done);
        assert_eq!(done, index % 3 != 0, "{index}: {answer:?}");
    }
    assert_eq!(answers[12], Ok(Written::Refused(None)));
}

pub(super) async fn a_hundred_and_one_rows(table: Table) {
    let mut keys = Vec::new();
    for number in 0..101 {
        keys.push(table.put(number).await);
    }
    let writes = keys.iter().map(|key| of(key, fail("a", 0, 1))).collect();
    let answers = table.rows().write(writes).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Written::Done)), "{answers:?}");
    let read = table.rows().read(&keys).await.expect("a read");
    assert!(read.iter().flatten().all(|event| event.row.attempts == 1));
}

pub(super) async fn one_refusal_stops_nobody(table: Table) {
    let (refusing, willing) = (table.delivered(1).await, table.put(2).await);
    let writes = vec![of(&refusing, deliver(9)), of(&willing, deliver(1))];
    let answers = table.rows().write(writes).await;
    assert!(matches!(answers[0], Ok(Written::Refused(Some(_)))), "{answers:?}");
    assert_eq!(answers[1], Ok(Written::Done));
}

/// A write never makes a row.
pub(super) async fn what_does_not_exist_refuses_everything(table: Table) {
    let changes = [
        deliver(1),
        fail("a", 0, 1),
        fail_last("a", 0, 1),
        claim("a", 0, at(1)),
        extend("a", 1),
        die("a", 1, 1),
        requeue(true),
        purge(),
    ];
    let key = table.key(1);
    for change in changes {
        let answer = table.rows().write(vec![of(&key, change.clone())]).await;
        assert_eq!(answer, [Ok(Written::Refused(None))], "{change:?}");
        assert_eq!(table.row(&key).await, None, "{change:?}");
    }
}

/// The reply to a write was lost: the same write again is refused, with the row that it left.
pub(super) async fn a_repeat_shows_what_was_written(table: Table) {
    let key = table.put(1).await;
    for change in [
        fail("a", 0, 1),
        claim("b", 1, at(200_001)),
        fail_last("b", 2, 2),
        die("b", 2, 2),
        requeue(false),
    ] {
        let write = of(&key, change);
        let first = table.rows().write(vec![write.clone()]).await;
        assert_eq!(first, [Ok(Written::Done)], "{write:?}");
        let row = table.row(&key).await;
        let again = table.rows().write(vec![write.clone()]).await;
        assert_eq!(again, [Ok(Written::Refused(row))], "{write:?}");
    }
    let write = RowWrite { round: 1, ..of(&key, deliver(1)) };
    assert_eq!(table.rows().write(vec![write.clone()]).await, [Ok(Written::Done)]);
    let again = table.rows().write(vec![write]).await;
    assert_eq!(again, [Ok(Written::Refused(table.row(&key).await))]);
}

/// What comes from outside is data, whatever language the table speaks.
pub(super) async fn hostile_texts_are_only_texts(table: Table) {
    let owner = "x' OR 'a' = 'a\" ; -- ? :v0 #status 🦀\n";
    let key = table.put(1).await;
    let mut change = fail(owner, 0, 1);
    if let RowChange::Fail { attempt: Some(attempt), .. } = &mut change {
        attempt.error = Some("'; DELETE FROM \"rows\" -- é\u{0}\u{7f} ".repeat(40).into());
        attempt.response = Bytes::from(vec![0x27; RESPONSE_KEPT_BYTES_MAX]);
    }
    table.done(&key, change).await;
    let lease = table.row(&key).await.and_then(|row| row.lease);
    assert!(lease.is_some_and(|lease| lease.is_of(&instance(owner), 1)));
    table.refused(&key, fail("a", 1, 2)).await;
    table.done(&key, fail(owner, 1, 2)).await;
}

/// A long life leaves a long log, and none of it in the way.
pub(super) async fn the_log_keeps_rows_apart(table: Table) {
    let key = table.put(1).await;
    for round in 0..4 {
        for attempts in 1..=4 {
            assert!(table.write(&key, round, fail("a", u64::from(attempts > 1), attempts)).await);
        }
        assert!(table.write(&key, round, fail_last("a", 1, 5)).await);
        assert!(table.write(&key, round, die("a", 1, 5)).await);
        assert!(table.write(&key, round, requeue(false)).await);
    }
    assert!(table.write(&key, 4, deliver(1)).await);
}
