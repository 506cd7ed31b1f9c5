//! The manual pages: one for each command, from the command line's own declaration, and one for the
//! configuration file, from the settings'. What packages ship; nobody writes them by hand.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::generate_to;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Cli;
use crate::config;
use crate::config::listing::{Entry, Listing};

/// The page of the configuration file.
const CONFIG_PAGE: &str = "posthaste.toml.5";

const FILES: &str = "/etc/posthaste/posthaste.toml, where Posthaste runs as a service; else \
                     posthaste.toml in the directory where it is started, or what --config or \
                     POSTHASTE_CONFIG names. It is not read by anybody but the service, so keys \
                     do not belong into it: hand them over as credentials.";

const ORDER: &str = "A setting comes from the last of these that has it: this file; a file \
                     posthaste.SECTION.KEY in $CREDENTIALS_DIRECTORY (LoadCredential= of systemd); \
                     the environment (POSTHASTE_RETRY_DELAYS for retry.delays, with commas in \
                     lists); flags (--set retry.delays=10s,1m). Unknown settings and wrong values \
                     are refused, all at once: try posthaste check.";

const RELOAD: &str = "SIGHUP (systemctl reload posthaste) reads everything again, but for \
                      credentials, environment and flags, which a process keeps. Settings marked \
                      Live then hold at once, for requests, connections and attempts that begin; \
                      all others from the next start on. A configuration that is wrong changes \
                      nothing, and the log says why.";

/// Writes every page into a directory, which is made where it is missing.
///
/// # Errors
/// The operating system's.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    generate_to(Cli::command(), directory)?;
    let mut page = Vec::new();
    configuration(&config::defaults()).to_writer(&mut page)?;
    fs::write(directory.join(CONFIG_PAGE), page)
}

/// The page of the configuration file.
fn configuration(listing: &Listing) -> Roff {
    let mut page = Roff::new();
    let version = format!("posthaste {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["posthaste.toml", "5", "", &version, ""]);
    section(&mut page, "NAME");
    page.text([roman("posthaste.toml - the configuration of posthaste")]);
    for (title, text) in [("FILE", FILES), ("OTHER SOURCES", ORDER), ("RELOAD", RELOAD)] {
        section(&mut page, title);
        page.text([roman(text)]);
    }
    for (name, about) in &listing.sections {
        section(&mut page, &format!("[{name}]"));
        page.text([roman(*about)]);
        for entry in listing.entries.iter().filter(|entry| entry.section == *name) {
            setting(&mut page, entry);
        }
    }
    section(&mut page, "SEE ALSO");
    page.text([bold("posthaste-serve"), roman("(1), "), bold("posthaste-check"), roman("(1)")]);
    page
}

fn section(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn setting(page: &mut Roff, entry: &Entry) {
    page.control("TP", []);
    let default = entry.default.to_string();
    page.text([bold(entry.name), roman(" = "), italic(default)] as [Inline; 3]);
    let live = if entry.live { " Live." } else { "" };
    page.text([roman(format!("{} Value: {}.{live}", entry.reason, entry.form))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command and every setting has its place.
    #[test]
    fn every_command_and_setting_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("man")).unwrap();
        let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name)).unwrap();
        for command in ["", "-serve", "-check", "-config", "-demo", "-key", "-completions"] {
            let text = page(&format!("posthaste{command}.1"));
            assert!(text.contains(".SH NAME\n"), "{text}");
        }
        assert!(!folder.path().join("man/posthaste-man.1").exists(), "it is for packagers");
        let text = page(CONFIG_PAGE);
        for entry in config::defaults().entries {
            let name = entry.name.replace('-', "\\-");
            assert!(text.contains(&format!("\\fB{name}\\fR")), "{} in {text}", entry.path());
        }
        assert!(text.contains("Live."), "{text}");
    }
}
