//! Logs to standard error: text for people, or one JSON object a line.
//!
//! Field names: data goes into fields, `error` for errors, durations with their unit in the name.
//! Never fails the process: a log line that cannot be written is lost, because a closed pipe must
//! not stop deliveries.

use std::io::{self, IsTerminal as _};

use tracing::{Subscriber, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::process::{Log, LogFormat};

/// Which lines are written, to be changed while they are.
#[derive(Debug)]
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Has the levels of these settings hold from now on.
    pub fn set(&self, log: &Log) {
        if let Err(error) = self.0.reload(log.levels.filter()) {
            warn!(%error, "log levels not changed");
        }
    }
}

/// Starts logging, once a process.
///
/// Colours only on a terminal, and not where `NO_COLOR` says otherwise (<https://no-color.org>).
///
/// # Errors
/// Where somebody else in this process logs already.
pub fn start(log: &Log) -> Result<Levels, TryInitError> {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = !refused && io::stderr().is_terminal();
    let (subscriber, levels) = subscriber(log, io::stderr, colour);
    subscriber.try_init()?;
    Ok(levels)
}

fn subscriber<W>(log: &Log, writer: W, colour: bool) -> (impl Subscriber + Send + Sync, Levels)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(colour).log_internal_errors(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        // Fields at the top, as log collectors want them; spans would repeat them on every line.
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let (filter, levels) = reload::Layer::new(log.levels.filter());
    (tracing_subscriber::registry().with(layer.with_filter(filter)), Levels(levels))
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind, Write};
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, warn};

    use super::*;
    use crate::config::layers::{Flag, Sources};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Standard error whose reader has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(Error::from(ErrorKind::BrokenPipe))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn configured(level: &str, format: &str) -> Log {
        let set = |key, value| Flag::Set(format!("log.{key}={value}"));
        let flags = vec![set("level", level), set("format", format)];
        crate::config::load(Sources { flags, ..Sources::default() }).unwrap().config.log
    }

    fn logged(log: &Log) -> String {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, _levels) = subscriber(log, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            warn!(host = "a.example", attempt = 2, "delivery failed");
            info!(target: "posthaste_delivery::dns", "asked");
            debug!("never shown");
        });
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let text = logged(&configured("warn", "json"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "delivery failed");
        assert_eq!((&line["host"], &line["attempt"]), (&"a.example".into(), &2.into()));
        assert_eq!(line["level"], "WARN");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn levels_choose_the_lines() {
        let text = logged(&configured("warn,posthaste_delivery=info", "text"));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("delivery failed host=\"a.example\" attempt=2"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        assert_eq!(logged(&configured("off", "text")), "");
    }

    /// What is changed while lines are written holds for the next one.
    #[test]
    fn levels_can_be_changed() {
        let written = Written::default();
        let writer = written.clone();
        let log = configured("warn", "text");
        let (subscriber, levels) = subscriber(&log, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            let tell = |word| info!(word, "told");
            tell("first");
            levels.set(&configured("info", "text"));
            tell("second");
            levels.set(&configured("off", "text"));
            tell("third");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("second") && text.lines().count() == 1, "{text}");
    }

    /// The process outlives whoever reads its log.
    #[test]
    fn a_closed_standard_error_is_survived() {
        for format in ["text", "json"] {
            let (subscriber, _levels) = subscriber(&configured("info", format), || Closed, false);
            tracing::subscriber::with_default(subscriber, || info!("nobody reads this"));
        }
    }
}
