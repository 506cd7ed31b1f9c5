//! `posthaste ledger`: what is done with a data directory while nobody serves from it.
//!
//! Findings are lines on standard output, one each, while they are found; `--json` makes each an
//! object. Exit codes: 0 where everything is whole, 65 where something is damaged or was lost, 74
//! where a file cannot be read or written at all, 78 for a directory that cannot be used.

use std::cell::RefCell;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use posthaste_domain::{TenantId, Timestamp};
use posthaste_embedded::Damage;
use posthaste_embedded::tools::{self, Exported, Finding, Repaired, ToolError, Verified};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{EXIT_CONFIG, Settings, commands};
use crate::clock::Clock;

/// Exit code where what is stored is not what was written (`EX_DATAERR`).
const EXIT_DAMAGED: u8 = 65;
/// Exit code where a file cannot be read or written (`EX_IOERR`).
const EXIT_IO: u8 = 74;

const VERIFY_EXAMPLES: &str = "\
Reads everything: journals, tables, every row, the proof that nothing acknowledged is missing, and
whether they agree. Writes nothing. Stop the daemon first. Exit codes: 0 if all of it is whole, 65
if something is damaged.

Examples:
  posthaste ledger verify --data-dir /var/lib/private/posthaste
  posthaste ledger verify --json | jq -r 'select(.damage).damage.key'";

const REPAIR_EXAMPLES: &str = "\
Writes what is whole into a new directory, and says what is not. The old directory is only read.
An event whose payload is whole is kept; where its row is lost it is kept as the rest of it tells,
and in doubt it is delivered again. Exit codes: 0 if nothing was lost, 65 if something was, be it an
event, a tenant, a key or a job; the new directory can be served from either way.

Examples:
  posthaste ledger repair --to /var/lib/posthaste-repaired
  posthaste ledger repair --in-place                  the old one is kept beside it";

const EXPORT_EXAMPLES: &str = "\
One JSON object a line, in the order of tenants and of age. A payload that is JSON on one line
stands in `payload` as it is, any other in `payload_base64`. Secrets and headers are no part of it.
What is damaged is told on standard error, and the exit code is 65 then.

Examples:
  posthaste ledger export > events.ndjson
  posthaste ledger export --tenant acme | jq -c 'select(.status == \"DLQ\")'";

/// `posthaste ledger`.
#[derive(Args, Clone, Debug)]
pub struct Ledger {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with a data directory.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Look whether everything in it is what was written
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Write what is whole into a new directory
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(Repair),
    /// Print every event, one JSON object a line
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Export),
}

