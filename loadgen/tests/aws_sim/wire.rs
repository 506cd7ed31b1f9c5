//! What the SDK never sends, and the simulator's own paths, over a plain socket.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use posthaste_loadgen::aws_sim::{AwsSim, Report, Settings};

/// One request on a connection of its own; the answer's head and body.
fn ask(sim: &AwsSim, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(sim.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn call(target: &str, body: &str) -> String {
    request("POST", "/", &format!("x-amz-target: {target}\r\nauthorization: x\r\n"), body)
}

#[test]
fn errors_are_written_as_aws_writes_them() {
    let sim = AwsSim::start(Settings::default()).unwrap();
    let body = r#"{"QueueUrl":"http://sim/000000000000/q"}"#;
    let (head, body) = ask(&sim, &call("AmazonSQS.ReceiveMessage", body));
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains("x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"));
    assert!(body.contains(r##""__type":"com.amazonaws.sqs#QueueDoesNotExist""##), "{body}");
    let (_, body) = ask(&sim, &call("DynamoDB_20120810.GetItem", "{"));
    assert!(body.contains("com.amazonaws.dynamodb.v20120810#SerializationException"), "{body}");
    let (_, body) = ask(&sim, &call("DynamoDB_20120810.Teleport", "{}"));
    assert!(body.contains("UnknownOperationException"), "{body}");
    let nobody = request("POST", "/", "x-amz-target: AmazonSQS.ListQueues\r\n", "{}");
    let (head, body) = ask(&sim, &nobody);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert!(body.contains("MissingAuthenticationToken"), "{body}");
    sim.stop().unwrap();
}

#[test]
fn what_is_not_http_closes_the_connection() {
    let sim = AwsSim::start(Settings::default()).unwrap();
    for request in [
        "nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
    ] {
        assert_eq!(ask(&sim, request), (String::new(), String::new()), "{request}");
    }
    // And the next one is served.
    let (head, _) = ask(&sim, &call("AmazonSQS.ListQueues", "{}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    sim.stop().unwrap();
}

#[test]
fn it_is_managed_while_it_runs() {
    let sim = AwsSim::start(Settings::default()).unwrap();
    let create = call("AmazonSQS.CreateQueue", r#"{"QueueName":"q"}"#);
    assert!(ask(&sim, &create).0.starts_with("HTTP/1.1 200 "));
    let faults = r#"{"sqs": {"unavailable": 1}}"#;
    assert!(ask(&sim, &request("POST", "/_sim/faults", "", faults)).0.contains(" 200 "));
    let (head, _) = ask(&sim, &create);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let wrong = request("POST", "/_sim/faults", "", r#"{"sqs": {"unavailable": 2}}"#);
    assert!(ask(&sim, &wrong).1.contains("unavailable is a share"));
    let (_, kept) = ask(&sim, &request("GET", "/_sim/faults", "", ""));
    assert!(kept.contains(r#""unavailable":1.0"#), "{kept}");
    let (_, counted) = ask(&sim, &request("GET", "/_sim/counters", "", ""));
    let counted: Report = serde_json::from_str(&counted).unwrap();
    let create_count = counted.operations["CreateQueue"];
    assert_eq!((create_count.requests, create_count.refused), (2, 1));
    assert_eq!(counted.faults["unavailable"], 1);
    assert!(ask(&sim, &request("POST", "/_sim/skip", "", r#"{"ms": 5}"#)).0.contains(" 200 "));
    assert!(ask(&sim, &request("POST", "/_sim/reset", "", "")).0.contains(" 200 "));
    assert_eq!(sim.counters(), Report::default());
    assert!(ask(&sim, &request("GET", "/_sim/nothing", "", "")).0.contains(" 404 "));
    assert!(ask(&sim, &call("AmazonSQS.GetQueueUrl", r#"{"QueueName":"q"}"#)).0.contains(" 400 "));
    sim.stop().unwrap();
}
