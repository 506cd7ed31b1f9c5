//! Edits against `apply`, and items as earlier versions and other people wrote them.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use posthaste_domain::{Attempt, ErrorClass, EventId, PhaseTimings, RowChange, RowWrite, Verdict};
use posthaste_ports::LoggedAttempt;

use super::edit::Want;
use super::*;
use crate::rows::NewRow;

fn key() -> RowKey {
    let at = Timestamp::from_millis(1_800_000_000_123);
    RowKey { tenant: TenantId::try_new("acme").unwrap(), event: EventId::from_parts(at, 7) }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

fn instance(name: &str) -> InstanceId {
    InstanceId::try_new(name).unwrap()
}

fn new_item(payload: &[u8]) -> NewItems {
    let target_url = Some("https://example.com/hooks".into());
    new_items(&NewRow { key: key(), payload: payload.to_vec().into(), target_url })
}

/// What DynamoDB makes of an edit; none where it refuses.
fn edited(item: &Item, edit: Edit) -> Option<Item> {
    let holds = |want: &Want| match want {
        Want::Is(name, value) => item.get(*name) == Some(value),
        Want::IsEither(name, one, other) => [Some(one), Some(other)].contains(&item.get(*name)),
        Want::Absent(name) => !item.contains_key(*name),
        Want::Present(name) => item.contains_key(*name),
    };
    if !edit.wants.iter().all(holds) {
        return None;
    }
    let mut item = item.clone();
    let names: Vec<_> = edit.sets.iter().map(|(name, _)| name.to_string()).collect();
    for name in edit.removes {
        assert!(!names.contains(&name.to_owned()), "{name} is set and removed at once");
        item.remove(name);
    }
    for (name, value) in edit.sets {
        item.insert(name.into_owned(), value);
    }
    Some(item)
}

fn logged(number: u32) -> Attempt {
    Attempt {
        number,
        at: at(u64::from(number)),
        duration_ms: 12,
        status_code: Some(503),
        verdict: Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: Some(9) },
        error: Some("é".repeat(100).into()),
        response: vec![b'r'; 1024].into(),
        phases: PhaseTimings {
            queue_us: 1,
            dns_us: 2,
            connect_us: 3,
            tls_us: 4,
            first_byte_us: 5,
            total_us: 6,
            reused: true,
        },
    }
}

/// Every change, with every condition right or wrong.
fn changes() -> Vec<RowChange> {
    let mut changes = Vec::new();
    let owners = ["a", "b"];
    for owner in owners {
        for epoch in 0..4 {
            for attempts in 0..3 {
                changes.push(RowChange::Die { owner: instance(owner), epoch, attempts, at: at(9) });
                for (cause, seen) in [
                    (None, attempts),
                    (Some(DeadLetterCause::Gone), attempts),
                    (Some(DeadLetterCause::TenantGone), attempts + 1),
                ] {
                    changes.push(RowChange::Fail {
                        attempts: attempts + 1,
                        attempts_seen: seen,
                        interrupted: 1,
                        owner: instance(owner),
                        epoch_seen: epoch,
                        next_attempt_at: at(60),
                        until: at(100),
                        cause,
                        at: at(5),
                        attempt: (seen == attempts).then(|| Box::new(logged(attempts + 1))),
                    });
                }
            }
            for until_seen in [at(100), at(200), at(120)] {
                let owner = instance(owner);
                changes.push(RowChange::Claim {
                    owner,
                    epoch_seen: epoch,
                    until_seen,
                    until: at(200),
                });
            }
            changes.push(RowChange::Extend { owner: instance(owner), epoch, until: at(200) });
        }
    }
    for failed_too in [true, false] {
        changes.push(RowChange::Requeue { failed_too, until: at(120) });
    }
    changes.push(RowChange::Deliver { attempts: 2, at: at(7), attempt: None });
    changes.push(RowChange::Purge { at: at(8) });
    changes
}

/// For all rows that writes can lead to within five steps, and all writes: the edit is refused
/// where `apply` refuses, and leaves what `apply` leaves.
#[test]
fn edits_are_what_apply_says() {
    let mut known: HashMap<Row, Item> = HashMap::from([(Row::new(), new_item(b"{}").row)]);
    let mut fresh: Vec<_> = known.iter().map(|(row, item)| (row.clone(), item.clone())).collect();
    let mut compared = 0;
    for _ in 0..5 {
        let mut next = Vec::new();
        for (row, item) in fresh {
            assert_eq!(super::row(&item), Ok(row.clone()));
            for change in changes() {
                for round in row.round.saturating_sub(1)..=row.round + 1 {
                    let write = RowWrite { key: key(), round, change: change.clone() };
                    let left = edited(&item, Edit::of(&write));
                    let read = left.as_ref().map(|item| super::row(item).unwrap());
                    assert_eq!(read, write.apply(&row).ok(), "{write:?} of {row:?}");
                    compared += 1;
                    let Some((row, item)) = read.zip(left) else { continue };
                    if known.insert(row.clone(), item.clone()).is_none() {
                        next.push((row, item));
                    }
                }
            }
        }
        fresh = next;
    }
    assert!(known.len() > 100 && compared > 10_000, "{} rows, {compared}", known.len());
}

