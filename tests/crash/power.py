"""The power fails: an ext4 of our own is shut down without a flush, again and again (row 4).

What had not reached the device is gone, page cache and journal alike. The device is a file whose own cache stays, so
what is not tried is a disk that lies about its flushes. In every other round all threads of the process stand still when the
power goes, so that every answer was given before it, and every one counts. In the others the process meets the failing
disk: there the kernel lets a sync that meets the shutdown say yes now and then, and the process goes on for a moment; a
machine without power answers nobody, so what was answered while the power went is no promise, and is not sent again.
"""

import time
from contextlib import closing

from account import Account, judge
from machine import Ended, Ext4, Home, Place, refused_for_loss
from poster import Poster
from shim import Shim
from sink import Sink

# What was delivered stays on the disk: room for all rounds.
MIB, LONG_MIB = 400, 8_000
SETTINGS = {"data__free_space_floor": "32MiB", "data__memtable": "1MiB"}
AHEAD_MAX = 5_000


class Cuts:
    """A home on a disk that is cut off from its power."""

    def __init__(self, world, place, account, sink):
        self.world, self.place, self.account, self.sink = world, place, account, sink
        self.cut_answers = self.lives = 0
        self.disk = Ext4(place, world.size(MIB, LONG_MIB))
        self.home = Home(world.binary, self.disk.path, **SETTINGS)

    def one(self, shim=None):
        """A life under load, until the power goes."""
        rng, account = self.world.rng, self.account
        daemon = self.home.start(shim=shim)
        try:
            if not self.home.key:
                self.home.tenant(daemon, self.sink.url())
            if shim:
                shim.arm()
            poster = Poster(account, daemon.api, self.home.key, rng, ahead_max=AHEAD_MAX)
            poster.start()
            time.sleep(rng.uniform(0.03, 0.3))
            self.lives += 1
            if self.lives % 2:
                daemon.freeze()
                self.disk.cut()
                daemon.kill()
                poster.stop()
                account.doubtful = []
            else:
                before = bytes(account.states)
                self.disk.cut()
                code = daemon.wait()
                self.world.check(code != 0, "the daemon ended as if nothing had happened")
                poster.stop()
                self.cut_answers += account.forget_since(before)
        finally:
            daemon.end()
        self.disk.unmount()
        self.disk.mount()

    def judge(self):
        daemon = self.home.start()
        try:
            return judge(self.account, daemon)
        finally:
            daemon.end()


def cut_loop(world, rounds, shim=None):
    account = Account(size=world.size(400_000, 6_000_000))
    with Place() as place, closing(Sink(account)) as sink:
        cuts, tried = Cuts(world, place, account, sink), 0
        while tried < rounds and not (tried and world.is_late()):
            cuts.one(shim(place, cuts.home) if shim else None)
            tried += 1
        world.say(f"{cuts.cut_answers} answers while the power went do not count")
        return cuts.judge(), tried


def prove(world):
    if why := Ext4.why_not():
        world.skip(f"no power loss: {why}")
    verdict, tried = cut_loop(world, world.rounds(15, 3000))
    world.say(f"{tried} power cuts, {verdict}")
    world.check(verdict.held and not verdict.owed and verdict.accepted > tried * 20, f"{verdict}")
    world.count(verdict)
    world.proof(4, tried, tried, control(world), f"{verdict.accepted} events, 0 lost")


def control(world):
    """The same without syncs must lose: a buffered write is no promise."""

    def nosync(place, home):
        return Shim(world.shim, place.path / "told", home.data, "nosync", kinds="s")

    for attempt in range(1, 6):
        try:
            wrong, _ = cut_loop(world, 1, nosync)
        except Ended as error:
            # The witness or the journals gave it away: the start says what is missing.
            return f"the same with syncs that do nothing: caught, {refused_for_loss(world, error)}"
        if wrong.lost:
            return f"the same with syncs that do nothing: caught, {len(wrong.lost)} of {wrong.accepted} lost"
        world.say(f"nothing was lost without syncs, try {attempt}: once more")
    raise AssertionError("without syncs nothing was lost: the cut is none")
