//! The other process: a sink, and a generator where it is told to post. Lines over its standard
//! input and output.
//!
//! ```text
//! ─► (starts)                                ◄─ sink 127.0.0.1:40001
//! ─► post 127.0.0.1:40002 events conns bytes  ◄─ posted <microseconds>
//! ─► count                                   ◄─ count <requests> <refused>
//! ```
//! It ends when its input ends, so it never outlives us.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::Options;
use crate::report::Cpu;

/// The child process.
pub(crate) struct Load {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Where its sink listens.
    pub(crate) sink: SocketAddr,
}

impl Load {
    /// Starts it; its sink listens when this returns.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("load").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the sink's process")?;
        let input = child.stdin.take().context("no input")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line = output.next().context("the sink's process ended")??;
        let sink = line.strip_prefix("sink ").context("no address of a sink")?.parse()?;
        Ok(Self { child, input, output, sink })
    }

    /// Has it post `options` to `target`; gives how long that took.
    pub(crate) fn post(
        &mut self,
        target: SocketAddr,
        options: &Options,
    ) -> anyhow::Result<Duration> {
        let Options { events, connections, payload, .. } = options;
        let answer = self.ask(&format!("post {target} {events} {connections} {payload}"))?;
        let micros = answer.strip_prefix("posted ").with_context(|| answer.clone())?;
        Ok(Duration::from_micros(micros.parse()?))
    }

    /// Fails unless its sink has had exactly so many requests, all of them signed.
    pub(crate) fn check(&mut self, expected: u64) -> anyhow::Result<()> {
        let answer = self.ask("count")?;
        ensure!(answer == format!("count {expected} 0"), "{expected} expected, it has {answer}");
        Ok(())
    }

    /// Its CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        Cpu::of(&self.child.id().to_string())
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        writeln!(self.input, "{question}")?;
        self.output.next().context("the sink's process ended")?.context("it cannot be read")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Fails only where the process has ended already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
