//! Whether this machine can give what a configuration asks for, found out without doing it.
//!
//! Writes nothing, takes no lock and holds no port, so that it can be asked while an instance runs
//! with the same configuration.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Loaded;
use super::problem::{Origin, Problem};

/// What this machine cannot give, and what it gives only just.
#[must_use]
pub fn examine(loaded: &Loaded) -> (Vec<Problem>, Vec<String>) {
    let (server, data) = (&loaded.config.server, &loaded.config.data);
    let mut problems = Vec::new();
    let mut tell = |path: &str, fault: Option<String>| {
        problems.extend(fault.map(|fault| problem(loaded, path, fault)));
    };
    tell("data.dir", unusable(&data.dir));
    tell("server.listen", foreign(server.listen));
    tell("server.admin-listen", server.admin_listen.and_then(foreign));
    let note = shortage(&data.dir, data.free_space_floor_bytes);
    (problems, note.into_iter().collect())
}

/// Why a data directory cannot be used; a missing one can be made where its parent is writable.
fn unusable(dir: &Path) -> Option<String> {
    let place = nearest(dir);
    let is_directory = match fs::metadata(place) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => return Some(format!("cannot look at {}: {error}", place.display())),
    };
    let which = if place == dir { "it".to_owned() } else { place.display().to_string() };
    if !is_directory {
        return Some(format!("{which} is not a directory"));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let refused = access(place, wanted).err()?;
    Some(format!("{which} cannot be written to: {refused}"))
}

/// The directory itself, or the nearest one above it that exists.
fn nearest(dir: &Path) -> &Path {
    let missing = |path: &Path| {
        let looked = fs::symlink_metadata(path);
        looked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let found = dir.ancestors().find(|path| !path.as_os_str().is_empty() && !missing(path));
    // A relative path without a parent begins in the working directory.
    found.unwrap_or_else(|| Path::new("."))
}

/// Why nothing here can listen on an address. Any port tells, so that one in use is no fault: it
/// may be the running instance's.
fn foreign(address: SocketAddr) -> Option<String> {
    let error = TcpListener::bind((address.ip(), 0)).err()?;
    Some(format!("{} is not an address of this machine ({error})", address.ip()))
}

fn shortage(dir: &Path, floor: u64) -> Option<String> {
    let disk = statvfs(nearest(dir)).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let mib = |bytes: u64| bytes / (1024 * 1024);
    (free < floor).then(|| {
        format!(
            "data.dir has {} MiB of free space, below data.free-space-floor ({} MiB): new events \
             would be refused with 507",
            mib(free),
            mib(floor)
        )
    })
}

fn problem(loaded: &Loaded, path: &str, fault: String) -> Problem {
    let entry = loaded.listing.entry(path);
    Problem {
        origin: entry.map_or(Origin::Default, |entry| entry.origin.clone()),
        setting: Some(path.to_owned()),
        value: entry.map(super::listing::Entry::shown),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(unusable(folder.path()), None);
        assert_eq!(unusable(&folder.path().join("a/b/c")), None);
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_file_is_no_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(unusable(&file).unwrap(), "it is not a directory");
        let below = unusable(&file.join("data")).unwrap();
        assert!(below.contains("Not a directory") || below.contains("not a directory"), "{below}");
    }

    #[test]
    fn a_port_in_use_is_no_fault_but_a_foreign_address_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(foreign(listener.local_addr().unwrap()), None);
        // TEST-NET-1: nobody has it.
        let fault = foreign("192.0.2.1:80".parse().unwrap()).unwrap();
        assert!(fault.starts_with("192.0.2.1 is not an address of this machine"), "{fault}");
    }

    #[test]
    fn too_little_space_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(shortage(folder.path(), 0), None);
        assert!(shortage(folder.path(), u64::MAX).unwrap().contains("507"));
    }
}
