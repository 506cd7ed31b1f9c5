//! What was asked of SQS and DynamoDB, an event and in money.

use std::collections::BTreeMap;

use super::Delivered;
use crate::aws_sim::Count;
use crate::record::{AwsCost, AwsPerEvent};
use crate::units::ratio;

/// List prices, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// Where and when they were looked up.
    pub as_of: &'static str,
    /// SQS: a million requests of a standard queue, each of 64 KB begun.
    pub sqs_requests: f64,
    /// SQS: a million requests to a fair queue (messages with a group), on top.
    pub sqs_fair: f64,
    /// DynamoDB on demand: a million write units.
    pub write_units: f64,
    /// DynamoDB on demand: a million read units.
    pub read_units: f64,
    /// A gigabyte to the internet.
    pub egress_gb: f64,
}

/// The only place with prices. The free tier and the first free 100 GB of egress are left out.
pub const PRICES: Prices = Prices {
    as_of: "us-east-1, 2026",
    sqs_requests: 0.40,
    sqs_fair: 0.10,
    write_units: 0.625,
    read_units: 0.125,
    egress_gb: 0.09,
};

const MILLION: f64 = 1e6;
const GIGABYTE: f64 = 1e9;

/// What puts an event into the queue. With the items that were not there before it is the event's
/// ingest; everything else is its delivery.
const SENDING: [&str; 2] = ["SendMessage", "SendMessageBatch"];

fn sum(of: &BTreeMap<String, Count>, what: impl Fn(&str, &Count) -> f64) -> f64 {
    of.iter().map(|(name, count)| what(name, count)).sum()
}

/// Whether a call goes to SQS.
fn is_message(name: &str) -> bool {
    name.contains("Message") || name.contains("Queue")
}

/// Requests and units an event.
#[must_use]
pub(super) fn per_event(of: &BTreeMap<String, Count>, events: u64) -> AwsPerEvent {
    let each = |total: f64| ratio(total, events as f64);
    let sqs = sum(of, |name, count| if is_message(name) { count.requests as f64 } else { 0.0 });
    let all = sum(of, |_, count| count.requests as f64);
    AwsPerEvent {
        requests: each(all),
        sqs_requests: each(sqs),
        dynamodb_requests: each(all - sqs),
        sqs_billed_requests: each(sum(of, |_, count| count.billed_requests as f64)),
        write_units: each(sum(of, |_, count| count.write_units as f64)),
        index_write_units: each(sum(of, |_, count| count.index_write_units as f64)),
        read_units: each(sum(of, |_, count| count.read_units)),
    }
}

/// What a million deliveries cost.
#[must_use]
pub fn cost(of: &BTreeMap<String, Count>, delivered: &Delivered, prices: &Prices) -> AwsCost {
    let requests =
        |count: &Count| count.billed_requests as f64 * (prices.sqs_requests + prices.sqs_fair);
    let is_sent = |name: &str| SENDING.contains(&name);
    // Units are priced by the million, and so are the deliveries.
    let ingest = sum(of, |name, count| {
        let sent = if is_sent(name) { requests(count) } else { 0.0 };
        sent + count.new_write_units as f64 * prices.write_units
    });
    let delivery = sum(of, |name, count| {
        let writes = count.write_units + count.index_write_units - count.new_write_units;
        let received = if is_sent(name) { 0.0 } else { requests(count) };
        received + writes as f64 * prices.write_units + count.read_units * prices.read_units
    });
    let each = |total: f64| ratio(total, delivered.events as f64);
    let egress = delivered.payload_bytes_mean * MILLION / GIGABYTE * prices.egress_gb;
    AwsCost {
        prices: prices.as_of.to_owned(),
        ingest_per_million: each(ingest),
        delivery_per_million: each(delivery),
        egress_per_million: egress,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> BTreeMap<String, Count> {
        let receive = Count { requests: 10, billed_requests: 10, ..Count::default() };
        let write =
            Count { requests: 104, write_units: 200, new_write_units: 100, ..Count::default() };
        let send = Count { requests: 100, billed_requests: 100, ..Count::default() };
        let read = Count { requests: 2, read_units: 50.0, ..Count::default() };
        [
            ("ReceiveMessage", receive),
            ("BatchExecuteStatement", write),
            ("SendMessageBatch", send),
            ("GetItem", read),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into()
    }

    #[test]
    fn requests_and_units_are_shared_among_the_events() {
        let each = per_event(&counts(), 100);
        assert!((each.requests - 2.16).abs() < 1e-9);
        assert!((each.sqs_requests - 1.1).abs() < 1e-9);
        assert!((each.dynamodb_requests - 1.06).abs() < 1e-9);
        assert!((each.write_units - 2.0).abs() < 1e-9);
        assert_eq!(per_event(&counts(), 0), AwsPerEvent::default());
    }

    /// A million deliveries: a hundred thousand receives, a million writes for the status, half a
    /// million reads; before that a million writes for the rows and a million messages.
    #[test]
    fn a_million_deliveries_have_a_price() {
        let delivered = Delivered { events: 100, payload_bytes_mean: 2_000.0 };
        let cost = cost(&counts(), &delivered, &PRICES);
        assert!((cost.delivery_per_million - (0.05 + 0.625 + 0.0625)).abs() < 1e-9, "{cost:?}");
        assert!((cost.ingest_per_million - 1.125).abs() < 1e-9, "{cost:?}");
        assert!((cost.egress_per_million - 0.18).abs() < 1e-9, "{cost:?}");
    }
}
