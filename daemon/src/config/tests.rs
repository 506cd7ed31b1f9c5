//! The whole of loading: precedence, every problem at once, secrets, the example.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use posthaste_domain::{ApiKey, RetrySchedule};
use proptest::prelude::*;

use super::layers::{FileChoice, Flag};
use super::listing::Entry;
use super::process::LogFormat;
use super::*;

/// Sources of a test: a file's text, variables, `--set`s.
struct Given {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Given {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), sources: Sources::default() }
    }

    fn file(text: &str) -> Self {
        let mut given = Self::new();
        fs::write(given.path(), text).unwrap();
        given.sources.file = FileChoice::Named(given.path());
        given
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.toml")
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, text: &str) -> Self {
        self.sources.flags.push(Flag::Set(text.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(self.sources.clone())
    }

    /// The problems as lines, with the file's folder cut off.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let problems = self.load().map(|loaded| loaded.config).expect_err("problems");
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn problem(&self) -> String {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems.into_iter().next().unwrap()
    }
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let loaded = load(Sources::default()).unwrap();
    assert_eq!(loaded.listing, defaults());
    assert_eq!(loaded.notes, [""; 0]);
    assert!(Given::file("").load().is_ok());
    assert!(Given::file("# nothing\n[server]\n").load().is_ok());
}

/// The numbers of the contract, spelt out, so that a changed default is a changed test.
#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = load(Sources::default()).unwrap().config;
    assert_eq!(config.server.body_bytes_max, 256 * 1024);
    assert_eq!(config.server.batch_events_max, 500);
    assert_eq!(config.server.batch_bytes_max, 5 * 1024 * 1024);
    assert!(!config.server.open_tenant_creation);
    assert_eq!(config.auth.cache_ms, 300_000);
    assert!(config.auth.admin_key.is_none());
    assert_eq!(config.secrets.overlap_ms, 86_400_000);
    assert_eq!(config.retention.idempotency_ms, 86_400_000);
    assert_eq!(config.retention.delivered_ms, 30 * 86_400_000);
    assert_eq!(config.retention.dead_letter_ms, 14 * 86_400_000);
    assert_eq!(config.delivery.attempt_timeout_ms, 30_000);
    assert_eq!(config.delivery.connect_timeout_ms, 5_000);
    assert_eq!(config.delivery.response_body_bytes_max, 64 * 1024);
    assert_eq!(config.delivery.address_policy, posthaste_domain::AddressPolicy::default());
    assert_eq!(config.delivery.user_agent, format!("posthaste/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(config.retry.schedule, RetrySchedule::default());
    assert!(config.server.listen.ip().is_loopback());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let given = Given::file("[retry]\nattempts-max = 2\n[drain]\ntimeout = \"40s\"\n");
    assert_eq!(given.load().unwrap().config.retry.schedule.attempts_max(), 2);
    let given = given.variable("POSTHASTE_RETRY_ATTEMPTS_MAX", "3");
    assert_eq!(given.load().unwrap().config.retry.schedule.attempts_max(), 3);
    let given = given.set("retry.attempts-max=4").set("retry.attempts-max=6");
    let loaded = given.load().unwrap();
    assert_eq!(loaded.config.retry.schedule.attempts_max(), 6);
    let origin = |path| loaded.listing.entry(path).unwrap().origin.to_string();
    assert_eq!(origin("retry.attempts-max"), "--set");
    assert!(origin("drain.timeout").ends_with("x.toml:4"), "{}", origin("drain.timeout"));
    assert_eq!(origin("log.level"), "default");
}

#[test]
fn lists_and_switches_come_from_text_too() {
    let given = Given::new()
        .variable("POSTHASTE_DELIVERY_ALLOW_NETWORKS", "127.0.0.0/8, ::1/128")
        .variable("POSTHASTE_SERVER_OPEN_TENANT_CREATION", "true")
        .set("delivery.allow-ports=25,6379")
        .set("log.format=json")
        .set("delivery.user-agent-suffix=(+https://hooks.example)");
    let config = given.load().unwrap().config;
    assert_eq!(config.delivery.address_policy.allow.len(), 2);
    assert_eq!(config.delivery.address_policy.allow_ports, [25, 6379]);
    assert!(config.server.open_tenant_creation);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.delivery.user_agent.ends_with(" (+https://hooks.example)"));
}

/// One run tells everything, each with its place, in the order of file, environment, flags.
#[test]
fn all_problems_are_told_at_once() {
    let given = Given::file(
        "[delivery]\nattempt-timeout = 30\nconnect-timeout = \"5sec\"\nlisten = 1\n\n[sever]\n\
         listen = \"x\"\nport = 1\n[server]\nbody-max = \"1GB\"\n",
    )
    .variable("POSTHASTE_RETRY_DELAYS", "1s,2")
    .variable("POSTHASTE_SERVER_LISTN", "127.0.0.1:80")
    .set("retry.jitter=2")
    .set("retry.delay=1s")
    .set("nonsense");
    let expected = [
        "x.toml:2: delivery.attempt-timeout = 30: has no unit: write \"30s\" or \"30ms\"; expected \
         a duration from 100ms to 10m (ms, s, m, h, d)",
        "x.toml:3: delivery.connect-timeout = \"5sec\": has the unit \"sec\", which is none of ms, \
         s, m, h, d: write \"5s\"; expected a duration from 50ms to 1m (ms, s, m, h, d)",
        "x.toml:4: delivery.listen: no such setting; did you mean server.listen?",
        "x.toml:6: [sever]: no such section; did you mean [server]?",
        "x.toml:10: server.body-max = \"1GB\": has the unit \"GB\", which is none of B, KiB, MiB, \
         GiB: write \"1GiB\"; expected a size from 1KiB to 16MiB (B, KiB, MiB, GiB)",
        "POSTHASTE_RETRY_DELAYS: retry.delays = \"1s,2\": the entry \"2\" has no unit: \
         write \"2s\" or \"2ms\"; expected a list of 1 to 100, each a duration from 1ms to 30d \
         (ms, s, m, h, d)",
        "POSTHASTE_SERVER_LISTN: no such setting; did you mean POSTHASTE_SERVER_LISTEN?",
        "--set: needs the form section.key=value",
        "--set: retry.jitter = \"2\": is too large; expected a fraction from 0 to 1",
        "--set: retry.delay: no such setting; did you mean retry.delays?",
    ];
    assert_eq!(given.problems(), expected);
    let text = given.load().map(|loaded| loaded.config).unwrap_err().to_string();
    assert!(text.starts_with("10 problems in the configuration\n  "), "{text}");
}

/// A contradiction names both settings, their values and origins, and both ways out.
#[test]
fn a_contradiction_names_both_sides() {
    let given = Given::file("[delivery]\nconnect-timeout = \"40s\"\n");
    assert_eq!(
        given.problem(),
        "x.toml:2: delivery.connect-timeout = \"40s\": is above delivery.attempt-timeout = \"30s\" \
         (default): connecting is a part of the attempt; lower delivery.connect-timeout to \
         \"30s\", or raise delivery.attempt-timeout to \"40s\""
    );
}

/// Every relation can be broken, and is told by the name of the setting that breaks it.
#[test]
fn each_relation_is_checked() {
    for (set, named) in [
        ("delivery.connect-timeout=31s", "delivery.attempt-timeout"),
        ("drain.timeout=29s", "delivery.attempt-timeout"),
        ("server.batch-max=255KiB", "server.body-max"),
        ("server.bodies-memory-max=4MiB", "server.batch-max"),
        (
            "server.receiver-body-max=16MiB server.bodies-memory-max=8MiB",
            "server.receiver-body-max",
        ),
        ("server.body-max=4MiB engine.payload-memory-max=2MiB", "engine.payload-memory-max"),
        ("delivery.in-flight-max=63", "delivery.in-flight-per-endpoint-max"),
        (
            "engine.shards=9 delivery.in-flight-max=8 delivery.in-flight-per-endpoint-max=8",
            "engine.shards",
        ),
        ("delivery.connections-max=2047", "delivery.in-flight-max"),
        ("delivery.idle-per-target-max=4097", "delivery.connections-max"),
        (
            "delivery.in-flight-max=4096 engine.held-max=4095 engine.held-per-endpoint-max=99",
            "held-max",
        ),
        ("engine.held-per-endpoint-max=63", "delivery.in-flight-per-endpoint-max"),
        ("engine.held-per-endpoint-max=65537", "engine.held-max"),
        ("data.memtable=65MiB", "data.journal-max"),
        ("data.ballast=257MiB", "data.free-space-floor"),
        ("retention.delivered=23h", "retention.idempotency"),
        ("retention.dead-letter=23h", "retention.idempotency"),
        ("server.admin-listen=127.0.0.1:8080", "server.admin-listen"),
        ("server.listen=0.0.0.0:8081", "server.admin-listen"),
        ("delivery.system-root-certificates=false", "delivery.extra-root-certificates"),
    ] {
        let given = set.split(' ').fold(Given::new(), Given::set);
        let problem = given.problem();
        assert!(problem.contains(named), "{set}: {problem}");
    }
    let free = "server.listen=127.0.0.1:0 server.admin-listen=127.0.0.1:0";
    assert!(free.split(' ').fold(Given::new(), Given::set).load().is_ok());
}

/// A value that is wrong by itself is not also told to contradict another one.
#[test]
fn a_wrong_value_contradicts_nothing() {
    let given = Given::new().set("delivery.attempt-timeout=1").set("delivery.connect-timeout=50s");
    assert!(given.problem().contains("has no unit"));
}

/// A value that another one overrides is wrong all the same.
#[test]
fn an_overridden_value_is_checked_too() {
    let given = Given::file("[drain]\ntimeout = 5\n").set("drain.timeout=40s");
    assert!(given.problem().starts_with("x.toml:2: drain.timeout = 5: "));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let mut given = Given::new();
    given.sources.file = FileChoice::IfPresent(given.path());
    assert!(given.load().is_ok());
    given.sources.file = FileChoice::Named(given.path());
    assert!(given.problem().starts_with("x.toml: cannot be read: No such file"));
    given.sources.file = FileChoice::Named(given.folder.path().to_owned());
    assert!(given.problem().contains("cannot be read: Is a directory"));
    let given = Given::file("");
    fs::write(given.path(), b"[log]\nlevel = \"\xff\"\n").unwrap();
    assert_eq!(given.problem(), "x.toml: is not a text file: line 2 is not UTF-8");
    fs::write(given.path(), "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(given.problem().contains("longer than 1 MiB"));
}

#[test]
fn what_is_no_toml_is_told_beside_the_rest() {
    let given = Given::file("{\"server\": {}}\n[log]\nlevel = \"loud\"\n");
    let problems = given.problems();
    assert!(problems[0].starts_with("x.toml:1: not TOML: "), "{problems:#?}");
    assert!(problems[1].starts_with("x.toml:3: log.level = \"loud\": "), "{problems:#?}");
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn settings_in_the_wrong_place_are_told() {
    let problem = |text: &str| Given::file(text).problem();
    assert_eq!(
        problem("listen = \"127.0.0.1:80\"\n"),
        "x.toml:1: listen: no such setting; did you mean server.listen?"
    );
    assert_eq!(
        problem("server = 5\n"),
        "x.toml:1: server: no such setting; it is a section: write [server] and its settings below"
    );
    assert!(problem("[[server]]\nlisten = \"x\"\n").contains("it is a section"));
    assert!(problem("[server.listen]\nport = 1\n").contains("is a table"));
    assert!(problem("server.listen.port = 1\n").contains("is a table"));
    assert!(
        problem("\"server.listen\" = \"127.0.0.1:80\"\n").contains("did you mean server.listen?")
    );
    assert!(
        problem("[metrics]\n").contains("[metrics]: no such section; there are server, auth, ")
    );
}

#[test]
fn variables_of_others_are_passed_over() {
    let given = Given::new()
        .variable("PATH", "/bin")
        .variable("POSTHASTE_CONFIG", "elsewhere.toml")
        .variable("POSTHASTE_SERVICE_HOST", "10.0.0.1")
        .variable("POSTHASTE_PORT", "tcp://10.0.0.1:80");
    assert!(given.load().is_ok());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut given = Given::new();
    let value = OsString::from_vec(vec![0xff]);
    given.sources.environment.push(("POSTHASTE_LOG_LEVEL".into(), value));
    assert_eq!(given.problem(), "POSTHASTE_LOG_LEVEL: its value is not UTF-8");
}

/// No way of getting a key wrong shows it: not the wrong value, nor the right one of another
/// setting, nor one under a name that does not exist.
#[test]
fn no_problem_shows_a_secret() {
    let key = ApiKey::from_entropy(&[9; 32]);
    let (secret, digits) = (key.expose(), &key.expose()[4..40]);
    let given = Given::file(&format!(
        "{secret} = 1\n[auth]\nadmin-key = \"{secret}x\"\nadmn-key = \"{secret}\"\n\
         admin-key-file = \"{secret}\"\n[log]\nlevel = \"{secret}\"\n[{secret}]\n"
    ))
    .variable("POSTHASTE_AUTH_ADMIN_KEY", &secret[..50])
    .variable("POSTHASTE_AUTH_ADMINKEY", secret)
    .set(&format!("auth.admin-key {secret}"))
    .set(&format!("{secret}=auth.admin-key"))
    .set(&format!("retry.delays={secret}"));
    let text = given.problems().join("\n");
    assert!(text.contains("auth.admin-key = (hidden): is not an API key"), "{text}");
    assert!(!text.contains(digits), "{text}");
}

#[test]
fn no_output_shows_a_secret() {
    let key = ApiKey::from_entropy(&[9; 32]);
    let given = Given::file(&format!("[auth]\nadmin-key = \"{}\"\n", key.expose()));
    let loaded = given.load().unwrap();
    assert_eq!(loaded.config.auth.admin_key.as_ref(), Some(&key));
    let (toml, json) = (loaded.listing.to_toml(), loaded.listing.to_json().to_string());
    let debug = format!("{loaded:?}");
    for text in [&toml, &json, &debug] {
        assert!(!text.contains(&key.expose()[4..40]), "{text}");
    }
    assert!(toml.contains("# admin-key = (hidden)"), "{toml}");
    assert!(json.contains("\"hidden\":true"), "{json}");
}

#[test]
fn an_admin_key_comes_from_a_file_of_its_own() {
    let key = ApiKey::from_entropy(&[9; 32]);
    let given = Given::new();
    let path = given.folder.path().join("key");
    fs::write(&path, format!("{}\n", key.expose())).unwrap();
    let given = given.set(&format!("auth.admin-key-file={}", path.display()));
    assert_eq!(given.load().unwrap().config.auth.admin_key.as_ref(), Some(&key));
    let given = given.set(&format!("auth.admin-key={}", key.expose()));
    let problem = given.problem();
    assert!(problem.contains("auth.admin-key = (hidden): is set beside auth.admin-key-file"));
    assert!(!problem.contains(&key.expose()[4..40]), "{problem}");
}

#[test]
fn what_was_probably_not_meant_is_noted() {
    let notes = |text: &str| text.split(' ').fold(Given::new(), Given::set).load().unwrap().notes;
    assert!(notes("retry.attempts-max=3")[0].contains("only the first 2 are used"));
    assert!(
        notes("server.listen=0.0.0.0:80 server.open-tenant-creation=true")[0].contains("tenant")
    );
    assert!(notes("server.admin-listen=0.0.0.0:81")[0].contains("authentication"));
}

/// Credentials stand between the file and the environment; those of others are passed over.
#[test]
fn credentials_win_over_the_file_and_lose_to_the_environment() {
    let [in_file, handed, variable] = [1, 2, 3].map(|n| ApiKey::from_entropy(&[n; 32]));
    let text = format!("[auth]\nadmin-key = {:?}\n", in_file.expose());
    let mut given = Given::file(&text);
    let credential = |name: &str, text: &str| {
        let folder = given.folder.path().join("credentials");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        Some(folder)
    };
    credential("somebody.elses", "x");
    credential("posthaste.log.level", "warn");
    let folder = credential("posthaste.auth.admin-key", &format!("{}\n", handed.expose()));
    given.sources.credentials = folder;
    let loaded = given.load().unwrap();
    assert_eq!(loaded.config.auth.admin_key, Some(handed));
    let origin = loaded.listing.entry("log.level").unwrap().origin.to_string();
    assert_eq!(origin, "credential posthaste.log.level");
    let given = given.variable("POSTHASTE_AUTH_ADMIN_KEY", variable.expose());
    assert_eq!(given.load().unwrap().config.auth.admin_key, Some(variable));
}

#[test]
fn credentials_that_cannot_be_used_are_told_without_their_value() {
    let mut given = Given::new();
    let folder = given.folder.path().to_owned();
    fs::write(folder.join("posthaste.auth.admin-kye"), "hunter2").unwrap();
    fs::write(folder.join("posthaste.auth.admin-key"), "hunter2").unwrap();
    given.sources.credentials = Some(folder);
    let problems = given.problems().join("\n");
    let hint = "auth.admin-kye: no such setting; did you mean auth.admin-key?";
    assert!(
        problems.contains(&format!("credential posthaste.auth.admin-kye: {hint}")),
        "{problems}"
    );
    assert!(problems.contains("credential posthaste.auth.admin-key: auth.admin-key"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
    given.sources.credentials = Some("/nowhere".into());
    assert!(
        given.problem().contains("the directory /nowhere cannot be read"),
        "{}",
        given.problem()
    );
}

/// A secret that changes and a file whose content changes are changes, though they are shown alike.
#[test]
fn changes_are_seen_where_nothing_may_be_shown() {
    let key = |n| ApiKey::from_entropy(&[n; 32]);
    let set = |n| Given::new().set(&format!("auth.admin-key={}", key(n).expose())).load().unwrap();
    let (old, new) = (set(1), set(2));
    let changes: Vec<_> = new.listing.changes(&old.listing).collect();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(
        (changes[0].0.shown(), changes[0].1.shown()),
        ("(hidden)".into(), "(hidden)".into())
    );
    assert_eq!(old.listing.changes(&old.listing).count(), 0);
    let given = Given::new();
    let path = given.folder.path().join("key");
    fs::write(&path, key(3).expose()).unwrap();
    let given = given.set(&format!("auth.admin-key-file={}", path.display()));
    let old = given.load().unwrap();
    fs::write(&path, key(4).expose()).unwrap();
    let new = given.load().unwrap();
    let changed = |entry: (&Entry, &Entry)| entry.1.path();
    let changes: Vec<_> = new.listing.changes(&old.listing).map(changed).collect();
    assert_eq!(changes, ["auth.admin-key-file"]);
}

/// The committed example is what the program prints.
#[test]
fn the_example_file_is_up_to_date() {
    let committed = include_str!("../../../posthaste.example.toml");
    let hint = "run: cargo run -- config --example > posthaste.example.toml";
    assert!(committed == defaults().to_example(), "{hint}");
}

/// The example has every setting, each at its default, and no problem.
#[test]
fn the_example_holds_every_setting_at_its_default() {
    let loaded = Given::file(&defaults().to_example()).load().unwrap();
    assert!(!loaded.listing.entries.is_empty());
    for entry in &loaded.listing.entries {
        assert!(matches!(entry.origin, problem::Origin::File { .. }), "{}", entry.path());
        assert_eq!(entry.value, entry.default, "{}", entry.path());
    }
    assert_eq!(loaded.notes, [""; 0]);
}

/// What `posthaste config` prints means the same when it is read back.
#[test]
fn the_effective_values_can_be_used_as_a_file() {
    let given = Given::new().set("retry.delays=1s,90s").set("server.admin-listen=none");
    let loaded = given.load().unwrap();
    let values = |listing: &Listing| {
        listing.entries.iter().map(|entry| entry.value.clone()).collect::<Vec<_>>()
    };
    let again = Given::file(&loaded.listing.to_toml()).load().unwrap();
    assert_eq!(values(&again.listing), values(&loaded.listing));
}

#[test]
fn every_setting_is_explained_and_has_a_name_of_its_own() {
    let listing = defaults();
    let mut names: Vec<_> = listing.entries.iter().map(Entry::variable).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two settings would share a variable");
    for entry in &listing.entries {
        assert!(entry.reason.ends_with('.') && entry.reason.len() > 20, "{}", entry.path());
        assert!(
            entry.reason.is_ascii() || entry.reason.contains('µ') || entry.reason.contains('…')
        );
    }
}

proptest! {
    /// For all texts: a configuration or problems, never a panic.
    #[test]
    fn any_text_is_answered(text in "(\\PC|\\n){0,200}") {
        drop(Given::file(&text).load());
    }

    /// For all settings and texts: a configuration or problems, never a panic.
    #[test]
    fn any_value_is_answered(index: prop::sample::Index, text in "\\PC{0,40}") {
        let listing = defaults();
        let path = listing.entries[index.index(listing.entries.len())].path();
        drop(Given::new().set(&format!("{path}={text}")).load());
        drop(Given::file(&format!("{path} = {text}\n")).load());
    }
}
