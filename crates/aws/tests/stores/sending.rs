//! Messages that are sent more than once (crash point 4): the queue then holds two, and only one of
//! them may be attempted without a look at the row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use posthaste_aws::SqsQueue;
use posthaste_ports::memory::{Fault, Faults, MemoryQueue, Operation};
use posthaste_ports::{Acceptance, EventStore as _, Outgoing, PortError, Queue as _};
use posthaste_protocol::EventMessage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{START, Stores, World, client, shared};

/// Loses the reply to the first send.
#[derive(Debug, Default)]
struct FirstReplyLost(AtomicBool);

impl Faults for FirstReplyLost {
    fn fault(&self, operation: Operation) -> Fault {
        let is_first = operation == Operation::Send && !self.0.swap(true, Ordering::SeqCst);
        if is_first { Fault::After } else { Fault::None }
    }
}

/// The reply to a send is lost, and the same call sends again: that message says so.
#[tokio::test]
async fn what_is_sent_again_says_so() {
    let mut world = World::start().await;
    let faults = Arc::new(FirstReplyLost::default());
    let queue = MemoryQueue::with_faults(Arc::new(|| START), 180_000, faults);
    let stores = Stores::new(&world.dynamo.client().await, &shared(&queue));
    let event = world.event(START, b"{}");
    let answer = stores.events.accept(vec![event.clone()]).await;
    assert_eq!(answer, Ok(vec![Acceptance::Accepted(event.id)]));
    let bodies = queue.bodies();
    let again = bodies.iter().map(|body| EventMessage::parse(body).unwrap().again);
    assert_eq!(again.collect::<Vec<_>>(), [false, true]);
}

/// A queue that takes every message and never answers a send.
struct Silent {
    url: String,
    sends: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sends, queue) = (Arc::new(AtomicUsize::new(0)), format!("{url}/queue"));
        let (counted, mut server) = (Arc::clone(&sends), JoinSet::new());
        server.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                answer(connection, &queue, &counted).await;
            }
        });
        Self { url, sends, _server: server }
    }
}

/// One call, and the end of its connection.
async fn answer(mut connection: TcpStream, queue: &str, sends: &AtomicUsize) {
    let mut request = vec![0; 64 * 1024];
    let read = connection.read(&mut request).await.unwrap_or(0);
    if String::from_utf8_lossy(&request[..read]).contains("SendMessageBatch") {
        sends.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let body = format!(r#"{{"QueueUrl":"{queue}"}}"#);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close";
    let text = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    connection.write_all(text.as_bytes()).await.expect("the client waits for its answer");
}

/// The SDK does not send again what may have been taken: its copy would not say so.
#[tokio::test]
async fn the_client_sends_a_message_once() {
    let silent = Silent::start().await;
    let queue = SqsQueue::main(&client(&silent.url).await);
    let outgoing = Outgoing { body: "{}".into(), group: "acme".into() };
    let sent = queue.send(vec![outgoing]).await;
    assert!(matches!(sent[..], [Err(PortError::Transient(_))]), "{sent:?}");
    assert_eq!(silent.sends.load(Ordering::SeqCst), 1);
}

/// Says one thing of every send, and counts them.
#[derive(Debug, Default)]
struct Refusing(AtomicUsize);

impl Faults for Refusing {
    fn fault(&self, operation: Operation) -> Fault {
        if operation != Operation::Send {
            return Fault::None;
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Fault::Throttled { retry_after_ms: 10 }
    }
}

/// Who cannot be rid of a message is told so, after a few tries.
#[tokio::test]
async fn sending_comes_to_an_end() {
    let mut world = World::start().await;
    let faults = Arc::new(Refusing::default());
    let queue = MemoryQueue::with_faults(Arc::new(|| START), 180_000, Arc::clone(&faults) as _);
    let stores = Stores::new(&world.dynamo.client().await, &shared(&queue));
    let answer = stores.events.accept(vec![world.event(START, b"{}")]).await;
    assert_eq!(answer, Err(PortError::Throttled { retry_after_ms: 10 }));
    assert_eq!(faults.0.load(Ordering::SeqCst), 3);
}
