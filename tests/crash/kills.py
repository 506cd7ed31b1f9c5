"""SIGKILL at random moments, again and again on one data directory (row 3)."""

import time
from contextlib import closing

from account import Account, judge
from machine import Ended, Home, Place, eventually, refused_for_loss
from poster import Poster
from shim import Shim
from sink import Sink

# Attempts in flight and outcomes that are not on disk yet: what a kill may repeat.
IN_FLIGHT_MAX, SETTLING_MAX = 32, 64
SETTINGS = {
    # An endpoint alone takes half of its shard's places at most.
    "delivery__in_flight_max": 4 * IN_FLIGHT_MAX,
    "delivery__in_flight_per_endpoint_max": IN_FLIGHT_MAX,
    "engine__settling_max": SETTLING_MAX,
}
# Events that wait for their delivery, at most: every kill meets a backlog, and the end comes soon.
AHEAD_MAX = 10_000
KILLED = -9


class Lives:
    """The daemon's lives on one home, and what was seen of them."""

    def __init__(self, world, home, account, sink):
        self.world, self.home, self.account, self.sink = world, home, account, sink
        self.count, self.ready, self.first = 0, [], []

    def one(self, shim=None):
        """A life under load, and its sudden end. One in four ends while it is still starting."""
        rng, account = self.world.rng, self.account
        self.count += 1
        owed = account.ahead() > 0
        account.forget_first()
        daemon = self.home.start(shim=shim, ready=False)
        try:
            if self.home.key and rng.random() < 0.25:
                time.sleep(rng.uniform(0, 0.03))
                return daemon.kill()
            self.ready.append(daemon.wait_ready())
            if not self.home.key:
                self.home.tenant(daemon, self.sink.url())
            poster = Poster(account, daemon.api, self.home.key, rng, ahead_max=AHEAD_MAX)
            poster.start()
            if shim:
                # A moment in which all is well, then the lies begin.
                eventually("events are accepted", lambda: account.accepted > 100)
                shim.arm()
            time.sleep(rng.uniform(0.05, 0.5))
            code = daemon.kill()
            poster.stop()
            if owed and account.first_at():
                self.first.append(account.first_at() - daemon.started)
            return code
        finally:
            daemon.end()


def kill_loop(world, rounds, shim=None):
    """The verdict after so many lives, and what was seen."""
    account = Account(size=world.size(400_000, 12_000_000))
    with Place() as place, closing(Sink(account)) as sink:
        home = Home(world.binary, place.path, **SETTINGS)
        lives = Lives(world, home, account, sink)
        sink.answer(flaky=13)
        for _ in range(rounds):
            shims = shim(place, home) if shim else None
            code = lives.one(shims)
            if code != KILLED:
                raise AssertionError(f"the daemon ended by itself, with {code}")
            if world.is_late():
                break
        return final(home, account), lives


def final(home, account):
    """Starts once more; everything must come."""
    daemon = home.start()
    try:
        verdict = judge(account, daemon)
        if not verdict.lost:
            held = 'state="held"'
            eventually("nothing is held", lambda: daemon.metric("posthaste_engine_deliveries", held) == 0)
        return verdict
    finally:
        daemon.end()


def prove(world):
    verdict, lives = kill_loop(world, world.rounds(20, 5000))
    rounds = lives.count
    repeats_max = rounds * (IN_FLIGHT_MAX + SETTLING_MAX)
    world.say(
        f"{len(lives.ready)} kills under load, {verdict}; ready after {max(lives.ready) * 1000:.0f} ms at most, "
        f"first delivery after {max(lives.first, default=0) * 1000:.0f} ms at most"
    )
    held = verdict.held and not verdict.owed and verdict.repeats <= repeats_max
    world.check(held and verdict.accepted > rounds * 20, f"{verdict}; repeats at most {repeats_max}")
    world.count(verdict)
    caught = f"a disk that says yes and drops what is written: caught, {control(world)}"
    world.proof(3, rounds, rounds, caught, f"{verdict.accepted} events, 0 lost, {verdict.repeats} repeated")


def control(world):
    """How the lies of a disk were found out."""

    def lies(place, home):
        return Shim(world.shim, place.path / "told", home.data, "lie", match=".jnl")

    try:
        wrong, _ = kill_loop(world, 1, lies)
    except Ended as error:
        # Where the witness was written between the lies and the end.
        return refused_for_loss(world, error)
    world.check(not wrong.held, f"a disk that drops writes was not caught: {wrong}")
    return f"{len(wrong.lost)} of {wrong.accepted} lost"
