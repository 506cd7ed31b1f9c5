//! What a run asked of SQS and DynamoDB: for the page and for Markdown.

use crate::record::{AwsRecord, ThrottleRecord};
use crate::units::{floor, ratio, show_count, show_duration};

/// What is to be known at a glance: name and value.
pub(super) fn figures(aws: &AwsRecord) -> Vec<(String, String)> {
    let (each, cost) = (&aws.per_event, &aws.cost);
    let simulator = aws.simulator_user_ns + aws.simulator_system_ns;
    let mut figures = vec![
        (
            "requests an event: SQS + DynamoDB".to_owned(),
            format!("{:.3} + {:.3}", each.sqs_requests, each.dynamodb_requests),
        ),
        (
            "write units an event: tables + indexes".to_owned(),
            format!("{:.3} + {:.3}", each.write_units, each.index_write_units),
        ),
        ("read units an event".to_owned(), format!("{:.4}", each.read_units)),
        (
            format!("a million deliveries (list price, {})", cost.prices),
            format!("${:.2}", cost.delivery_per_million),
        ),
        ("their ingest".to_owned(), ingest(aws)),
        ("their payloads’ egress".to_owned(), format!("${:.2}", cost.egress_per_million)),
        (
            "simulator, CPU an event".to_owned(),
            show_duration(floor(ratio(simulator as f64, aws.events as f64))),
        ),
        (
            "simulator, wait for a processor each time".to_owned(),
            show_duration(aws.simulator_scheduling_delay_ns),
        ),
    ];
    let rows = aws.rows.iter().map(|(status, count)| format!("{} {status}", show_count(*count)));
    figures.push(("rows at the end".to_owned(), rows.collect::<Vec<_>>().join(", ")));
    for (fault, count) in &aws.faults {
        figures.push((format!("fault: {fault}"), show_count(*count)));
    }
    figures.extend(aws.throttles.iter().flat_map(throttled));
    figures
}

fn ingest(aws: &AwsRecord) -> String {
    match aws.ingest.as_str() {
        "api" => format!("${:.2}", aws.cost.ingest_per_million),
        _ => "not counted: put there by the generator".to_owned(),
    }
}

fn throttled(throttle: &ThrottleRecord) -> Vec<(String, String)> {
    let after =
        |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), |s| format!("{s:.1} s"));
    let service = &throttle.service;
    vec![
        (
            format!("deliveries while {:.0}% of {service} was throttled", throttle.share * 100.0),
            format!("{:.0}/s", throttle.delivered_rate),
        ),
        ("at full speed again after".to_owned(), after(throttle.full_speed_s)),
        ("caught up after".to_owned(), after(throttle.caught_up_s)),
        ("backlog at most".to_owned(), show_count(throttle.backlog_peak)),
    ]
}

/// What the columns of [`operations`] are.
pub(super) const COLUMNS: [&str; 7] = [
    "operation",
    "requests",
    "an event",
    "items a request",
    "refused",
    "units written",
    "units read",
];

/// Each operation.
pub(super) fn operations(aws: &AwsRecord) -> Vec<[String; 7]> {
    let row = |(name, count): (&String, &crate::aws_sim::Count)| {
        let requests = count.requests as f64;
        [
            name.clone(),
            show_count(count.requests),
            format!("{:.4}", ratio(requests, aws.events as f64)),
            format!("{:.2}", ratio(count.items as f64, requests)),
            show_count(count.refused),
            show_count(count.write_units + count.index_write_units),
            format!("{:.1}", count.read_units),
        ]
    };
    aws.operations.iter().map(row).collect()
}
