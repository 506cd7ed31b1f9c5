//! The name server of the world: UDP, by hand, with answers that change.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use super::world::{NAME_SERVER, is_public};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// Not to be remembered.
const TTL: u32 = 0;

/// What is answered for a name.
#[derive(Clone, Debug)]
pub(crate) enum Answers {
    /// These addresses.
    Always(Vec<IpAddr>),
    /// The first ones to one question of a kind, the second ones to the next, and so on.
    Turns(Vec<IpAddr>, Vec<IpAddr>),
    /// An alias, and what it leads to.
    Alias(String),
}

/// What was asked and answered.
#[derive(Debug, Default)]
struct Seen {
    asked: Vec<String>,
    turns: HashMap<(String, u16), usize>,
    led_inside: usize,
}

pub(crate) struct NameServer {
    seen: Arc<Mutex<Seen>>,
}

impl NameServer {
    pub(crate) fn start(zones: Vec<(String, Answers)>) -> Self {
        let zones: HashMap<_, _> = zones.into_iter().collect();
        let socket = UdpSocket::bind((NAME_SERVER, 53)).expect("a network of our own");
        let seen = Arc::<Mutex<Seen>>::default();
        let by_server = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                let answer = {
                    let mut seen = by_server.lock().expect("nobody panics");
                    reply(&zones, &mut seen, &query[..length])
                };
                socket.send_to(&answer, peer).expect("it is here");
            }
        });
        Self { seen }
    }

    /// The names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics").asked.clone()
    }

    /// How often a name that changes was said to be inside.
    pub(crate) fn led_inside(&self) -> usize {
        self.seen.lock().expect("nobody panics").led_inside
    }
}

fn reply(zones: &HashMap<String, Answers>, seen: &mut Seen, query: &[u8]) -> Vec<u8> {
    let (name, end) = question(query);
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    seen.asked.push(name.clone());
    let mut records = Vec::new();
    let mut known = zones.get(&name);
    let mut owner = name.clone();
    while let Some(Answers::Alias(to)) = known {
        records.push(record(&owner, CNAME, &wire_name(to)));
        owner.clone_from(to);
        known = zones.get(to);
    }
    let addresses = match known {
        Some(Answers::Turns(first, second)) => {
            let turn = seen.turns.entry((name, kind)).or_default();
            *turn += 1;
            if *turn % 2 == 1 { first.as_slice() } else { second.as_slice() }
        }
        Some(Answers::Always(addresses)) => addresses.as_slice(),
        _ => &[],
    };
    for address in addresses {
        let (its, data) = match address {
            IpAddr::V4(v4) => (A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
        };
        if its == kind {
            records.push(record(&owner, kind, &data));
            let turned = matches!(known, Some(Answers::Turns(..)));
            seen.led_inside += usize::from(turned && !is_public(*address));
        }
    }
    let code = if known.is_some() { 0x80 } else { 0x83 };
    let mut wire = query[..2].to_vec();
    wire.extend_from_slice(&[0x81, code]);
    for count in [1, u16::try_from(records.len()).expect("few"), 0, 0] {
        wire.extend_from_slice(&count.to_be_bytes());
    }
    wire.extend_from_slice(&query[12..end]);
    wire.extend(records.concat());
    wire
}

/// The name of a question, in lower case, and where the question ends.
fn question(query: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), at + 5)
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).expect("short"));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut wire = wire_name(owner);
    wire.extend_from_slice(&kind.to_be_bytes());
    wire.extend_from_slice(&1_u16.to_be_bytes());
    wire.extend_from_slice(&TTL.to_be_bytes());
    wire.extend_from_slice(&u16::try_from(data.len()).expect("short").to_be_bytes());
    wire.extend_from_slice(data);
    wire
}
