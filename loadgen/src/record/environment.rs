//! Where a run was made: figures from another machine, kernel or build are another measurement.

use std::fs;
use std::path::Path;
use std::process::Command;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// The machine, the build and what was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name.
    pub cpu: String,
    /// How many of them this process may use.
    pub cores: u64,
    /// All memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The operating system's name.
    pub os: String,
    /// The hypervisor flag of the processor: whether neighbours can be felt.
    pub virtual_machine: bool,
    /// The commit of the working directory's repository, with `+` where it has changes.
    pub commit: Option<String>,
    /// How this program was built: `release` or `debug`.
    pub build: String,
    /// The nice value of the generator's threads. Below 0, the generator is served before the
    /// system, as one on a machine of its own would be.
    #[serde(default)]
    pub generator_nice: i32,
    /// The load average of 1, 5 and 15 minutes when the run began.
    pub load_average_before: [f64; 3],
    /// The same at its end.
    pub load_average_after: [f64; 3],
    /// The program that was measured, as it was named.
    pub binary: String,
    /// The SHA-256 of that file.
    pub binary_sha256: Option<String>,
    /// What it says that it is.
    pub binary_version: Option<String>,
    /// The arguments that it was started with; keys are hidden.
    pub arguments: Vec<String>,
    /// The file system of its data directory.
    pub data_filesystem: Option<String>,
}

impl Environment {
    /// Looks around; what cannot be seen stays empty.
    #[must_use]
    pub fn observe(binary: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let kib: u64 = field(&meminfo, "MemTotal", ':')
            .and_then(|text| text.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        let flags = field(&cpuinfo, "flags", ':').unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name", ':').unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
            memory_bytes: kib * 1024,
            kernel: read_line("/proc/sys/kernel/osrelease"),
            os: field(&release, "PRETTY_NAME", '=').unwrap_or_default().replace('"', ""),
            virtual_machine: flags.split(' ').any(|flag| flag == "hypervisor"),
            commit: commit(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            load_average_before: load_average(),
            binary: binary.display().to_string(),
            binary_sha256: digest(binary),
            binary_version: output(binary.as_os_str(), &["--version"]),
            ..Self::default()
        }
    }
}

/// The load averages of 1, 5 and 15 minutes.
#[must_use]
pub fn load_average() -> [f64; 3] {
    let line = read_line("/proc/loadavg");
    let mut averages = line.split(' ').map(|text| text.parse().unwrap_or(0.0));
    std::array::from_fn(|_| averages.next().unwrap_or(0.0))
}

fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(separator)?.1.trim().to_owned())
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn commit() -> Option<String> {
    let commit = output("git".as_ref(), &["rev-parse", "--short=12", "HEAD"])?;
    let changed = output("git".as_ref(), &["status", "--porcelain", "-uno"]);
    Some(if changed.is_some() { format!("{commit}+") } else { commit })
}

/// What a program prints; `None` where it fails or prints nothing.
fn output(program: &std::ffi::OsStr, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn digest(path: &Path) -> Option<String> {
    let mut context = Context::new(&SHA256);
    context.update(&fs::read(path).ok()?);
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    Some(context.finish().as_ref().iter().fold(String::new(), hex))
}