/// `posthaste ledger verify`.
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// Print one JSON object a line: each `damage`, then the `summary`
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `posthaste ledger repair`.
#[derive(Args, Clone, Debug)]
pub struct Repair {
    /// The new directory, which must not be there yet
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "in_place")]
    pub to: Option<PathBuf>,
    /// Put the new directory in the place of the old one, which is kept beside it
    #[arg(long, conflicts_with = "to")]
    pub in_place: bool,
    /// Print one JSON object a line: each `damage`, what is `lost` or `mended`, then the `summary`
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `posthaste ledger export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// Only this tenant's
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    pub tenant: Option<TenantId>,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::try_new(text).map_err(|error| error.to_string())
}

/// Does what was asked for.
#[must_use]
pub fn run(arguments: &Ledger) -> ExitCode {
    let settings = match &arguments.action {
        Action::Verify(verify) => &verify.settings,
        Action::Repair(repair) => &repair.settings,
        Action::Export(export) => &export.settings,
    };
    let dir = match commands::load(settings) {
        Ok(loaded) => loaded.config.data.dir,
        Err(code) => return code,
    };
    let ended = match &arguments.action {
        Action::Verify(arguments) => verify(&dir, arguments),
        Action::Repair(arguments) => repair(&dir, arguments),
        Action::Export(arguments) => export(&dir, arguments),
    };
    ended.unwrap_or_else(|error| {
        commands::complain_of(&error);
        ExitCode::from(if error.is_misuse() { EXIT_CONFIG } else { EXIT_IO })
    })
}

/// Lines on standard output; a reader that goes away early is no fault, and ends them.
struct Lines {
    output: RefCell<BufWriter<StdoutLock<'static>>>,
    failed: RefCell<Option<io::Error>>,
    json: bool,
}

impl Lines {
    fn new(json: bool) -> Self {
        let output = RefCell::new(BufWriter::new(io::stdout().lock()));
        Self { output, failed: RefCell::default(), json }
    }

    /// One line, in either form.
    fn line(&self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) {
        self.write(&if self.json { object().to_string() } else { text() });
    }

    /// One line; whether anybody still reads.
    fn write(&self, line: &str) -> bool {
        if self.failed.borrow().is_none() {
            let written = writeln!(self.output.borrow_mut(), "{line}");
            *self.failed.borrow_mut() = written.err();
        }
        self.failed.borrow().is_none()
    }

    /// The exit code, once everything is said.
    fn end(self, is_whole: bool) -> ExitCode {
        let flushed = self.output.into_inner().flush().err();
        match self.failed.into_inner().or(flushed) {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                commands::complain_of(&error);
                ExitCode::from(EXIT_IO)
            }
            _ if is_whole => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_DAMAGED),
        }
    }
}

fn verify(dir: &Path, arguments: &Verify) -> Result<ExitCode, ToolError> {
    let lines = Lines::new(arguments.json);
    let verified = tools::verify(dir, &mut |damage| tell_damage(&lines, &damage))?;
    for note in &verified.notes {
        lines.line(|| format!("note     {note}"), || json!({ "note": note }));
    }
    let verdict = match verified.damages {
        0 => "whole".to_owned(),
        1 => "1 damage".to_owned(),
        damages => format!("{damages} damages"),
    };
    let text = || format!("{}: {verdict}\n{}", dir.display(), summary(&verified));
    lines.line(text, || json!({ "summary": summary_json(&verified) }));
    Ok(lines.end(verified.damages == 0))
}

fn tell_damage(lines: &Lines, damage: &Damage) {
    let Damage { kind, place, key, what } = damage;
    let object = || {
        let kind = kind.as_str();
        json!({ "damage": { "kind": kind, "place": place, "key": key, "what": what } })
    };
    lines.line(|| format!("damaged  {damage}"), object);
}

/// What a directory holds, for people.
fn summary(verified: &Verified) -> String {
    let Verified { commit, witnessed, payload_bytes, tenants, keys, claims, jobs, files, .. } =
        verified;
    let proven = witnessed.map_or_else(|| "none".to_owned(), |commit| commit.to_string());
    let events = verified.events.iter().map(|(status, count)| format!("{count} {status}"));
    let events = events.collect::<Vec<_>>().join(", ");
    let events = if events.is_empty() { "none".to_owned() } else { events };
    format!(
        "  commits   {commit}, proven to have been acknowledged: {proven}\n  \
           events    {events} ({payload_bytes} bytes of payload)\n  \
           tenants   {tenants}, with {keys} API keys; {claims} idempotency keys; {jobs} jobs\n  \
           files     {files} of tables"
    )
}

fn summary_json(verified: &Verified) -> Value {
    let Verified { commit, reached, accepted, witnessed, events, payload_bytes, .. } = verified;
    let Verified { tenants, keys, claims, jobs, files, damages, notes: _, .. } = verified;
    json!({
        "commit": commit, "commit_complete": reached, "commit_witnessed": witnessed,
        "accepted": accepted, "events": events, "payload_bytes": payload_bytes,
        "tenants": tenants, "api_keys": keys, "claims": claims, "jobs": jobs,
        "table_files": files, "damages": damages,
    })
}

fn repair(dir: &Path, arguments: &Repair) -> Result<ExitCode, ToolError> {
    let lines = Lines::new(arguments.json);
    let mut tell = |finding| tell_finding(&lines, &finding);
    let (repaired, place) = match &arguments.to {
        Some(to) => (tools::repair(dir, to, &mut tell)?, to.clone()),
        None => {
            let stamp = Clock::start().now().as_millis();
            let (repaired, kept) = tools::repair_in_place(dir, stamp, &mut tell)?;
            let kept_in = kept.display();
            let text = || format!("kept     what was there is in {kept_in}");
            lines.line(text, || json!({ "kept": kept_in.to_string() }));
            (repaired, dir.to_owned())
        }
    };
    let Repaired { source, kept, lost, others_lost, mended, commits_missing } = &repaired;
    let text = || {
        let missing = match commits_missing {
            0 => String::new(),
            n => format!("; {n} acknowledged commits are missing, of which nothing is known"),
        };
        let damages = source.damages;
        format!(
            "{} can be served from: {damages} damages, {lost} events lost, {mended} kept as the \
             rest of them tells, {others_lost} other things lost{missing}\n{}",
            place.display(),
            summary(kept)
        )
    };
    lines.line(text, || {
        json!({ "summary": {
            "directory": place.display().to_string(), "damages": source.damages, "lost": lost,
            "others_lost": others_lost, "mended": mended, "commits_missing": commits_missing,
            "kept": summary_json(kept),
        } })
    });
    Ok(lines.end(repaired.is_complete()))
}

fn tell_finding(lines: &Lines, finding: &Finding) {
    let named = |event: &String, what: &String| json!({ "event": event, "what": what });
    match finding {
        Finding::Damaged(damage) => tell_damage(lines, damage),
        Finding::Lost { event, what } => {
            let text = || format!("lost     {event}: {what}");
            lines.line(text, || json!({ "lost": named(event, what) }));
        }
        Finding::LostOther { name, what } => {
            let text = || format!("lost     {name}: {what}");
            lines.line(text, || json!({ "lost": { "other": name, "what": what } }));
        }
        Finding::Mended { event, what } => {
            let text = || format!("mended   {event}: {what}");
            lines.line(text, || json!({ "mended": named(event, what) }));
        }
    }
}

fn export(dir: &Path, arguments: &Export) -> Result<ExitCode, ToolError> {
    let lines = Lines::new(true);
    let mut each = |event: Exported| lines.write(&exported(&event));
    let mut tell = |damage: Damage| commands::complain(&damage.to_string());
    let damages = tools::export(dir, arguments.tenant.as_ref(), &mut each, &mut tell)?;
    Ok(lines.end(damages == 0))
}

/// One event as a line.
fn exported(event: &Exported) -> String {
    let time = |at: Timestamp| at.to_rfc3339();
    let attempts = event.log.iter().map(|line| {
        let attempt = &line.attempt;
        json!({
            "round": line.round, "number": attempt.number, "at": time(attempt.at),
            "duration_ms": attempt.duration_ms, "status_code": attempt.status_code,
            "error": attempt.error,
        })
    });
    let mut object = json!({
        "id": event.id.to_string(), "tenant": event.tenant.as_str(),
        "status": event.status.as_str(), "created_at": time(event.id.created_at()),
        "round": event.round, "attempts": event.attempts,
        "last_attempt_at": event.last_attempt_at.map(time),
        "next_attempt_at": event.next_attempt_at.map(time),
        "dead_letter": event.dead.map(|(cause, at)| json!({
            "cause": cause.as_str(), "at": time(at),
        })),
        "expires_at": event.ends.map(time), "log": attempts.collect::<Vec<_>>(),
    });
    let Some(payload) = &event.payload else { return object.to_string() };
    let is_one_line = !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    let raw = serde_json::from_slice::<&RawValue>(payload).ok();
    // Its bytes as they are: what was signed.
    match raw.filter(|raw| is_one_line && raw.get().len() == payload.len()) {
        Some(raw) => {
            let text = object.to_string();
            let open = text.strip_suffix('}').unwrap_or(&text);
            format!("{open},\"payload\":{}}}", raw.get())
        }
        None => {
            object["payload_base64"] = base64(payload).into();
            object.to_string()
        }
    }
}

/// Base 64 as RFC 4648 has it, padded: not worth a dependency for payloads that are hardly ever
/// anything but JSON.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for digit in 0..4_u32 {
            let place = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit as usize > chunk.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[place as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is lost is told by the exit code, too.
    #[test]
    fn a_repair_that_lost_anything_is_not_complete() {
        let whole = |lost, others_lost, commits_missing| Repaired {
            source: Verified::default(),
            kept: Verified::default(),
            lost,
            others_lost,
            mended: 3,
            commits_missing,
        };
        assert!(whole(0, 0, 0).is_complete());
        for repaired in [whole(1, 0, 0), whole(0, 1, 0), whole(0, 0, 1)] {
            assert!(!repaired.is_complete(), "{repaired:?}");
        }
    }

    /// The vectors of RFC 4648.
    #[test]
    fn base64_is_that_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xFB, 0xFF]), "+/8=");
    }
}
