//! Tells the binary what it was built from, for `posthaste --version`.
//!
//! The commit is looked up for release builds only: a debug build would be made anew with every
//! commit. The names do not begin with `POSTHASTE_`, because cargo hands them on to what it runs,
//! where such a variable is a setting. Where git or the repository is missing, the commit stays
//! unknown; that never fails a build.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=BUILD_TARGET={target}");
    let commit = match env::var("PROFILE").as_deref() {
        Ok("release") => commit().unwrap_or_else(|| "unknown".to_owned()),
        _ => "unknown (a debug build)".to_owned(),
    };
    println!("cargo:rustc-env=BUILD_COMMIT={commit}");
}

/// The commit that is checked out; asked for again when another one is.
fn commit() -> Option<String> {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
