//! The pool against a list that is searched from its end.

use std::net::Ipv4Addr;

use posthaste_domain::{SigningSecrets, TargetUrl, WebhookSecret};
use proptest::prelude::*;

use super::*;
use crate::Endpoint;

const TARGETS: usize = 3;
const LIMITS: Limits = Limits { open_max: 6, per_target_max: 2, idle_us_max: 10 };

/// A connection that is what its test says.
struct Fake {
    number: usize,
    clean: Rc<Cell<bool>>,
    _token: OpenToken,
}

impl Pooled for Fake {
    /// Even and odd connections go to different addresses.
    fn address(&self) -> IpAddr {
        address(self.number)
    }

    fn is_clean(&mut self) -> bool {
        self.clean.get()
    }
}

fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(number % 2).unwrap()).into()
}

fn targets() -> Vec<TargetKey> {
    let secrets = SigningSecrets::new(WebhookSecret::try_new("a-secret-of-ours").unwrap());
    let target = |n| TargetUrl::parse_stored(&format!("https://example.com:{}/", 1000 + n));
    let key = |n| Endpoint::new(&target(n).unwrap(), &secrets).target_key().clone();
    (0..TARGETS).map(key).collect()
}

/// What rests, oldest first.
#[derive(Clone)]
struct Entry {
    target: usize,
    number: usize,
    since_us: u64,
    clean: Rc<Cell<bool>>,
}

impl Entry {
    fn is_fit(&self, now_us: u64) -> bool {
        self.clean.get() && now_us - self.since_us < LIMITS.idle_us_max
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Take, or open where there is none; the connection is then in use.
    Use {
        target: usize,
        even_only: bool,
    },
    /// The one that has been in use the longest goes back, if any.
    Return,
    /// The one that has been in use the longest breaks.
    Break,
    /// The peer closes the n-th of those that rest.
    Soil(usize),
    Wait(u64),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..TARGETS, any::<bool>())
            .prop_map(|(target, even_only)| Step::Use { target, even_only }),
        5 => Just(Step::Return),
        1 => Just(Step::Break),
        1 => (0..6_usize).prop_map(Step::Soil),
        2 => (1..6_u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ];
    proptest::collection::vec(step, 0..120)
}

struct World {
    targets: Vec<TargetKey>,
    pool: Pool<Fake>,
    model: Vec<Entry>,
    in_use: VecDeque<(usize, Fake)>,
    now_us: u64,
    opened: usize,
}

impl World {
    fn new() -> Self {
        Self {
            targets: targets(),
            pool: Pool::new(LIMITS),
            model: Vec::new(),
            in_use: VecDeque::new(),
            now_us: 0,
            opened: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Use { target, even_only } => self.use_one(target, even_only),
            Step::Return => {
                if let Some((target, connection)) = self.in_use.pop_front() {
                    self.put(target, connection);
                }
            }
            Step::Break => drop(self.in_use.pop_front()),
            Step::Soil(nth) => {
                if let Some(entry) = self.model.get(nth) {
                    entry.clean.set(false);
                }
            }
            Step::Wait(us) => self.now_us += us,
            Step::Sweep => {
                self.pool.sweep(self.now_us);
                self.model.retain(|entry| entry.is_fit(self.now_us));
            }
        }
        assert_eq!(self.pool.resting(), self.model.len());
        assert_eq!(self.pool.open(), self.model.len() + self.in_use.len());
        assert!(self.pool.open() <= LIMITS.open_max);
    }

    fn use_one(&mut self, target: usize, even_only: bool) {
        let allowed = |at: IpAddr| !even_only || at == address(0);
        let taken = self.pool.take(&self.targets[target], self.now_us, allowed);
        let expected = self.take_of_model(target, even_only);
        assert_eq!(taken.as_ref().map(|fake| fake.number), expected);
        if let Some(connection) = taken.or_else(|| self.open()) {
            self.in_use.push_back((target, connection));
        }
    }

    /// The newest that is fit; what is newer and unfit goes.
    fn take_of_model(&mut self, target: usize, even_only: bool) -> Option<usize> {
        while let Some(at) = self.model.iter().rposition(|entry| entry.target == target) {
            let entry = self.model.remove(at);
            if entry.is_fit(self.now_us) && (!even_only || entry.number.is_multiple_of(2)) {
                return Some(entry.number);
            }
        }
        None
    }

    fn open(&mut self) -> Option<Fake> {
        let full = self.pool.open() == LIMITS.open_max;
        let Some(token) = self.pool.admit() else {
            assert!(full && self.model.is_empty(), "refused while there was room to make");
            return None;
        };
        if full {
            // At most one in sixteen, and those as old as the oldest, have gone.
            let oldest_us = self.model.iter().map(|entry| entry.since_us).min().unwrap();
            self.model.retain(|entry| entry.since_us != oldest_us);
        }
        self.opened += 1;
        Some(Fake { number: self.opened, clean: Rc::new(Cell::new(true)), _token: token })
    }

    fn put(&mut self, target: usize, connection: Fake) {
        let (number, since_us) = (connection.number, self.now_us);
        let clean = Rc::clone(&connection.clean);
        self.pool.put(&self.targets[target], connection, self.now_us);
        let resting = self.model.iter().filter(|entry| entry.target == target);
        if resting.count() == LIMITS.per_target_max {
            let oldest = self.model.iter().position(|entry| entry.target == target);
            self.model.remove(oldest.unwrap());
        }
        self.model.push(Entry { target, number, since_us, clean });
    }
}

proptest! {
    /// For all uses: the newest fit connection of the target is taken, and no other; the counts
    /// are those of what exists; the limits hold; room is made from the oldest.
    #[test]
    fn a_pool_is_a_list_searched_from_its_end(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.pool.clear();
        world.model.clear();
        prop_assert_eq!(world.pool.resting(), 0);
        prop_assert_eq!(world.pool.open(), world.in_use.len());
    }
}

#[test]
fn a_pool_that_keeps_none_keeps_none() {
    let mut pool = Pool::new(Limits { per_target_max: 0, ..LIMITS });
    let token = pool.admit().unwrap();
    let fake = Fake { number: 0, clean: Rc::new(Cell::new(true)), _token: token };
    pool.put(&targets()[0], fake, 0);
    assert_eq!((pool.open(), pool.resting()), (0, 0));
}
