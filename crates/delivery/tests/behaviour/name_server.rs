//! A name server on loopback that speaks DNS by hand, over UDP and TCP, and lies as it is told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use posthaste_delivery::{Client, Settings};
use posthaste_domain::AddressPolicy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::{TestClock, clock, settings, spawn};

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
/// Longer chains of aliases are cut off, as recursive resolvers do.
const ALIASES_MAX: usize = 16;

/// What the name server answers for a name.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Addresses, with a TTL.
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>, u32),
    /// An alias.
    Alias(String),
    /// An alias, and nothing of what it leads to: the asker has to ask again.
    BareAlias(String),
    /// This by TCP; by UDP only that it does not fit.
    Truncated(Box<Self>),
    /// By UDP a part of the answer, and that there is more; by TCP the whole.
    Cut(Box<Self>, Box<Self>),
    /// An answer that names somebody else.
    OtherName(Ipv4Addr),
    /// The answer of the first for the first question of each kind, of the second for the second,
    /// and so on in turns.
    Turns(Vec<Self>),
    /// First what a forger would send, who does not know the question's number; then the truth.
    Forged(Box<Self>, Box<Self>),
    /// A response code: 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// No answer at all.
    Silence,
}

impl Zone {
    /// These addresses, for a minute.
    pub(crate) fn of(addresses: &[&str]) -> Self {
        Self::with_ttl(addresses, 60)
    }

    /// These addresses, not to be remembered.
    pub(crate) fn fleeting(addresses: &[&str]) -> Self {
        Self::with_ttl(addresses, 0)
    }

    fn with_ttl(addresses: &[&str], ttl: u32) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in addresses {
            match text.parse().unwrap() {
                IpAddr::V4(address) => v4.push(address),
                IpAddr::V6(address) => v6.push(address),
            }
        }
        Self::Addresses(v4, v6, ttl)
    }

    pub(crate) fn alias(to: &str) -> Self {
        Self::Alias(to.to_owned())
    }

    pub(crate) fn boxed(self) -> Box<Self> {
        Box::new(self)
    }
}

/// The names that it knows, and what was asked.
struct Zones {
    known: HashMap<String, Zone>,
    asked: RefCell<Vec<String>>,
    /// How often a name was asked for an address of a kind.
    turns: RefCell<HashMap<(String, u16), usize>>,
}

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zones: Rc<Zones>,
}

impl NameServer {
    pub(crate) async fn start<N: Into<String>>(known: Vec<(N, Zone)>) -> Self {
        let (udp, tcp) = bind_both().await;
        let address = udp.local_addr().unwrap();
        let zones = Rc::new(Zones {
            known: known.into_iter().map(|(name, zone)| (name.into(), zone)).collect(),
            asked: RefCell::default(),
            turns: RefCell::default(),
        });
        spawn(serve_udp(udp, Rc::clone(&zones)));
        spawn(serve_tcp(tcp, Rc::clone(&zones)));
        Self { address, zones }
    }

    /// The names that were asked for since the last time, in the order of the questions.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        self.zones.asked.take()
    }

    /// A client that resolves here.
    pub(crate) fn client(&self, policy: AddressPolicy) -> Client {
        self.client_with_clock(policy).0
    }

    pub(crate) fn client_with_clock(&self, policy: AddressPolicy) -> (Client, Rc<TestClock>) {
        let settings =
            Settings { address_policy: policy, dns_servers: vec![self.address], ..settings() };
        let clock = clock();
        (Client::new(settings, clock.clone()).unwrap(), clock)
    }
}

