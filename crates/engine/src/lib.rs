//! The sans-IO delivery engine of one shard: who is attempted next, and what becomes of it.
//!
//! The engine decides; it never waits, reads a clock, draws entropy or touches a socket. Facts
//! come in by [`Engine::handle`], orders go out by [`Engine::poll_effect`], the next deadline by
//! [`Engine::next_wakeup`]. One owner, no locks, all collections bounded by [`Settings`].

mod engine;
mod invariants;
mod io;
mod options;
mod settings;
mod stats;
mod view;

mod breaker;
mod calendar;
mod chance;
mod congestion;
mod directory;
mod guard;
mod hosts;
mod list;
mod pace;
mod pause;
mod table;

pub use engine::Engine;
pub use invariants::{Broken, Invariant};
pub use io::{Delivery, Effect, Input};
pub use options::{Options, Rate, WEIGHT_MAX};
pub use settings::{
    Backoff, DEFAULT_BACKLOG_READ_MAX, DEFAULT_BACKLOG_READS_MAX, DEFAULT_BREAKER_FAILURES,
    DEFAULT_BREAKER_GIVE_UP_MS, DEFAULT_BREAKER_HOLD, DEFAULT_HELD_MAX,
    DEFAULT_HELD_PER_ENDPOINT_MAX, DEFAULT_IN_FLIGHT_FIRST, DEFAULT_IN_FLIGHT_MAX,
    DEFAULT_IN_FLIGHT_PER_ENDPOINT_MAX, DEFAULT_IN_FLIGHT_PER_HOST_MAX,
    DEFAULT_IN_FLIGHT_PER_TENANT_MAX, DEFAULT_NOT_CHARGED_BACKOFF, DEFAULT_OPTIONS_READS_MAX,
    DEFAULT_OPTIONS_REFRESH_MS, DEFAULT_OVERDUE_SPREAD_MS, DEFAULT_PAYLOAD_BYTES_MAX,
    DEFAULT_RAMP_FIRST_PER_S, DEFAULT_SETTLING_MAX, DEFAULT_SLOW_MS, DEFAULT_SLOW_PERCENT_MAX,
    DEFAULT_STORE_BACKOFF, DEFAULT_TIMERS_HELD_MAX, DEFAULT_TIMERS_READ_MAX,
    DEFAULT_TIMERS_WINDOW_MS, Settings, SettingsError,
};
pub use stats::Stats;
pub use view::{EndpointView, Health};
