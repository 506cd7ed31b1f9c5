//! What writing rows costs our side, by strategy: requests, rows and processor time of this
//! process. By hand:
//!
//! ```text
//! dynoxide serve --host 127.0.0.1 --port 8000 &
//! export DYNAMODB_URL=http://127.0.0.1:8000
//! cargo test -p posthaste-aws --lib measured -- --ignored --nocapture
//! ```
//!
//! Each strategy writes the first outcome of fresh events in batches of 250, as a batcher under
//! load hands them over. How fast an emulator is says little about DynamoDB; what our side spends
//! says all about our side.

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use posthaste_domain::{EventId, RowChange, TenantId};
use tokio::time::Instant;

use super::*;
use crate::Settings;
use crate::item::{Edit, Rendered};
use crate::settings::Keys;

const EVENTS: u64 = 5_000;
const BATCH: usize = 250;
/// The most that a transaction takes.
const TRANSACTION: usize = 100;

#[derive(Clone, Copy, Debug)]
enum Strategy {
    Statements,
    Updates,
    Transactions,
}

#[tokio::test]
#[ignore = "measures against a server of DYNAMODB_URL, by hand"]
async fn strategies_of_writing() {
    let url = std::env::var("DYNAMODB_URL").expect("DYNAMODB_URL says where DynamoDB is");
    for round in 0..3 {
        let strategies = [Strategy::Statements, Strategy::Updates, Strategy::Transactions];
        for (index, strategy) in strategies.into_iter().enumerate() {
            let prefix = format!("measure-{}-{round}-{index}", std::process::id());
            let rows = table(&url, &prefix).await;
            for refused in [false, true] {
                // The second time every condition fails, and every old item comes back.
                let writes = writes();
                let (wall, cpu) = (Instant::now(), cpu_us());
                let mut done = 0;
                for batch in writes.chunks(BATCH) {
                    done += match strategy {
                        Strategy::Statements => {
                            done_of(rows.execute_statements(edits(batch)).await)
                        }
                        Strategy::Updates => done_of(rows.execute_updates(edits(batch)).await),
                        Strategy::Transactions => transact(&rows, batch).await,
                    };
                }
                let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_us() - cpu);
                let (per_second, each) = (EVENTS as f64 / wall, cpu as f64 / EVENTS as f64);
                let case = if refused { "all refused" } else { "all done" };
                println!(
                    "{strategy:?}, {case}: {per_second:.0} rows/s, {each:.1} us a row, {done} done"
                );
            }
        }
    }
}

async fn table(url: &str, prefix: &str) -> DynamoRows {
    let settings = Settings {
        region: Some("us-east-1".to_owned()),
        keys: Some(Keys::new("000000000000", "test")),
        ..Settings::with_prefix(prefix).at(url)
    };
    let client = Client::new(settings).await.expect("a region is set");
    client.create_tables().await.expect("tables can be made");
    let rows = DynamoRows::new(&client);
    let new = (0..EVENTS).map(|number| NewRow {
        key: key(number),
        payload: vec![b'x'; 400].into(),
        target_url: None,
    });
    let new: Vec<_> = new.collect();
    let put: Vec<_> = new.iter().map(|new| rows.insert(new)).collect();
    let put: Vec<_> = stream::iter(put).buffered(32).collect().await;
    assert!(put.into_iter().all(|put| put == Ok(true)), "every event is new");
    rows
}

fn key(number: u64) -> RowKey {
    let event = EventId::from_parts(Timestamp::from_millis(1_800_000_000_000), number.into());
    RowKey { tenant: TenantId::try_new("acme").expect("lawful"), event }
}

fn writes() -> Vec<RowWrite> {
    let at = Timestamp::from_millis(1_800_000_000_000);
    let change = RowChange::Deliver { attempts: 1, at, attempt: None };
    (0..EVENTS).map(|n| RowWrite { key: key(n), round: 0, change: change.clone() }).collect()
}

fn edits(writes: &[RowWrite]) -> Vec<(RowKey, Edit)> {
    writes.iter().map(|write| (write.key.clone(), Edit::of(write))).collect()
}

fn done_of(answers: Vec<Answer>) -> usize {
    answers.iter().filter(|answer| matches!(answer, Ok(Executed::Done))).count()
}

/// All or nothing, by the hundred.
async fn transact(rows: &DynamoRows, writes: &[RowWrite]) -> usize {
    let requests = writes.chunks(TRANSACTION).map(|writes| async move {
        let items = writes.iter().map(|write| {
            let Rendered { update, condition, names, values } = item::update(Edit::of(write));
            let update = Update::builder()
                .table_name(rows.table.name())
                .set_key(Some(item::row_key(&write.key)))
                .update_expression(update)
                .condition_expression(condition)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values(Some(values))
                .build();
            let update = update.expect("table, key and expression are set");
            TransactWriteItem::builder().update(update).build()
        });
        let request = rows.client.table().transact_write_items();
        let answer = request.set_transact_items(Some(items.collect())).send().await;
        if answer.is_ok() { writes.len() } else { 0 }
    });
    let requests: Vec<_> = requests.collect();
    let done = stream::iter(requests).buffered(REQUESTS_AT_ONCE_MAX);
    done.collect::<Vec<_>>().await.into_iter().sum()
}

/// Processor time of this process, in microseconds.
fn cpu_us() -> u64 {
    const TICK_US: u64 = 10_000;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field =
        |index| after_name.split_whitespace().nth(index).and_then(|f| f.parse::<u64>().ok());
    (field(11).unwrap_or(0) + field(12).unwrap_or(0)) * TICK_US
}
