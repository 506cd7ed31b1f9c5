//! What is worked out from intervals, and what a cloud does without a system.

use posthaste_domain::{EventId, Timestamp};

use super::*;
use crate::record::Quantiles;
use crate::scenario::Scenario;
use crate::shared::Workload;

fn interval(second: u32, delivered: u64, backlog: u64) -> Interval {
    let none = Quantiles::default();
    Interval {
        from_s: f64::from(second),
        length_s: 1.0,
        phase: "measure".to_owned(),
        sent: 100,
        accepted: 100,
        refused: 0,
        cut_off: 0,
        delivered,
        attempts: delivered,
        in_flight: 0,
        backlog,
        publish: none,
        end_to_end: none,
        lag: none,
        retry_lateness: none,
    }
}

/// Ten seconds at a tenth of the rate, then one at half of it, one at the rate, and one that
/// works off what is left.
#[test]
fn full_speed_is_known_to_an_interval() {
    let mut all: Vec<_> = (0..5).map(|second| interval(second, 100, 0)).collect();
    all.extend((5..15).map(|second| interval(second, 10, u64::from(second - 4) * 90)));
    all.extend([interval(15, 50, 950), interval(16, 96, 954), interval(17, 1_000, 54)]);
    let throttle =
        Throttle { service: Service::Dynamodb, from: 5 * SECOND, to: 15 * SECOND, share: 0.9 };
    let record = throttled(&throttle, [5.0, 15.0], &all);
    assert!((record.delivered_rate - 10.0).abs() < 1e-9, "{record:?}");
    assert_eq!((record.full_speed_s, record.caught_up_s), (Some(2.0), Some(3.0)));
    assert_eq!(record.backlog_peak, 954);
    let cut_short = throttled(&throttle, [5.0, 15.0], &all[..16]);
    assert_eq!((cut_short.full_speed_s, cut_short.caught_up_s), (None, None));
}

/// Held messages are there, cannot be received, and can be as soon as the load has ended; nothing
/// of it is counted.
#[tokio::test]
async fn what_is_put_waits_until_it_is_released() {
    let text = "[aws]\nbacklog = true\n";
    let scenario = Scenario::parse(text, std::path::PathBuf::new(), &[]).unwrap();
    let workload = Workload::prepare(&scenario, 0).unwrap();
    let shared = Shared::new(crate::clock::Clock::start(), workload, &scenario);
    let cloud = Cloud::start(&scenario.aws.unwrap(), 1, &shared).await.unwrap();
    let mail = cloud.mail().unwrap();
    for number in 0..5 {
        let event = EventId::from_parts(Timestamp::from_millis(1_800_000_000_000), number);
        mail.put(event, 3, "{}").await.unwrap();
    }
    assert_eq!(cloud.rows().await.unwrap(), BTreeMap::from([("PENDING".to_owned(), 5)]));
    let receive = async || {
        let body = format!(r#"{{"QueueUrl":"{QUEUE}","MaxNumberOfMessages":10}}"#);
        let answer = cloud.direct.call("ReceiveMessage", body.as_bytes()).await.unwrap();
        String::from_utf8(answer).unwrap().matches("load-000003").count()
    };
    assert_eq!(receive().await, 0);
    assert!(cloud.is_holding());
    cloud.release();
    cloud.release();
    assert!(!cloud.is_holding());
    assert!(receive().await >= 5);
    let delivered = Delivered { events: 0, payload_bytes_mean: 0.0 };
    let record = cloud.record(&Counted::default(), delivered, &[], 0).await.unwrap();
    assert!(record.operations.is_empty(), "{record:?}");
    cloud.stop().unwrap();
}
