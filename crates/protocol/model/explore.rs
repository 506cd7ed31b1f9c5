//! Breadth first through every state, so that the first trace found is the shortest.
//!
//! Whole states are kept, not fingerprints of them: nothing is ever taken for seen that was not.
//! Not `stateright`: its `eventually` is about every path, and overlooks cycles; that a final
//! status stays *reachable* from everywhere (P5) needs the graph backwards, which it does not
//! keep. It also brings a web server. What is left of it is this file.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::action::{Action, Kind};
use crate::check;
use crate::mutant::Rules;
use crate::reached::Reached;
use crate::state::State;
use crate::world::steps;

/// How far the world goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Attempts a round.
    pub(crate) attempts: u8,
    /// Rounds.
    pub(crate) rounds: u8,
    /// Faults, of all kinds together.
    pub(crate) faults: u8,
    /// Leases that run out although their owner is about.
    pub(crate) lates: u8,
    /// Requests that the client repeats.
    pub(crate) retries: u8,
}

/// What a search found.
pub(crate) struct Found {
    /// Distinct states seen.
    pub(crate) states: usize,
    /// Transitions taken.
    pub(crate) transitions: u64,
    /// The longest shortest path.
    pub(crate) depth: u32,
    /// Whether there were more states than wanted.
    pub(crate) is_cut: bool,
    /// What was reached.
    pub(crate) reached: Reached,
    /// What is violated, and the steps that lead to it.
    pub(crate) violation: Option<Violation>,
}

/// A property that does not hold, and how to get there.
pub(crate) struct Violation {
    pub(crate) property: &'static str,
    pub(crate) trace: Vec<Action>,
}

/// The states seen, each with the one it was reached from.
struct Graph {
    states: Vec<State>,
    parents: Vec<u32>,
    /// Open addressing; 0 is free, else one more than the index. A power of two.
    table: Vec<u32>,
    hasher: FixedState,
}

impl Graph {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            parents: Vec::new(),
            table: vec![0; 1 << 16],
            hasher: FixedState::default(),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a hash may be cut")]
    fn place(&self, state: &State) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        let mut at = self.hasher.hash_one(state) as usize & mask;
        loop {
            match self.table[at] {
                0 => return Err(at),
                found if self.states[found as usize - 1] == *state => {
                    return Ok(found as usize - 1);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// True where it is new.
    fn insert(&mut self, state: State, parent: u32) -> bool {
        let Err(at) = self.place(&state) else {
            return false;
        };
        self.states.push(state);
        self.parents.push(parent);
        self.table[at] = u32::try_from(self.states.len()).expect("fewer than 4 billion states");
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for index in 0..self.states.len() {
            let at = self.place(&self.states[index]).expect_err("each state is there once");
            self.table[at] = u32::try_from(index + 1).expect("checked when it was inserted");
        }
    }

    fn trace(&self, rules: &Rules, mut index: usize) -> Vec<Action> {
        let mut trace = Vec::new();
        while index != 0 {
            let parent = self.parents[index] as usize;
            let mut taken = None;
            steps(rules, &self.states[parent], &mut |action, next| {
                if next == self.states[index] && taken.is_none() {
                    taken = Some(action);
                }
            });
            trace.push(taken.expect("every state but the first was stepped to"));
            index = parent;
        }
        trace.reverse();
        trace
    }
}

/// Explores everything within the bounds, up to the first violation, or `states_max` states.
pub(crate) fn explore(rules: &Rules, states_max: usize) -> Found {
    let mut graph = Graph::new();
    graph.insert(State::START, 0);
    let mut found = Found {
        states: 0,
        transitions: 0,
        depth: 0,
        is_cut: false,
        reached: Reached::default(),
        violation: None,
    };
    let mut index = 0;
    let mut layer_ends = 1;
    while index < graph.states.len() {
        if graph.states.len() > states_max {
            found.is_cut = true;
            break;
        }
        if index == layer_ends {
            found.depth += 1;
            layer_ends = graph.states.len();
        }
        let state = graph.states[index];
        let parent = u32::try_from(index).expect("checked when it was inserted");
        let mut wrong = None;
        steps(rules, &state, &mut |action, next| {
            found.transitions += 1;
            found.reached.took(action);
            let property = check::step(&state, &next).or_else(|| check::state(rules, &next));
            if let (Some(property), None) = (property, wrong) {
                wrong = Some((property, action));
            }
            if graph.insert(next, parent) {
                found.reached.came_to(next.row.as_ref());
            }
        });
        if let Some((property, action)) = wrong {
            let mut trace = graph.trace(rules, index);
            trace.push(action);
            found.violation = Some(Violation { property, trace });
            break;
        }
        index += 1;
    }
    found.states = graph.states.len();
    if found.violation.is_none() && !found.is_cut {
        found.violation = stuck(rules, &graph);
    }
    found
}

/// P5: from everywhere a final status can be reached, without a fault, without anybody's wish and
/// without a 2xx. Looks backwards: a state is good when a step of it leads to a good one.
fn stuck(rules: &Rules, graph: &Graph) -> Option<Violation> {
    let mut good = vec![false; graph.states.len()];
    let mut left: Vec<usize> = (0..graph.states.len()).rev().collect();
    loop {
        let before = left.len();
        left.retain(|&index| {
            let state = &graph.states[index];
            good[index] = check::is_settled(state) || {
                let mut leads = false;
                steps(rules, state, &mut |action, next| {
                    if !leads && action.kind() == Kind::Course {
                        leads = graph.place(&next).is_ok_and(|next| good[next]);
                    }
                });
                leads
            };
            !good[index]
        });
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            let first = *left.iter().min().expect("not empty");
            let property = "P5: a final status is reachable";
            return Some(Violation { property, trace: graph.trace(rules, first) });
        }
    }
}
