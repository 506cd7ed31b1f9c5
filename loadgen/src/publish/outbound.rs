//! What a lane counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::record::{histogram, record};
use crate::shared::{PHASES, Window};

/// The counts of one lane. Only the lane writes; whoever prints or collects reads.
#[derive(Debug)]
pub struct Outbound {
    /// Intended → 201, by phase.
    pub publish: [Histogram<u64>; PHASES],
    /// Intended → handed to a connection, by phase.
    pub lag: [Histogram<u64>; PHASES],
    /// Intended → 201 of this interval.
    pub publish_now: Histogram<u64>,
    /// Intended → sent of this interval.
    pub lag_now: Histogram<u64>,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Events without an answer, by what went wrong.
    pub cut_off: BTreeMap<&'static str, u64>,
    /// Connections that could not be made.
    pub connect_errors: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Events handed to connections.
    pub sent: u64,
    /// Events of the measure phase that were sent in it.
    pub sent_in_time: u64,
    /// Events of the measure phase.
    pub asked: u64,
    /// Events that found no room when they were due.
    pub held_back: u64,
    /// Events that were due and never sent, because the load was stopped.
    pub abandoned: u64,
    /// 201s in the measure phase, whenever their events were due.
    pub accepted_in_window: u64,
    /// Time in flight of the measure phase's events that got another answer than 201, or none.
    pub other_in_flight: Nanos,
    /// Events of the measure phase without an answer, summed over time, to the last answer.
    pub measured_in_flight_time: f64,
    measured_in_flight: u64,
    /// Events without an answer now.
    pub in_flight: u64,
    /// The most of them at one moment.
    pub in_flight_peak: u64,
    /// Events without an answer, summed over the time of the measure phase.
    pub in_flight_time: f64,
    changed: Nanos,
}

impl Outbound {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            publish: std::array::from_fn(|_| histogram()),
            lag: std::array::from_fn(|_| histogram()),
            publish_now: histogram(),
            lag_now: histogram(),
            answers: BTreeMap::new(),
            cut_off: BTreeMap::new(),
            connect_errors: 0,
            connections: 0,
            sent: 0,
            sent_in_time: 0,
            asked: 0,
            held_back: 0,
            abandoned: 0,
            accepted_in_window: 0,
            other_in_flight: 0,
            measured_in_flight_time: 0.0,
            measured_in_flight: 0,
            in_flight: 0,
            in_flight_peak: 0,
            in_flight_time: 0.0,
            changed: 0,
        }
    }

    /// An event that was due at `due` is sent.
    pub(super) fn sent(&mut self, due: Nanos, now: Nanos, window: &Window) {
        self.flow(now, window);
        self.in_flight += 1;
        self.in_flight_peak = self.in_flight_peak.max(self.in_flight);
        self.sent += 1;
        let (phase, lag) = (window.phase(due), now.saturating_sub(due));
        record(&mut self.lag[phase], lag);
        record(&mut self.lag_now, lag);
        if phase == 1 {
            self.measured_in_flight += 1;
            self.asked += 1;
            self.sent_in_time += u64::from(now < window.to);
        }
    }

    /// Its answer has come, or will not come (`Err`).
    pub(super) fn ended(
        &mut self,
        [due, sent, now]: [Nanos; 3],
        outcome: Result<u16, &'static str>,
        window: &Window,
    ) {
        self.flow(now, window);
        self.in_flight -= 1;
        let is_measured = window.phase(due) == 1;
        self.measured_in_flight -= u64::from(is_measured);
        match outcome {
            Ok(status) => *self.answers.entry(status).or_default() += 1,
            Err(reason) => *self.cut_off.entry(reason).or_default() += 1,
        }
        if outcome == Ok(201) {
            let latency = now.saturating_sub(due);
            record(&mut self.publish[window.phase(due)], latency);
            record(&mut self.publish_now, latency);
            self.accepted_in_window += u64::from((window.from..window.to).contains(&now));
        } else if is_measured {
            self.other_in_flight += now.saturating_sub(sent);
        }
    }

    /// Time has passed with as many in flight as there are.
    fn flow(&mut self, now: Nanos, window: &Window) {
        let passed = now.saturating_sub(self.changed) as f64;
        self.measured_in_flight_time += self.measured_in_flight as f64 * passed;
        self.in_flight_time += self.in_flight as f64 * window.overlap(self.changed, now) as f64;
        self.changed = now;
    }
}
