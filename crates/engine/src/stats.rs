//! What an engine says about itself, for metrics and status lines. Plain counts, copied out.

/// A snapshot of an engine's figures. The first group are levels, the second only ever grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Deliveries in memory, those that wait for their due time included.
    pub held: u64,
    /// Deliveries that could be attempted as soon as their turn comes.
    pub ready: u64,
    /// Tenants with something that could be attempted now, were there a place in the process. What
    /// is ready beside it waits for its endpoint, its host or a rate.
    pub in_turn: u64,
    /// Retries in memory whose due time has not come (the store holds those further away).
    pub waiting: u64,
    /// Deliveries whose payload is being read.
    pub loading: u64,
    /// Attempts in flight.
    pub in_flight: u64,
    /// Outcomes on their way into the store.
    pub settling: u64,
    /// Payload bytes in memory.
    pub payload_bytes: u64,
    /// Endpoints that the engine knows of at the moment.
    pub endpoints: u64,
    /// Endpoints of which the store has fresh deliveries that are not in memory.
    pub endpoints_behind: u64,
    /// Endpoints of which the store has overdue retries that did not fit into memory.
    pub endpoints_behind_retries: u64,
    /// Endpoints that get no attempt until a time that they or we have set.
    pub endpoints_on_hold: u64,
    /// Endpoints that are paused, left alone, probed, on their ramp or given up.
    pub endpoints_troubled: u64,
    /// Attempts in flight of endpoints that are slow.
    pub slow_in_flight: u64,

    /// Attempts started.
    pub attempts: u64,
    /// Deliveries settled as delivered.
    pub delivered: u64,
    /// Outcomes settled as a retry at a later time.
    pub retried: u64,
    /// Deliveries settled as dead-lettered.
    pub dead_lettered: u64,
    /// How often an endpoint has failed so often in a row that it was left alone.
    pub trips: u64,
    /// Retries that came too late and were spread over the time after.
    pub spread: u64,
    /// Attempts that failed by our own fault and were not charged to the delivery.
    pub not_charged: u64,
    /// Outcomes that the store dropped because it knew better.
    pub superseded: u64,
    /// Deliveries whose event was gone from the store when their turn came.
    pub vanished: u64,
    /// Deliveries that another process took over before their attempt.
    pub withdrawn: u64,
    /// Arrivals and due retries that did not fit into memory and were left in the store.
    pub refused: u64,
    /// Reads, loads and settlements that the store could not do for now.
    pub store_failures: u64,
    /// Invariants found broken. Anything but 0 is a fault of this program.
    pub invariant_violations: u64,
}
