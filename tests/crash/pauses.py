"""SIGSTOP for longer than every time-out, and SIGCONT (row 10, standalone): nothing lost, and what was final stays."""

import signal
import time
from contextlib import closing

from account import Account, judge
from machine import Ended, Home, Place, eventually, refused_for_loss
from poster import Poster
from shim import Shim
from sink import Sink

ATTEMPT_S = 0.3
SETTINGS = {
    "delivery__attempt_timeout": "300ms",
    "delivery__connect_timeout": "200ms",
    "server__header_timeout": "200ms",
    "server__body_timeout": "200ms",
    "retry__delays": "50ms",
    # A pause costs what is in flight an attempt, and each event may meet many.
    "retry__attempts_max": 100,
}
# How many events are asked for in each round.
ASKED = 60
FINAL = ("DELIVERED", "DLQ", "PURGED")


class Finals:
    """Events that the API has called final, and how often their receiver had seen them by then."""

    def __init__(self, account, rng):
        self.account, self.rng, self.known = account, rng, {}

    def look(self, daemon):
        """Asks for some of what was delivered; says how many of it are final."""
        before = len(self.known)
        seen = [n for n in range(self.account.sent) if self.account.times[n] and n not in self.known]
        for n in self.rng.sample(seen, min(ASKED, len(seen))):
            status = daemon.status_of(self.account.id_of(n).decode()) if self.account.id_of(n)[0] else None
            if status in FINAL:
                self.known[n] = (status, self.account.times[n])
        return len(self.known) - before

    def changed(self, daemon):
        """Those that are something else by now, or were delivered again."""
        return [
            n
            for n, known in self.known.items()
            if known != (daemon.status_of(self.account.id_of(n).decode()), self.account.times[n])
        ]


def pause_loop(world, rounds, lie=False):
    """The verdict, the finals that changed, how many there were, and the rounds."""
    account = Account(size=world.size(200_000, 4_000_000))
    with Place() as place, closing(Sink(account)) as sink:
        sink.answer(delay_s=0.02)
        home = Home(world.binary, place.path, **SETTINGS)
        shim = Shim(world.shim, place.path / "told", home.data, "lie", match=".jnl") if lie else None
        finals, done = Finals(account, world.rng), 0
        daemon = home.start(shim=shim)
        try:
            home.tenant(daemon, sink.url())
            if shim:
                shim.arm()
            for _ in range(rounds):
                poster = Poster(account, daemon.api, home.key, world.rng, singles=24, batchers=2, ahead_max=2_000)
                poster.start()
                time.sleep(world.rng.uniform(0.1, 0.4))
                # On a busy machine nothing may be final yet.
                eventually("more is final", lambda: finals.look(daemon))
                daemon.signal(signal.SIGSTOP)
                time.sleep(ATTEMPT_S * world.rng.uniform(1.2, 2.0))
                daemon.signal(signal.SIGCONT)
                poster.stop()
                done += 1
                if world.is_late():
                    break
            # The end is sudden, so that what was final has to be on the disk.
            daemon.kill()
            daemon = home.start()
            verdict = judge(account, daemon)
            return verdict, finals.changed(daemon), len(finals.known), done
        finally:
            daemon.end()


def prove(world):
    verdict, changed, known, done = pause_loop(world, world.rounds(10, 500))
    world.say(f"{done} pauses, {verdict}; {known} finals, {len(changed)} of them changed")
    world.check(verdict.held and not verdict.owed and not verdict.dead, f"{verdict}")
    world.check(not changed and known > done, f"{len(changed)} of {known} finals changed")
    world.count(verdict)
    caught = f"a disk that says yes and drops writes: caught, {control(world)}"
    world.proof(10, done, done, caught, f"{verdict.accepted} events, 0 lost, {known} finals stayed")


def control(world):
    """How the lies of a disk were found out."""
    try:
        _, changed, known, _ = pause_loop(world, 1, lie=True)
    except Ended as error:
        return refused_for_loss(world, error)
    world.check(changed, f"a disk that drops writes was not caught: none of {known} finals changed")
    return f"{len(changed)} of {known} finals changed"
