"""A backlog that would not fit into memory (row 21), and a start on one (row 3).

The backlog waits behind a paused endpoint, half of it of events that were tried and wait for their retry where that is
asked for. Memory is bounded by the settings, so it is the same with five times as much.
"""

from account import Account, judge
from machine import Ended, Place, Served, eventually, refused_for_loss
from poster import Poster
from shim import Shim
from sink import Sink

MIB = 1 << 20
# 40,000 of them are 160 MB of payloads.
PADS = [b"p" * 4000]
SHORT_EVENTS = 40_000
SHORT_PADS = [b"p" * 200]
BATCH = (200, 400)
# What is promised, of the program as it is shipped; and of a build without optimisation on a machine of any size.
MEMORY_MAX, SHORT_MEMORY_MAX = 150 * MIB, 190 * MIB
# As much of everything as there is: no bound any more.
UNBOUND = {"data__memtable": "1GiB", "data__journal_max": "8GiB", "engine__payload_memory_max": "8GiB"}
READY_S_MAX = 2.0


class Pile(Served):
    """A home with so many events that wait."""

    def __init__(self, world, place, events, pads, **settings):
        self.world, self.account = world, Account(size=events + 10_000, pads=pads)
        super().__init__(world.binary, place.path, Sink(self.account), **settings)

    def close(self):
        try:
            super().close()
        finally:
            self.sink.close()

    def post(self, count, **how):
        spread = {"singles": 0, "batchers": 6, "batch": BATCH, **how}
        place = (self.account, self.daemon.api, self.home.key, self.world.rng)
        poster = Poster(*place, limit=count, keyed=False, **spread)
        before = self.account.accepted
        poster.start()
        self.world.check(poster.wait(1800), "the backlog could not be made")
        self.world.check(self.daemon.alive(), f"the daemon has ended:\n{self.daemon.printed()}")
        # What was refused, or broke off, does not wait.
        accepted = self.account.accepted - before
        self.world.check(accepted == count, f"{accepted} of {count} events were accepted: {poster.statuses}")


def peak(world, events, deliver=True, **settings):
    """The most memory that this backlog took, while it grew and, where that is asked for, while it was delivered after
    a start; the verdict then."""
    with Place() as place, Pile(world, place, events, PADS, **settings) as pile:
        pile.home.pause(pile.daemon, True)
        pile.post(events)
        memory = pile.daemon.memory()
        if not deliver:
            return memory, None
        pile.daemon.kill()
        pile.daemon = pile.home.start()
        pile.home.pause(pile.daemon, False)
        verdict = judge(pile.account, pile.daemon)
        return max(memory, pile.daemon.memory()), verdict


def prove_memory(world):
    events = world.rounds(SHORT_EVENTS, 1_000_000)
    most, verdict = peak(world, events)
    memory_max = MEMORY_MAX if world.long else SHORT_MEMORY_MAX
    world.say(f"{most / MIB:.0f} MiB at most with {verdict.accepted} events of 4 kB that wait; {verdict}")
    world.check(verdict.held and not verdict.owed, f"{verdict}")
    world.check(most <= memory_max, f"{most / MIB:.0f} MiB are more than {memory_max / MIB:.0f}")
    world.count(verdict)
    unbound, _ = peak(world, SHORT_EVENTS, deliver=False, **UNBOUND)
    world.check(unbound > memory_max, f"without bounds no more than {unbound / MIB:.0f} MiB: this cannot fail")
    tried, note = verdict.accepted, f"{most / MIB:.0f} MiB with {verdict.accepted} events that wait"
    world.proof(21, tried, tried - len(verdict.lost), f"the same without bounds: caught, {unbound / MIB:.0f} MiB", note)

def recovery(world, events, lie=False, **settings):
    """Killed with a backlog, a tenth of it timers. How long after the start it was ready, and how long until the first
    delivery, in seconds; the verdict."""
    timers = events // 10
    # A failure is final for an hour, so that those that have failed wait as timers.
    held = {"retry__delays": "1h", "isolation__breaker_failures": "0"}
    with Place() as place, Pile(world, place, events + 1, SHORT_PADS, **held, **settings) as pile:
        account, sink = pile.account, pile.sink
        sink.answer(status=503)
        pile.post(timers)
        eventually("all of the first have failed", lambda: account.counter("failed") >= timers, 600)
        pile.home.pause(pile.daemon, True)
        if lie:
            pile.daemon.kill()
            shim = Shim(world.shim, place.path / "told", pile.home.data, "lie", match=".jnl")
            pile.daemon = pile.home.start(shim=shim)
            shim.arm()
        pile.post(events - timers)
        sink.answer()
        pile.home.pause(pile.daemon, False)
        pile.daemon.kill()
        account.forget_first()
        pile.daemon = pile.home.start(ready=False)
        ready = pile.daemon.wait_ready()
        if lie:
            return ready, 0.0, judge(account, pile.daemon, patience_s=0.0)
        eventually("a first delivery", account.first_at)
        first = account.first_at() - pile.daemon.started
        eventually("what had not failed is delivered", lambda: account.counter("distinct") >= events - timers, 1200)
        # What is owed is what waits for an hour.
        return ready, first, judge(account, pile.daemon, patience_s=0.0)


def lie_control(world):
    """How the lies of a disk were found out."""
    try:
        _, _, wrong = recovery(world, 2_000, lie=True)
    except Ended as error:
        return refused_for_loss(world, error)
    world.check(not wrong.held, f"a disk that drops writes was not caught: {wrong}")
    return f"{len(wrong.lost)} of {wrong.accepted} lost"


def prove_recovery(world):
    events = world.rounds(20_000, 1_000_000)
    ready, first, verdict = recovery(world, events)
    times = f"ready after {ready * 1000:.0f} ms, first delivery after {first * 1000:.0f} ms"
    world.say(f"{times}, with {verdict.accepted} that wait; {verdict}")
    world.check(verdict.held and verdict.owed <= events // 10, f"{verdict}")
    world.count(verdict)
    if not world.long:
        control = f"a disk that says yes and drops writes: caught, {lie_control(world)}"
    else:
        world.check(ready <= READY_S_MAX, f"ready after {ready:.2f} s")
        slow, _, _ = recovery(world, events, **UNBOUND)
        world.check(slow > READY_S_MAX, f"with journals of any length it is ready after {slow:.2f} s as well")
        control = f"journals of any length: caught, ready after {slow * 1000:.0f} ms"
    world.proof(3, verdict.accepted, verdict.accepted - len(verdict.lost), control, times)