/// For all rows: in the indexes exactly where the contract says.
#[test]
fn indexes_are_sparse() {
    let write = |change| RowWrite { key: key(), round: 0, change };
    let fresh = new_item(b"{}").row;
    let indexed = |item: &Item| {
        assert_eq!(item.contains_key(name::PARTITION), item.contains_key(name::DUE));
        (item.contains_key(name::PARTITION), text(item, name::STANDING).map(str::to_owned))
    };
    assert_eq!(indexed(&fresh), (false, None));
    let deliver = write(RowChange::Deliver { attempts: 1, at: at(7), attempt: None });
    let delivered = edited(&fresh, Edit::of(&deliver)).unwrap();
    assert_eq!(indexed(&delivered), (false, None));
    let fails = changes().into_iter().map(write).filter_map(|w| edited(&fresh, Edit::of(&w)));
    let failed: Vec<_> = fails.filter(|item| text(item, name::STATUS) == Some("FAILED")).collect();
    assert!(!failed.is_empty());
    for item in failed {
        assert_eq!(indexed(&item), (true, Some("acme#FAILED".to_owned())));
        let delivered = edited(&item, Edit::of(&deliver)).unwrap();
        assert_eq!(indexed(&delivered), (false, None));
    }
}

#[test]
fn an_attempt_is_read_as_it_was_written_but_shorter() {
    let mut item = Item::new();
    let verdicts = [
        Verdict::Delivered,
        Verdict::Gone,
        Verdict::NotCharged { class: ErrorClass::DnsUnavailable },
        Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: None },
    ];
    let all = verdicts
        .into_iter()
        .chain(ErrorClass::ALL.map(|class| Verdict::Failed { class, retry_after_ms: Some(1) }));
    let mut written = Vec::new();
    for (number, verdict) in (1..).zip(all) {
        let attempt = Attempt { verdict, ..logged(number) };
        item.insert(attempt::name(number % 3, number), attempt::value(&attempt));
        written.push((number % 3, attempt));
    }
    item.insert("a#0#x".to_owned(), Value::M(Item::new()));
    item.insert("a#0#99".to_owned(), Value::S("not a map".to_owned()));
    let log = log(&item);
    written.sort_by_key(|(round, attempt)| (*round, attempt.number));
    assert_eq!(log.len(), written.len());
    for (read, (round, attempt)) in log.into_iter().zip(written) {
        assert_eq!(read.round, round);
        let error = Some("é".repeat(60).into());
        let wanted = Attempt { error, response: vec![b'r'; 64].into(), ..attempt };
        assert_eq!(read.attempt, wanted);
    }
}

/// For all failures: the last one is read with its whole response, up to 1 KiB, and its whole
/// error; those before it are as short as ever, and a success leaves nothing of them.
#[test]
fn the_last_failure_is_read_whole() {
    let mut item = new_item(b"{}").row;
    let mut wanted = Vec::new();
    for (number, response, kept) in [(1, 1024, 1024), (2, 5000, 1024), (3, 10, 10), (4, 65, 65)] {
        let attempt = Attempt {
            response: vec![b'r'; response].into(),
            error: Some("e".repeat(300).into()),
            ..logged(number)
        };
        let change = RowChange::Fail {
            attempts: number,
            attempts_seen: number - 1,
            interrupted: 0,
            owner: instance("a"),
            epoch_seen: u64::from(number > 1),
            next_attempt_at: at(60),
            until: at(90),
            cause: None,
            at: at(1),
            attempt: Some(Box::new(attempt)),
        };
        item = edited(&item, Edit::of(&RowWrite { key: key(), round: 0, change })).unwrap();
        let length = |it: &LoggedAttempt| {
            (it.attempt.response.len(), it.attempt.error.as_ref().map_or(0, |error| error.len()))
        };
        let read: Vec<_> = log(&item).iter().map(length).collect();
        let whole = (kept, 300);
        assert_eq!(read, [&wanted[..], &[whole]].concat());
        wanted.push((kept.min(64), 120));
        assert_eq!(item.contains_key(name::LAST_RESPONSE), kept > 64);
    }
    let change = RowChange::Deliver { attempts: 5, at: at(7), attempt: None };
    let item = edited(&item, Edit::of(&RowWrite { key: key(), round: 0, change })).unwrap();
    assert!(!item.contains_key(name::LAST_RESPONSE) && !item.contains_key(name::ERROR_MESSAGE));
}

