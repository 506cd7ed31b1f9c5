//! Settings of the process itself: how it stops, what it logs, how many threads it has.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::kinds::Choice;
use super::kinds::levels::{Levels, LogLevels};
use super::kinds::numbers::{CountOrZero, HOUR, Time};
use super::reader::Section;

/// `[drain]`: how the process stops.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long attempts in flight may take to finish, in milliseconds.
    pub timeout_ms: u64,
}

impl Drain {
    /// How long attempts in flight may take to finish.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn read(mut section: Section<'_>) -> Self {
        Self {
            timeout_ms: section.live(
                "timeout",
                Time::new(100..=HOUR),
                "35s",
                "How long a stop waits for attempts in flight: a whole attempt and time to store \
                 what came of it. What is cut off is attempted again after the next start.",
            ),
        }
    }
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged to standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// Which lines.
    pub levels: LogLevels,
    /// In which form.
    pub format: LogFormat,
}

impl Log {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            levels: s.live(
                "level",
                Levels,
                "info",
                "How much is logged. At info a line is about the process, never about each event. \
                 Libraries that others wrote are heard from warn on, unless they are named.",
            ),
            format: s.key(
                "format",
                Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
                "text",
                "Text for people, or one JSON object a line for programs.",
            ),
        }
    }
}

/// `[runtime]`: threads.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Threads that serve the API; none for one a processor.
    pub api_threads: Option<NonZeroUsize>,
}

impl Runtime {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        Self {
            api_threads: section.key(
                "api-threads",
                CountOrZero { max: 256, zero: "one a processor" },
                "0",
                "Threads that serve the public API; those that deliver are engine.shards.",
            ),
        }
    }
}