/// One port for both protocols. The system gives a port that is free for the first one only, so
/// that others are tried until one is free for both.
async fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(udp: UdpSocket, zones: Rc<Zones>) {
    let mut query = [0; 1500];
    loop {
        let (length, peer) = udp.recv_from(&mut query).await.unwrap();
        for answer in zones.replies(&query[..length], false) {
            udp.send_to(&answer, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(tcp: TcpListener, zones: Rc<Zones>) {
    loop {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let zones = Rc::clone(&zones);
        spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                for answer in zones.replies(&query, true) {
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
    }
}

/// An answer under way.
#[derive(Default)]
struct Draft {
    records: Vec<Vec<u8>>,
    code: u8,
    truncated: bool,
    silent: bool,
    /// What a forger says before it.
    forged: Option<Box<Self>>,
}

/// What is asked about a name, and by which way.
#[derive(Clone, Copy)]
struct Asked {
    kind: u16,
    tcp: bool,
}

impl Zones {
    /// The answers to a query, in the order of sending.
    fn replies(&self, query: &[u8], tcp: bool) -> Vec<Vec<u8>> {
        let name = name_of(query);
        let end = 12 + wire_name(&name).len() + 4;
        let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
        self.asked.borrow_mut().push(name.clone());
        let mut draft = Draft::default();
        self.fill(&mut draft, &name, Asked { kind, tcp });
        if draft.silent {
            return Vec::new();
        }
        let mut sent = Vec::new();
        if let Some(forged) = &draft.forged {
            for guess in 1..=8_u8 {
                let mut forged = forged.written(&query[..end]);
                forged[1] = forged[1].wrapping_add(guess);
                sent.push(forged);
            }
        }
        sent.push(draft.written(&query[..end]));
        sent
    }

    fn fill(&self, draft: &mut Draft, name: &str, asked: Asked) {
        match self.known.get(name) {
            None => draft.code = 3,
            Some(zone) => self.answer(draft, name, zone, asked),
        }
    }

    fn answer(&self, draft: &mut Draft, name: &str, zone: &Zone, asked: Asked) {
        let Asked { kind, tcp } = asked;
        match zone {
            Zone::Silence => draft.silent = true,
            Zone::Code(code) => draft.code = *code,
            Zone::Alias(to) | Zone::BareAlias(to) => {
                draft.records.push(record(name, CNAME, 60, &wire_name(to)));
                if matches!(zone, Zone::Alias(_)) && draft.records.len() < ALIASES_MAX {
                    self.fill(draft, to, asked);
                }
            }
            Zone::Addresses(v4, v6, ttl) => {
                let v4 = v4.iter().filter(|_| kind == A).map(|ip| ip.octets().to_vec());
                let v6 = v6.iter().filter(|_| kind == AAAA).map(|ip| ip.octets().to_vec());
                draft.records.extend(v4.chain(v6).map(|data| record(name, kind, *ttl, &data)));
            }
            Zone::Truncated(_) if !tcp => draft.truncated = true,
            Zone::Cut(part, _) if !tcp => {
                draft.truncated = true;
                self.answer(draft, name, part, asked);
            }
            Zone::Truncated(whole) | Zone::Cut(_, whole) => {
                self.answer(draft, name, whole, asked);
            }
            Zone::OtherName(ip) if kind == A => {
                draft.records.push(record("else.example.com", A, 60, &ip.octets()));
            }
            Zone::OtherName(_) => {}
            Zone::Turns(zones) => {
                let mut turns = self.turns.borrow_mut();
                let turn = turns.entry((name.to_owned(), kind)).or_default();
                let zone = &zones[*turn % zones.len()];
                *turn += 1;
                drop(turns);
                self.answer(draft, name, zone, asked);
            }
            Zone::Forged(lie, truth) => {
                let mut forged = Draft::default();
                self.answer(&mut forged, name, lie, asked);
                draft.forged = Some(Box::new(forged));
                self.answer(draft, name, truth, asked);
            }
        }
    }
}

impl Draft {
    /// The message that answers `question`: a query's header and question.
    fn written(&self, question: &[u8]) -> Vec<u8> {
        let mut wire = question[..2].to_vec();
        wire.extend_from_slice(&[0x81 | (u8::from(self.truncated) << 1), 0x80 | self.code]);
        for count in [1, u16::try_from(self.records.len()).unwrap(), 0, 0] {
            wire.extend_from_slice(&count.to_be_bytes());
        }
        wire.extend_from_slice(&question[12..]);
        wire.extend(self.records.concat());
        wire
    }
}

/// The name in a query, in lower case, without the dot at its end.
fn name_of(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap());
        at += 1 + length;
    }
    labels.join(".").to_lowercase()
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn record(name: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut wire = wire_name(name);
    wire.extend_from_slice(&kind.to_be_bytes());
    wire.extend_from_slice(&1_u16.to_be_bytes());
    wire.extend_from_slice(&ttl.to_be_bytes());
    wire.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(data);
    wire
}
