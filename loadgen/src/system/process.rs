//! A child process, and what the kernel knows of a process.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process, pidfd_open,
    set_parent_process_death_signal, waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock::Nanos;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Nanos,
    /// Processor time in the kernel.
    pub system: Nanos,
    /// Resident memory now.
    pub resident: u64,
    /// The most resident memory so far.
    pub peak: u64,
}

impl Usage {
    /// This process, and then that one.
    #[must_use]
    pub fn followed_by(&self, next: &Self) -> Self {
        Self {
            user: self.user + next.user,
            system: self.system + next.system,
            resident: next.resident,
            peak: self.peak.max(next.peak),
        }
    }

    /// The time between two looks.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            ..*self
        }
    }
}

/// What a process has used so far; `self` for this one. `None` where there is no such process.
#[must_use]
pub fn usage_of(process: &str) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Fields count from behind the name, which may hold spaces and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let mut ticks = || Some(fields.next()?.parse::<u64>().ok()? * tick);
    let (user, system) = (ticks()?, ticks()?);
    // A process that has ended has no memory any more.
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    let (resident, peak) = (bytes("VmRSS:").unwrap_or(0), bytes("VmHWM:").unwrap_or(0));
    Some(Usage { user, system, resident, peak })
}

/// What this process's threads have used and waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Processor time in user mode.
    pub user: Nanos,
    /// Processor time in the kernel.
    pub system: Nanos,
    /// How long they have waited for a processor.
    pub waited: Nanos,
    /// How often they got one.
    pub times: u64,
}

impl Threads {
    /// Between two looks.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            waited: self.waited.saturating_sub(earlier.waited),
            times: self.times.saturating_sub(earlier.times),
        }
    }
}

/// The threads of this process that belong to the simulated AWS (`of_aws`), or all others.
#[must_use]
pub fn own_threads(of_aws: bool) -> Threads {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let one = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if name.starts_with(crate::aws_sim::THREAD_NAME) != of_aws {
            return None;
        }
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let mut numbers = text.split_whitespace().skip(1).map(str::parse::<u64>);
        let (waited, times) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let usage = usage_of(&format!("self/task/{}", task.file_name().to_string_lossy()))?;
        Some(Threads { user: usage.user, system: usage.system, waited, times })
    };
    tasks.filter_map(one).fold(Threads::default(), |sum, task| Threads {
        user: sum.user + task.user,
        system: sum.system + task.system,
        waited: sum.waited + task.waited,
        times: sum.times + task.times,
    })
}

/// Has the kernel kill what `command` starts as soon as the thread that starts it is gone, however
/// it goes: a SIGKILL of this process leaves nobody behind.
#[expect(unsafe_code, reason = "only between fork and exec can a process be bound to its parent")]
pub(super) fn bind_to_this_thread(command: &mut Command) {
    let parent = getpid();
    let bind = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before that sends no signal any more.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. These are
    // two system calls and a comparison; nothing is allocated, and no lock is taken. An error is
    // made of a number or a kind, without memory.
    unsafe { command.pre_exec(bind) };
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended(ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A child process; killed when dropped.
#[derive(Debug)]
pub(super) struct Child {
    child: std::process::Child,
    pid: Pid,
    /// Becomes readable when the process ends.
    handle: AsyncFd<OwnedFd>,
    /// The last look at its memory, which is gone when it ends.
    last: Usage,
}

impl Child {
    /// Watches a process that was just started; must be called in a runtime.
    #[expect(deprecated, reason = "for an OwnedFd it is sound, and what replaces it is unsafe")]
    pub(super) fn new(child: std::process::Child) -> Result<Self> {
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::NONBLOCK).context("cannot watch the process")?;
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        Ok(Self { child, pid, handle, last: Usage::default() })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.last = usage_of(&self.id().to_string()).unwrap_or(self.last);
        Ok(kill_process(self.pid, signal)?)
    }

    /// Waits until it has ended. It stays a zombie, so that its times can be read.
    pub(super) async fn exited(&self) -> io::Result<()> {
        loop {
            let mut ready = self.handle.readable().await?;
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if waitid(WaitId::Pid(self.pid), options)?.is_some() {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// How it ended, and all that it used, to the last moment.
    pub(super) fn reap(mut self) -> io::Result<(Ended, Usage)> {
        let last = usage_of(&self.id().to_string()).unwrap_or_default();
        let usage = Usage { resident: 0, peak: self.last.peak, ..last };
        Ok((Ended(self.child.wait()?), usage))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        self.child.try_wait().ok().flatten().map(Ended)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails only where the process has ended already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage_of("self").unwrap();
        assert!(usage.resident > 1_000_000 && usage.peak >= usage.resident);
        assert!(own_threads(false).times > 0);
        assert_eq!(own_threads(true), Threads::default(), "no simulator runs here");
        assert_eq!(usage_of("0"), None);
    }

    #[test]
    fn a_process_and_its_successor_add_up() {
        let one = Usage { user: 1, system: 2, resident: 30, peak: 40 };
        let two = Usage { user: 10, system: 20, resident: 3, peak: 4 };
        let sum = Usage { user: 11, system: 22, resident: 3, peak: 40 };
        assert_eq!(one.followed_by(&two), sum);
        assert_eq!(sum.since(&one), Usage { user: 10, system: 20, ..sum });
    }

    /// For all ends of the thread that started it: the process is gone too. The wait is the test:
    /// without the binding it would take ten minutes.
    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            bind_to_this_thread(command.arg("600"));
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        let ended = Ended(child.wait().unwrap());
        assert!(ended.to_string().contains("SIGKILL"), "{ended}");
        let mut here = start();
        assert!(here.try_wait().unwrap().is_none(), "this thread is alive");
        here.kill().unwrap();
        here.wait().unwrap();
    }

    #[tokio::test]
    async fn a_killed_process_is_noticed_and_reaped() {
        let mut child = Child::new(Command::new("sleep").arg("600").spawn().unwrap()).unwrap();
        assert!(child.ended().is_none());
        child.signal(Signal::KILL).unwrap();
        child.exited().await.unwrap();
        let (ended, _) = child.reap().unwrap();
        assert!(ended.to_string().contains('9'), "{ended}");
    }
}
