"""SIGTERM under a steady load, and a start (row 29): nothing lost, nothing repeated."""

import signal
import time
from contextlib import closing

from account import Account, judge
from machine import Home, Place
from poster import Poster
from sink import Sink

RATE = 1000
# A receiver that takes a moment: there is something in flight at every stop.
ANSWER_S = 0.02
DRAIN_S_MAX = 35.0
STOPPED, KILLED = 0, -9


def stop_loop(world, rounds, how):
    """Stops it so often, with a start after each stop. The verdict, the slowest stop, and how many there were."""
    account = Account(size=world.size(200_000, 2_000_000))
    with Place() as place, closing(Sink(account)) as sink:
        sink.answer(delay_s=ANSWER_S)
        home = Home(world.binary, place.path)
        slowest, done = 0.0, 0
        daemon = home.start()
        try:
            home.tenant(daemon, sink.url())
            for _ in range(rounds):
                poster = Poster(account, daemon.api, home.key, world.rng, singles=64, batchers=0, rate=RATE)
                poster.start()
                time.sleep(world.rng.uniform(0.4, 1.0))
                began = time.monotonic()
                daemon.signal(how)
                code = daemon.wait()
                slowest = max(slowest, time.monotonic() - began)
                poster.stop()
                expected = STOPPED if how == signal.SIGTERM else KILLED
                world.check(code == expected, f"exit code {code}\n{daemon.printed()}")
                daemon = home.start()
                done += 1
                if world.is_late():
                    break
            # What had no answer is sent again, as careful clients do.
            poster = Poster(account, daemon.api, home.key, world.rng, limit=0)
            poster.start()
            world.check(poster.wait(), "requests were not answered")
            return judge(account, daemon), slowest, done
        finally:
            daemon.end()


def prove(world):
    verdict, slowest, done = stop_loop(world, world.rounds(5, 200), signal.SIGTERM)
    world.say(f"{done} stops at {RATE}/s, {verdict}; the slowest took {slowest * 1000:.0f} ms")
    world.check(verdict.held and not verdict.owed and not verdict.dead, f"{verdict}")
    world.check(verdict.repeats == 0, f"{verdict}: a stop repeats nothing")
    world.check(slowest <= DRAIN_S_MAX, f"a stop took {slowest:.1f} s")
    world.check(verdict.accepted > done * RATE / 10, f"too little load to mean anything: {verdict}")
    world.count(verdict)
    killed, _, kills = stop_loop(world, 2, signal.SIGKILL)
    world.check(killed.repeats > 0, f"SIGKILL repeated nothing, so that this cannot see repeats: {killed}")
    world.check(killed.held, f"{killed}")
    world.proof(
        29,
        done,
        done,
        f"SIGKILL instead: caught, {killed.repeats} repeated in {kills} kills",
        f"{verdict.accepted} events, 0 lost, 0 repeated, drained in {slowest * 1000:.0f} ms at most",
    )
