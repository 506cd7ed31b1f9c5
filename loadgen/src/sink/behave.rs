//! What a receiver does with a request: decided here, done by the connection.
//!
//! Pure: chance and time come in. Invariant: one request, one decision.

use crate::chance::Chance;
use crate::clock::Nanos;
use crate::scenario::{Behaviour, OutageKind};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It is answered with this status, after a while.
    Answer {
        /// The status.
        status: u16,
        /// How long it takes.
        after: Nanos,
    },
    /// It is never answered; the connection stays until the client ends it.
    Hang,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
}

/// A request, as far as receivers care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// The time since the measure phase began, where it has begun.
    pub(super) since: Option<Nanos>,
    /// Which attempt at its event it is, from 1 on.
    pub(super) attempt: u32,
    /// Whether its connection has served another one.
    pub(super) reused: bool,
}

/// What a receiver with this behaviour does.
pub(super) fn decide(
    behaviour: &Behaviour,
    chance: &mut Chance,
    circumstances: Circumstances,
) -> Deed {
    let out = behaviour.outages.iter().find_map(|outage| {
        let since = circumstances.since.filter(|s| (outage.from..outage.to).contains(s))?;
        Some((outage.kind, outage.to - since))
    });
    match out {
        Some((OutageKind::Status(status), _)) => return Deed::Answer { status, after: 0 },
        Some((OutageKind::Hang, left)) => return Deed::Answer { status: 200, after: left },
        Some((OutageKind::Reset, _)) => return Deed::Reset,
        None => {}
    }
    // Only what can happen draws a number, so that adding one fault does not change the others.
    let mut happens = |share: f64| share > 0.0 && chance.fraction() < share;
    if circumstances.reused && happens(behaviour.close_on_reuse) {
        return Deed::Close;
    }
    if happens(behaviour.hang) {
        return Deed::Hang;
    }
    if happens(behaviour.reset) {
        return Deed::Reset;
    }
    let status = status(behaviour, chance, circumstances.attempt);
    Deed::Answer { status, after: behaviour.delay.draw(chance) }
}

fn status(behaviour: &Behaviour, chance: &mut Chance, attempt: u32) -> u16 {
    if let Some(last) = behaviour.attempts.len().checked_sub(1) {
        return behaviour.attempts[(attempt.max(1) as usize - 1).min(last)];
    }
    if behaviour.statuses.is_empty() {
        return 200;
    }
    let mut drawn = chance.fraction();
    for &(status, share) in &behaviour.statuses {
        if drawn < share {
            return status;
        }
        drawn -= share;
    }
    200
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Delay, Outage};

    const FIRST: Circumstances = Circumstances { since: None, attempt: 1, reused: false };

    fn shares(behaviour: &Behaviour, circumstances: Circumstances) -> Vec<(Deed, u32)> {
        let mut chance = Chance::new(3, 3);
        let mut seen: Vec<(Deed, u32)> = Vec::new();
        for _ in 0..10_000 {
            let deed = decide(behaviour, &mut chance, circumstances);
            match seen.iter_mut().find(|(other, _)| *other == deed) {
                Some((_, count)) => *count += 1,
                None => seen.push((deed, 1)),
            }
        }
        seen
    }

    fn count(seen: &[(Deed, u32)], deed: Deed) -> u32 {
        seen.iter().find(|(other, _)| *other == deed).map_or(0, |(_, count)| *count)
    }

    const fn at_once(status: u16) -> Deed {
        Deed::Answer { status, after: 0 }
    }

    #[test]
    fn the_default_says_yes_at_once() {
        assert_eq!(shares(&Behaviour::default(), FIRST), [(at_once(200), 10_000)]);
    }

    #[test]
    fn shares_are_kept() {
        let statuses = vec![(500, 0.2), (429, 0.1)];
        let behaviour = Behaviour { statuses, hang: 0.1, reset: 0.1, ..Behaviour::default() };
        let seen = shares(&behaviour, FIRST);
        for (deed, expected) in
            [(Deed::Hang, 1000), (Deed::Reset, 900), (at_once(500), 1620), (at_once(429), 810)]
        {
            assert!(count(&seen, deed).abs_diff(expected) < 150, "{deed:?} in {seen:?}");
        }
    }

    #[test]
    fn attempts_follow_their_list_and_its_last_entry_holds() {
        let behaviour = Behaviour { attempts: vec![500, 503, 200], ..Behaviour::default() };
        let answer = |attempt| {
            decide(&behaviour, &mut Chance::new(0, 0), Circumstances { attempt, ..FIRST })
        };
        let answers = [0, 1, 2, 3, 4, u32::MAX].map(answer);
        assert_eq!(answers, [500, 500, 503, 200, 200, 200].map(at_once));
    }

    #[test]
    fn outages_begin_and_end_at_their_moments() {
        let outages = vec![
            Outage { from: 10, to: 20, kind: OutageKind::Status(503) },
            Outage { from: 30, to: 40, kind: OutageKind::Hang },
            Outage { from: 50, to: 60, kind: OutageKind::Reset },
        ];
        let behaviour = Behaviour { outages, ..Behaviour::default() };
        let at =
            |since| decide(&behaviour, &mut Chance::new(0, 0), Circumstances { since, ..FIRST });
        assert_eq!([None, Some(9), Some(20)].map(at), [at_once(200); 3]);
        assert_eq!([Some(10), Some(19)].map(at), [at_once(503); 2]);
        assert_eq!(at(Some(33)), Deed::Answer { status: 200, after: 7 });
        assert_eq!(at(Some(55)), Deed::Reset);
    }

    #[test]
    fn only_a_connection_used_before_is_closed_on_reuse() {
        let behaviour = Behaviour { close_on_reuse: 1.0, ..Behaviour::default() };
        let deed =
            |reused| decide(&behaviour, &mut Chance::new(0, 0), Circumstances { reused, ..FIRST });
        assert_eq!((deed(false), deed(true)), (at_once(200), Deed::Close));
    }

    #[test]
    fn delays_have_their_distribution() {
        let mut chance = Chance::new(5, 5);
        let delay = Delay::Uniform(1_000, 3_000);
        assert!((0..1000).all(|_| (1_000..=3_000).contains(&delay.draw(&mut chance))));
        let mut drawn: Vec<_> =
            (0..10_001).map(|_| Delay::LogNormal(1_000_000, 0.5).draw(&mut chance)).collect();
        drawn.sort_unstable();
        assert!(drawn[5_000].abs_diff(1_000_000) < 30_000, "the median is {}", drawn[5_000]);
    }
}
