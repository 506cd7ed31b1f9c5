"""Runs the README's commands as they are printed, in order, in one shell, against the real program.

    commands.py [README]

Every `sh` block is run. A comment before a block says what else must be true; readers do not see it:

    <!-- test: skip WHY -->       not run
    <!-- test: serve -->          runs until the end of the test; the admin key it prints becomes $ADMIN
    <!-- test: stop REGEX -->     runs until it prints REGEX, then gets Ctrl-C and must end with status 0
    <!-- test: until REGEX -->    run again until it prints REGEX, as a reader would
    <!-- test: expect REGEX -->   must print REGEX

Without any of them a block must only succeed, each of its commands. Runs in a network namespace with nothing but
loopback where that is permitted, so that the README's ports are free; data goes to a temporary directory.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/support"))
from children import goes_with_us, without_settings  # noqa: E402
from namespace import bring_loopback_up, enter_namespace  # noqa: E402

# A release build that is not there yet may be part of it.
PATIENCE_S = 1800.0
# How long a block is run again and again.
UNTIL_S = 60.0
POLL_S = 0.2

API_KEY = re.compile(r"\bphk_[A-Za-z0-9]{49}\b")
DIRECTIVE = re.compile(r"<!-- test: (\w+) ?(.*?) -->")

# What a command of ours never waits for.
QUIET = {
    "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
    "preexec_fn": goes_with_us,
}  # fmt: skip

Block = namedtuple("Block", "line does what text")


class Failure(Exception):
    """A command that did not do what the README says."""


def blocks(text):
    """The README's shell blocks with what is said of each."""
    found, directive, start, lines = [], ("run", ""), None, []
    for number, line in enumerate(text.splitlines(), 1):
        if start is None:
            if match := DIRECTIVE.fullmatch(line.strip()):
                directive = match.groups()
            elif line.strip() == "```sh":
                start, lines = number + 1, []
            elif line.strip():
                directive = ("run", "")
        elif line.strip() == "```":
            found.append(Block(start, *directive, "\n".join(lines)))
            start, directive = None, ("run", "")
        else:
            lines.append(line)
    return found


class Shell:
    """One bash for all blocks, so that what one sets the next one has."""

    def __init__(self, environment):
        command = ["bash", "--noprofile", "--norc"]
        pipes = {**QUIET, "stdin": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=TOP, env=environment, **pipes)
        self._send("set -uo pipefail -E; trap 'failed=$?' ERR")

    def _send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def run(self, block):
        """Runs a block; returns the status of its last failed command (0: none) and what it printed."""
        mark = f"end-of-block-{time.monotonic_ns()}"
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            script.write(block.text + "\n")
            script.flush()
            self._send(f"failed=0; . {script.name} </dev/null; printf '\\n%s %s\\n' {mark} $failed")
            printed = []
            for line in self.process.stdout:
                if line.startswith(mark):
                    return int(line.split()[1]), "".join(printed)
                printed.append(line)
        raise Failure(f"line {block.line}: the shell ended:\n{''.join(printed)}")

    def set(self, name, value):
        self._send(f"export {name}='{value}'")

    def close(self):
        # Reads the rest, waits for the end, closes the pipes.
        self.process.communicate()


class Background:
    """A block that goes on running, in a process group of its own."""

    def __init__(self, block, environment):
        self.block, self.printed = block, ""
        self.changed = threading.Condition()
        command = ["bash", "--noprofile", "--norc", "-euc", block.text]
        self.process = subprocess.Popen(command, cwd=TOP, env=environment, start_new_session=True, **QUIET)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.printed += line
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern):
        def seen():
            return re.search(pattern, self.printed) or not self.reader.is_alive()

        with self.changed:
            self.changed.wait_for(seen, PATIENCE_S)
            if not (found := re.search(pattern, self.printed)):
                raise Failure(f"line {self.block.line}: never printed {pattern!r}:\n{self.printed[-4000:]}")
            return found

    def interrupt(self):
        """Ctrl-C, as a terminal sends it: to the whole group. Returns the status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise Failure(f"line {self.block.line}: does not end at Ctrl-C:\n{self.printed[-4000:]}") from None
        finally:
            self.reader.join(5)
            if not self.reader.is_alive():
                self.process.stdout.close()


class Reader:
    """Somebody who does what the README says, from top to bottom."""

    def __init__(self, environment):
        self.environment = environment
        self.shell = Shell(environment)
        self.servers = []

    def follow(self, block):
        {
            "skip": lambda block: None,
            "run": self.run,
            "expect": self.run,
            "until": self.until,
            "stop": self.stop,
            "serve": self.serve,
        }[block.does](block)

    def run(self, block):
        status, printed = self.shell.run(block)
        if status != 0:
            raise Failure(f"line {block.line}: status {status}:\n{block.text}\n{printed}")
        if not re.search(block.what, printed):
            raise Failure(f"line {block.line}: did not print {block.what!r}:\n{block.text}\n{printed}")

    def until(self, block):
        deadline = time.monotonic() + UNTIL_S
        while True:
            try:
                return self.run(block)
            except Failure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def stop(self, block):
        started = Background(block, self.environment)
        self.servers.append(started)
        started.wait_for(block.what)
        if (status := started.interrupt()) != 0:
            raise Failure(f"line {block.line}: status {status} after Ctrl-C:\n{started.printed[-4000:]}")

    def serve(self, block):
        server = Background(block, self.environment)
        self.servers.append(server)
        self.shell.set("ADMIN", server.wait_for(API_KEY)[0])
        # Printed once the listeners are bound; a request that comes earlier waits in the socket.
        server.wait_for(r"\bapi\s+http://")

    def close(self):
        statuses = []
        # Each of them, whatever becomes of the others.
        with ExitStack() as ends:
            ends.callback(self.shell.close)
            for server in self.servers:
                ends.callback(lambda server=server: statuses.append(server.interrupt()))
        if any(statuses):
            raise Failure(f"a server ended with {statuses}")


def follow(text, environment):
    """Follows a README; returns how many blocks were run."""
    reader, run = Reader(environment), 0
    try:
        for block in blocks(text):
            print(f"   line {block.line}: {block.does} {block.what}".rstrip(), flush=True)
            reader.follow(block)
            run += block.does != "skip"
    except BaseException:
        for server in reader.servers:
            print(server.printed[-4000:])
        raise
    finally:
        reader.close()
    return run


def main(arguments):
    if not enter_namespace():
        print("no network namespace can be made here: the README's ports must be free")
    else:
        bring_loopback_up()
    readme = Path(arguments[0]) if arguments else TOP / "README.md"
    with tempfile.TemporaryDirectory(prefix="posthaste-readme-") as folder:
        environment = {**without_settings(), "POSTHASTE_DATA_DIR": f"{folder}/data", "CARGO_TERM_COLOR": "never"}
        try:
            run = follow(readme.read_text(encoding="utf-8"), environment)
        except Failure as failure:
            print(failure)
            return 1
    print(f"{run} of the README's blocks do what it says")
    return 0 if run else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
