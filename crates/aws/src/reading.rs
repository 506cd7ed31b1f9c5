//! Reading many items by their keys, as the last acknowledged write left them.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use futures_util::stream::{self, StreamExt};

use crate::error::Call;
use crate::item::Item;
use crate::{Client, Error, Resource};

/// What one `BatchGetItem` takes.
const KEYS_MAX: usize = 100;
/// Requests of one call that are under way at a time.
const REQUESTS_AT_ONCE_MAX: usize = 8;
/// Answers in a row without an item after which a read gives up.
const EMPTY_MAX: u32 = 5;
/// The wait after the first such answer, doubled with each further one.
const BACKOFF: Duration = Duration::from_millis(50);

/// The items that there are of these keys, in no order. A call names a key once.
pub(crate) async fn items(
    client: &Client,
    table: &Resource,
    keys: &[Item],
) -> Result<Vec<Item>, Error> {
    let batches: Vec<_> = keys.chunks(KEYS_MAX).map(|keys| batch(client, table, keys)).collect();
    let mut answers = stream::iter(batches).buffered(REQUESTS_AT_ONCE_MAX);
    let mut items = Vec::with_capacity(keys.len());
    while let Some(answer) = answers.next().await {
        items.extend(answer?);
    }
    Ok(items)
}

/// At most [`KEYS_MAX`] items. DynamoDB may leave some out (an answer holds 16 MB, or it is too
/// busy): they are asked for again, at once where it gave any.
async fn batch(client: &Client, table: &Resource, keys: &[Item]) -> Result<Vec<Item>, Error> {
    let call = Call { action: "dynamodb:BatchGetItem", resource: table };
    let wanted = KeysAndAttributes::builder().consistent_read(true);
    let wanted = wanted.set_keys(Some(keys.to_vec())).build();
    let wanted = wanted.map_err(|error| call.unreadable(error.to_string()))?;
    let mut asked = HashMap::from([(table.name().to_owned(), wanted)]);
    let mut items = Vec::with_capacity(keys.len());
    let mut empty = 0;
    loop {
        let request = client.table().batch_get_item().set_request_items(Some(asked));
        let answer = request.send().await.map_err(|error| call.failed(&error))?;
        let found = answer.responses.unwrap_or_default().into_values().flatten();
        let before = items.len();
        items.extend(found);
        asked = answer.unprocessed_keys.unwrap_or_default();
        if asked.is_empty() {
            return Ok(items);
        }
        if items.len() > before {
            empty = 0;
            continue;
        }
        if empty == EMPTY_MAX {
            return Err(Error::Throttled { action: call.action, resource: table.clone() });
        }
        tokio::time::sleep(BACKOFF * 2u32.pow(empty)).await;
        empty += 1;
    }
}
