//! Many items in few requests: putting those that are new, and reading.
//!
//! Of the three ways to put several items at once, `BatchWriteItem` knows no conditions, and
//! `TransactWriteItems` writes each item twice in the bill and all or nothing, so that one
//! repeated key would turn away a batch of 99 others. `BatchExecuteStatement` takes 25 `INSERT`s,
//! each of which fails by itself where there is such an item, and costs what 25 `PutItem`s cost in
//! writes and one of them in requests.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue as Value, BatchStatementRequest, BatchStatementResponse,
};
use futures_util::future::join_all;

use crate::error::Call;
use crate::item::Item;
use crate::{Client, Error, Resource, reading};

/// What one `BatchExecuteStatement` takes.
const STATEMENTS_MAX: usize = 25;
/// How much one request carries at most, in bytes of text and blobs: it must be through well
/// within the time-out of a try.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// So often a row that is throttled is put.
const TRIES_MAX: u32 = 3;
/// The wait after the first try, doubled with each further one.
const BACKOFF: Duration = Duration::from_millis(50);

/// What came of putting a new item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is there now.
    Done,
    /// There is such an item: by somebody else, or by an earlier try whose reply was lost.
    Exists,
}

/// Puts items that are not there yet; one answer for each in order. A call names an item once.
pub(super) async fn insert(
    client: &Client,
    table: &Resource,
    items: Vec<Item>,
) -> Vec<Result<Inserted, Error>> {
    let mut left: Vec<usize> = (0..items.len()).collect();
    let mut answers: Vec<_> = items.iter().map(|_| Ok(Inserted::Done)).collect();
    for tries in 1..=TRIES_MAX {
        let these = left.iter().map(|at| items[*at].clone()).collect();
        let requests = chunks(these).into_iter().map(|chunk| insert_chunk(client, table, chunk));
        let tried: Vec<_> = join_all(requests).await.into_iter().flatten().collect();
        let mut failed = Vec::new();
        for (at, answer) in left.into_iter().zip(tried) {
            // One row's in an answer that is good: the SDK has not tried it again.
            if matches!(answer, Err(Error::Throttled { .. })) {
                failed.push(at);
            }
            answers[at] = answer;
        }
        left = failed;
        if left.is_empty() || tries == TRIES_MAX {
            break;
        }
        tokio::time::sleep(BACKOFF * 2u32.pow(tries - 1)).await;
    }
    answers
}

/// Items in the same order, as many together as one request takes.
fn chunks(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut chunks: Vec<Vec<Item>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = item.values().map(carried).sum::<usize>();
        bytes += size;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < STATEMENTS_MAX && bytes <= REQUEST_BYTES_MAX => {
                chunk.push(item);
            }
            _ => {
                chunks.push(vec![item]);
                bytes = size;
            }
        }
    }
    chunks
}

fn carried(value: &Value) -> usize {
    match value {
        Value::S(text) => text.len(),
        // In base 64.
        Value::B(blob) => blob.as_ref().len().div_ceil(3) * 4,
        _ => 0,
    }
}

async fn insert_chunk(
    client: &Client,
    table: &Resource,
    items: Vec<Item>,
) -> Vec<Result<Inserted, Error>> {
    let call = Call { action: "dynamodb:PartiQLInsert", resource: table };
    let count = items.len();
    let statements: Result<Vec<_>, _> =
        items.into_iter().map(|item| statement(table.name(), item)).collect();
    let statements = match statements {
        Ok(statements) => statements,
        Err(error) => return vec![Err(call.unreadable(error.to_string())); count],
    };
    let sent =
        client.table().batch_execute_statement().set_statements(Some(statements)).send().await;
    let answers = match sent {
        Ok(answers) => answers.responses.unwrap_or_default(),
        Err(error) => return vec![Err(call.failed(&error)); count],
    };
    if answers.len() != count {
        let line = format!("{} answers to {count} statements", answers.len());
        return vec![Err(call.unreadable(line)); count];
    }
    answers.into_iter().map(|answer| inserted(call, answer)).collect()
}

fn statement(
    table: &str,
    item: Item,
) -> Result<BatchStatementRequest, aws_sdk_dynamodb::error::BuildError> {
    let mut line = format!("INSERT INTO \"{table}\" VALUE {{");
    let mut values = Vec::with_capacity(item.len());
    for (index, (name, value)) in item.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let written = write!(line, "{comma}'{name}': ?");
        debug_assert!(written.is_ok(), "a String takes any text");
        values.push(value);
    }
    line.push('}');
    BatchStatementRequest::builder().statement(line).set_parameters(Some(values)).build()
}

fn inserted(call: Call<'_>, answer: BatchStatementResponse) -> Result<Inserted, Error> {
    let Some(error) = answer.error else { return Ok(Inserted::Done) };
    let code = error.code.as_ref().map(|code| code.as_str()).unwrap_or_default();
    match code {
        "DuplicateItem" | "DuplicateItemException" | "ConditionalCheckFailed" => {
            Ok(Inserted::Exists)
        }
        code => Err(call.answered(code, error.message.as_deref().unwrap_or_default())),
    }
}

/// Items by their keys, as the last acknowledged write left them; one answer for each in order.
pub(crate) async fn batch_get(
    client: &Client,
    table: &Resource,
    keys: Vec<Item>,
) -> Result<Vec<Option<Item>>, Error> {
    let mut wanted: HashMap<String, Vec<usize>> = HashMap::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        wanted.entry(identity(key, key)).or_default().push(index);
    }
    let mut found = vec![None; keys.len()];
    // A request names a key once.
    let firsts: Vec<_> = keys
        .iter()
        .enumerate()
        .filter(|(index, key)| {
            wanted.get(&identity(key, key)).is_some_and(|all| all.first() == Some(index))
        })
        .map(|(_, key)| key.clone())
        .collect();
    if let Some(key) = keys.first() {
        for item in reading::items(client, table, &firsts).await? {
            for index in wanted.get(&identity(key, &item)).into_iter().flatten() {
                if let Some(place) = found.get_mut(*index) {
                    *place = Some(item.clone());
                }
            }
        }
    }
    Ok(found)
}

/// What tells an item apart: the values of those attributes that `key` consists of.
fn identity(key: &Item, item: &Item) -> String {
    let mut names: Vec<_> = key.keys().collect();
    names.sort_unstable();
    let texts = names.iter().map(|name| crate::item::text(item, name).unwrap_or_default());
    texts.collect::<Vec<_>>().join("\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        Item::from([("payload".to_owned(), Value::S("x".repeat(bytes)))])
    }

    /// For all batches: nothing is lost, the order stays, and no request is over its limits
    /// unless a single item is.
    #[test]
    fn chunks_are_within_their_limits() {
        for sizes in [
            vec![],
            vec![1; 25],
            vec![1; 26],
            vec![300_000; 20],
            vec![REQUEST_BYTES_MAX, 1, REQUEST_BYTES_MAX + 1, 1],
        ] {
            let items: Vec<_> = sizes.iter().copied().map(item).collect();
            let chunks = chunks(items.clone());
            for chunk in &chunks {
                let bytes: usize = chunk.iter().flat_map(Item::values).map(carried).sum();
                assert!(chunk.len() <= STATEMENTS_MAX);
                assert!(bytes <= REQUEST_BYTES_MAX || chunk.len() == 1, "{bytes}");
            }
            assert_eq!(chunks.concat(), items);
        }
        assert_eq!(chunks(vec![item(1); 50]).len(), 2);
    }
}
