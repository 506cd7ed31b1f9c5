"""The n-th call that touches the data directory fails, for every n (row 8); shim.c does it.

Each try makes one call fail: at the first start of a directory, at a later one, or under load. Then the process is
killed, if it has not ended, and started without the shim. Whatever happened: nothing that got a 201 is lost, the
process did not go on as if nothing were (it ended with a line, or it serves and has lost nothing), and the next start
needs no help.
"""

import errno
import os
import re
import shutil
from collections import Counter

from account import Account, judge
from machine import Ended, Home, Place, eventually, refused_for_loss
from poster import Poster
from shim import Shim
from sink import Sink

# The smallest memtables, so that tables are written out and merged within a try.
SETTINGS = {"data__memtable": "1MiB", "engine__shards": "1", "retry__delays": "50ms"}
PHASES = ("first start", "start", "load")
MODES = ("once", "ever", "torn")
ERRORS = (errno.EIO, errno.ENOSPC)
EVENTS = 240
# Four in a row that are long, so that the tables fill.
PADS = [b"p" * 9000] * 4 + [b"q" * 50, b"r" * 700]
# No delivery depends on the register of attempts, so that nothing has to end where it cannot be written.
UNIMPORTANT = "(attempts-"
# Where nothing has to be said: nothing was to be written, or only there.
SILENT = re.compile(r"not met|open\(|unlink|\w+\(attempts-|\w+\(LOCK\)")
# How it says that something is wrong, and that this is its end.
COMPLAINT, LAST_WORDS = re.compile(" ERROR | WARN "), re.compile(" ERROR .*cannot go on")
# What the process ends with: a fault that a restart recovers from, or a start that something must be done about.
TOLD = (70, 78)
# A fault is told within a second. Beyond it a long run fails; a short one, on a machine that is busy, does not.
TELL_S, PATIENT_TELL_S = 1.0, 20.0


class Life:
    """What one life came to."""

    def __init__(self, daemon, shim, ended):
        self.ended, self.lines, self.code = ended, daemon.lines, daemon.process.returncode
        self.calls, self.hits, self.what = shim.calls, shim.hits, shim.what or "not met"
        # From the fault to the end.
        self.took = daemon.ended - shim.at_s if ended and shim.hits else 0.0

    def __str__(self):
        return f"{self.what}: {'ended' if self.ended else 'served on'}"


class Faulty:
    """A home whose lives meet faults, and the account of its events."""

    def __init__(self, world, folder, account, sink):
        self.world, self.account, self.sink = world, account, sink
        self.home, self.told = Home(world.binary, folder, **SETTINGS), folder / "told"
        self.tell_s = TELL_S if world.long else PATIENT_TELL_S
        # Of another home, whose events are none of this one.
        account.doubtful = []

    def live(self, phase, mode, at=1, error=errno.EIO, **narrowed):
        """A life with that fault. The process has ended then."""
        shim = Shim(self.world.shim, self.told, self.home.data, mode, at, error, **narrowed)
        if phase != "load":
            shim.arm()
        daemon = self.home.start(shim=shim, ready=False)
        try:
            ended = not self._serves(daemon, shim, phase, mode)
            life = Life(daemon, shim, ended)
            if ended:
                self._check_end(life)
            elif mode in MODES and SILENT.match(life.what) is None:
                said = any(COMPLAINT.search(line) for line in life.lines)
                self.world.check(said, f"{life}, and said nothing")
            return life
        finally:
            daemon.end()
            shim.close()

    def _serves(self, daemon, shim, phase, mode):
        """Whether it served to the end, in which it is killed."""
        try:
            daemon.wait_ready()
            if not self.home.key:
                self.home.tenant(daemon, self.sink.url())
        except (Ended, AssertionError, OSError):
            eventually("the process ends", lambda: not daemon.alive())
            daemon.wait()
            return False
        if phase == "load":
            shim.arm()
        poster = Poster(self.account, daemon.api, self.home.key, self.world.rng, singles=6, batchers=2, limit=EVENTS)
        poster.start()
        try:
            # Until all is answered, or the process is gone and cannot.
            while poster.is_alive() and daemon.alive():
                poster.join(0.01)
            if daemon.alive():
                self.account.wait_delivered(0.3, daemon.alive)
                self._listen(daemon, shim, mode)
            return daemon.alive()
        finally:
            daemon.end()
            poster.stop()

    def _listen(self, daemon, shim, mode):
        """Waits for what it has to say of a fault, where it met one that may matter; and for its end, if it says so."""
        if not shim.hits or UNIMPORTANT in shim.what:
            return
        has_to = mode in MODES and SILENT.match(shim.what) is None
        complained = daemon.wait_line(COMPLAINT, shim.at_s + (self.tell_s if has_to else TELL_S))
        if complained and daemon.wait_line(LAST_WORDS, shim.at_s + TELL_S):
            eventually("it ends, as it said", lambda: not daemon.alive(), PATIENT_TELL_S)

    def _check_end(self, life):
        """An end has a code that says what kind it is, and a line that says why, within a second."""
        check, text = self.world.check, "\n".join(life.lines[:60])
        check(life.hits > 0, f"it ended, and no call had met a fault\n{text}")
        check(life.code in TOLD, f"{life.what}: exit code {life.code}\n{text}")
        check("ERROR" in text or "posthaste: " in text, f"{life.what}: no line\n{text}")
        check("panicked" not in text, f"{life.what}: a panic\n{text}")
        check(life.took <= self.tell_s, f"{life.what}: told after {life.took:.2f} s\n{text}")

    def after(self):
        """A start without faults. What was doubtful is sent again; the verdict."""
        daemon = self.home.start()
        try:
            if not self.home.key:
                self.home.tenant(daemon, self.sink.url())
            poster = Poster(self.account, daemon.api, self.home.key, self.world.rng, singles=4, batchers=0, limit=0)
            poster.start()
            self.world.check(poster.wait(), "requests were not answered")
            return judge(self.account, daemon)
        finally:
            daemon.end()

    def check_after(self, life, name):
        try:
            verdict = self.after()
        except Ended as error:
            raise AssertionError(f"{name}, {life}: the next start fails: {error}") from error
        held = verdict.held and not verdict.owed
        self.world.check(held, f"{name}, {life}: {verdict}\n" + "\n".join(life.lines[:40]))