/// A row of an earlier version: a payload as a map, and none of the newer attributes.
#[test]
fn an_older_row_is_read() {
    let mut item = row_key(&key());
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("status", Value::S("FAILED".to_owned()));
    put("attempts", Value::N("3".to_owned()));
    put("createdAt", Value::S("1700000000".to_owned()));
    let list = Value::L(vec![Value::Bool(true), Value::Null(true), Value::S("\"\n".to_owned())]);
    let fields = [("b".to_owned(), Value::N("1.50".to_owned())), ("a".to_owned(), list)];
    put("payload", Value::M(HashMap::from(fields)));
    let row = row(&item).unwrap();
    assert_eq!((row.status, row.round, row.attempts), (EventStatus::Failed, 0, 3));
    assert_eq!((row.lease, row.cause, row.expires_at), (None, None, None));
    assert_eq!(payload(&item).unwrap(), "{\"a\":[true,null,\"\\\"\\u000a\"],\"b\":1.50}");
    // And can be written, by an edit of its own, which makes it a row of today.
    let change = RowChange::Requeue { failed_too: true, until: at(1) };
    let edit = Edit::of(&RowWrite { key: key(), round: 0, change });
    assert_eq!(edited(&item, edit.clone()), None);
    let requeued = edited(&item, edit.for_older(&item).unwrap()).unwrap();
    assert_eq!(super::row(&requeued).unwrap().round, 1);
    let change = RowChange::Deliver { attempts: 4, at: at(1), attempt: None };
    let edit = Edit::of(&RowWrite { key: key(), round: 0, change });
    let delivered = edited(&item, edit.clone().for_older(&item).unwrap()).unwrap();
    assert_eq!(delivered["gen"], Value::N("0".to_owned()));
    assert_eq!(edit.for_older(&delivered), None);
}

#[test]
fn what_makes_no_sense_is_named() {
    let sound = new_item(b"{}").row;
    for (name, value, line) in [
        ("status", Value::S("DONE".to_owned()), "status is S(\"DONE\")"),
        ("attempts", Value::N("-1".to_owned()), "attempts is N(\"-1\")"),
        ("gen", Value::N("1e40".to_owned()), "gen is N(\"1e40\")"),
        ("cause", Value::S("?".to_owned()), "cause is S(\"?\")"),
        ("wk", Value::N("1".to_owned()), "due is missing"),
        ("interrupted", Value::B(Blob::new([1])), "interrupted is B("),
    ] {
        let mut item = sound.clone();
        item.insert(name.to_owned(), value);
        let error = row(&item).unwrap_err();
        assert!(error.starts_with(&format!("row acme {}: ", key().event)), "{error}");
        assert!(error.contains(line), "{error}");
    }
}

/// For all payloads: a row that a first attempt delivers stays within one write unit.
#[test]
fn a_payload_is_in_its_row_while_that_costs_one_unit() {
    let small = new_item(&[b'x'; 500]);
    assert!(small.body.is_none() && payload(&small.row).is_some());
    let large = new_item(&[b'x'; 1024]);
    assert!(payload(&large.row).is_none());
    let body = large.body.unwrap();
    assert_eq!(payload(&body).unwrap(), vec![b'x'; 1024]);
    assert_eq!(body["eventId"], Value::S(format!("body#{}", key().event)));
    // 60 days after the event.
    assert_eq!(body["ttl"], Value::N((1_800_000_000_u64 + 60 * 86_400).to_string()));
}

#[test]
fn partitions_are_spread() {
    let mut rows = [0_u32; WORK_PARTITIONS as usize];
    for number in 0..6_400 {
        let event = EventId::from_parts(at(number), u128::from(number));
        rows[usize::from(work_partition(&RowKey { event, ..key() }))] += 1;
    }
    // 100 on average.
    assert!(rows.iter().all(|count| (50..200).contains(count)), "{rows:?}");
}

#[test]
fn a_write_is_one_statement_with_parameters() {
    let change = RowChange::Extend { owner: instance("x'\"?"), epoch: 3, until: at(0) };
    let write = RowWrite { key: key(), round: 2, change };
    let (line, values) = statement("t", &write.key, Edit::of(&write));
    let wanted = "UPDATE \"t\" SET \"due\" = ? WHERE \"tenantId\" = ? AND \"eventId\" = ? AND \
                  \"gen\" = ? AND \"owner\" = ? AND \"epoch\" = ?";
    assert_eq!(line, wanted);
    assert_eq!(values.len(), 6);
    let rendered = update(Edit::of(&write));
    assert_eq!(rendered.update, "SET #due = :v0");
    let wanted = "attribute_exists(#tenantId) AND #gen = :v1 AND #owner = :v2 AND #epoch = :v3";
    assert_eq!(rendered.condition, wanted);
}