class Stage:
    """A place, an account and a sink, for as long as a part of this proof takes."""

    def __init__(self, world):
        self.world, self.place = world, Place()
        self.account = Account(size=world.size(100_000, 8_000_000), pads=PADS)
        self.sink, self.homes = Sink(self.account), 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.close()
        self.place.__exit__()

    def fresh(self):
        """A home that has never been started."""
        self.homes += 1
        return Faulty(self.world, self.place.folder(str(self.homes)), self.account, self.sink)

    def used(self):
        """A home with a tenant and events."""
        faulty = self.fresh()
        life = faulty.live("load", "count")
        self.world.check(not life.ended, "it ended without a fault")
        return faulty


def plan(world, stage):
    """(phase, mode, n, error): all that there are, of which the short form takes the first ones."""
    calls = {}
    for phase in PHASES:
        faulty = stage.fresh() if phase == "first start" else stage.used()
        calls[phase] = faulty.live(phase, "count").calls
    world.say(", ".join(f"{count} calls in a {phase}" for phase, count in calls.items()))
    every = [
        (phase, mode, n, error)
        for phase, count in calls.items()
        for n in range(1, count + 1)
        for mode in MODES
        for error in ERRORS
    ]
    # In an order of chance: a loop that ends early has seen of everything.
    return world.rng.sample(every, len(every))


def prove(world):
    with Stage(world) as stage:
        faults = plan(world, stage)
        # Lives make a few calls more or fewer than the one that was counted: a fault that no call met tries nothing.
        lives, unmet, wrong, used = [], 0, [], stage.used()
        asked = world.rounds(24, len(faults))
        for phase, mode, n, error in faults:
            if len(lives) + len(wrong) >= asked or world.is_late():
                break
            faulty = stage.fresh() if phase == "first start" else used
            name = f"{phase}, {mode} from call {n} on, {os.strerror(error)}"
            try:
                life = faulty.live(phase, mode, n, error)
                faulty.check_after(life, name)
                if life.hits:
                    lives.append(life)
                else:
                    unmet += 1
            except AssertionError as failure:
                # All that there are, not the first only.
                wrong.append(f"{name}: {failure}")
                world.say(f"NOT HELD: {wrong[-1]}")
                used = stage.used() if faulty is used else used
            if faulty is not used:
                shutil.rmtree(faulty.home.data.parent)
        world.events += stage.account.accepted
        report(world, lives, unmet)
        # Those that were met, and the short writes.
        tried, short = len(lives) + len(wrong) + 1, short_writes(world, stage)
        ended = sum(life.ended for life in lives)
        note = f"{ended} ended with a line, {len(lives) - ended} served on, {short} short writes survived"
        world.proof(8, tried, tried - len(wrong), control(world, stage), note)
        # The rest is told all the same.
        world.check(not wrong, f"{len(wrong)} of {len(lives) + len(wrong)} did not hold")


def report(world, lives, unmet):
    world.say(f"{unmet} of the faults were met by no call, and do not count")
    world.check(len(lives) > unmet, f"hardly any fault was met: {len(lives)}, and {unmet} were not")
    slowest = max(life.took for life in lives)
    ended = sum(life.ended for life in lives)
    world.say(f"{ended} of {len(lives)} ended, {slowest * 1000:.0f} ms after the fault at most")
    kept = Counter(re.sub(r"\d+", "N", life.what) for life in lives if not life.ended)
    world.say("served on after: " + ", ".join(f"{count} × {what}" for what, count in kept.most_common()))
    world.check(ended > 0, "no fault ended the process: were there any?")


def short_writes(world, stage):
    """Writes that write a half and say so are no fault: all is as ever."""
    faulty = stage.used()
    life = faulty.live("start", "short")
    world.check(not life.ended and life.hits > 0, f"short writes: {life}")
    faulty.check_after(life, "short writes")
    return life.hits


def control(world, stage):
    """A disk that says yes, and drops what is written to journals, must be found out."""
    faulty = stage.used()
    stage.sink.answer(hang=True)
    life = faulty.live("load", "lie", match=".jnl")
    stage.sink.answer()
    world.check(not life.ended and life.hits > 0, f"lies: {life}")
    before = stage.account.accepted
    try:
        verdict = faulty.after()
    except Ended as error:
        return f"a disk that says yes and drops writes: caught, {refused_for_loss(world, error)}"
    world.check(not verdict.held, f"a disk that says yes and drops writes was not caught: {verdict}")
    return f"a disk that says yes and drops writes: caught, {len(verdict.lost)} of {before} lost"
