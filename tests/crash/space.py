"""A disk that fills up and is freed (row 9): refusals as documented, deliveries go on, and nothing is lost.

First below the floor; then further, slowly, which costs the ballast; then to the last block at once, which nobody can
see coming: there the process may end, and must start and deliver on a disk that is still full. The daemon's own tests
(daemon/tests/it/disk.rs) do the first and the last with one client; here are load, an account, and an ext4.
"""

import os
import time
from contextlib import closing

from account import Account, judge
from machine import PATIENCE_S, Ended, Place, Served, eventually, small_disk
from poster import Poster
from sink import Sink

MIB = 480
GUARDED = {"data__free_space_floor": "128MiB", "data__ballast": "64MiB"}
BARE = {"data__free_space_floor": "0B", "data__ballast": "0B"}
SETTINGS = {
    "retry__delays": "500ms",
    "retry__attempts_max": 100,
    # What fails is tried by the schedule, so that something is always to be settled.
    "isolation__breaker_failures": "0",
}
FREED_S_MAX = 60.0
RATE = 500
# Room that is left in each story; the daemon looks after it four times a second, and gives up the ballast below 32 MiB.
# At 4 MiB in 60 ms it looks at least once in between.
BELOW_FLOOR, SLOWLY, AT_ONCE = 100, 4, 0
STEP, STEP_S = 4 << 20, 0.06
FAULT = 70
REFUSED = "events are refused with 507"


class Full(Served):
    """A home on a small disk under load."""

    def __init__(self, world, disk, sink, account, settings, patience_s):
        super().__init__(world.binary, disk.path, sink, **SETTINGS, **settings)
        self.world, self.disk, self.account = world, disk, account
        self.filler, self.ballast = disk.path / "filler", self.home.data / "ballast"
        self.poster = self.not_held = None
        self.patience_s = patience_s

    def post(self):
        self.poster = Poster(
            self.account, self.daemon.api, self.home.key, self.world.rng, singles=8, batchers=2, rate=RATE
        )
        self.poster.start()

    def free(self):
        stat = os.statvfs(self.disk.path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, left_mib, slowly=False):
        """Takes all room but so much; slowly, until the ballast has gone."""
        step = STEP if slowly else 16 << 20
        with self.filler.open("ab") as file:
            while (room := self.free() - (left_mib << 20)) > 0:
                if slowly and not self.ballast.exists():
                    return
                at = os.fstat(file.fileno()).st_size
                try:
                    os.posix_fallocate(file.fileno(), at, min(room, step))
                except OSError:
                    # Not in one piece of that size: in smaller ones, until there is none.
                    if step <= 4096:
                        return
                    step //= 2
                if slowly:
                    # The speed of who fills the disk, not a wait for the daemon.
                    time.sleep(STEP_S)

    def refused(self):
        return self.poster.statuses.get(507, 0)

    def fill_and_free(self, left_mib, slowly=False):
        """One story: events wait, the disk fills, events are refused, what waits is delivered, the disk is freed.
        How long it took until events were taken again, in seconds."""
        check, account = self.world.check, self.account
        self.sink.answer(status=503)
        self.post()
        target, before = account.accepted + 200, self.refused()
        eventually("events are accepted", lambda: account.accepted > target or not self.daemon.alive())
        self.fill(left_mib, slowly)
        refused = lambda: self.refused() > before or not self.daemon.alive()  # noqa: E731
        eventually(REFUSED, refused, self.patience_s)
        if left_mib == AT_ONCE and not self.daemon.alive():
            check(self.daemon.wait() == FAULT, f"the daemon ended otherwise:\n{self.daemon.printed()}")
            self.start_on_full()
        check(self.daemon.alive(), f"the daemon has ended on a full disk:\n{self.daemon.printed()}")
        eventually("it is not ready", lambda: self.daemon.readiness() == 503 or not self.filler.exists())
        if slowly:
            # A machine that is late looks late: below the floor it was long before.
            gone = lambda: not self.ballast.exists() or not self.daemon.alive()  # noqa: E731
            eventually("the ballast is given up", gone)
        self.sink.answer()
        missing = account.wait_delivered(20.0, self.daemon.alive)
        check(not missing, f"{len(missing)} events were not delivered on a full disk\n{self.daemon.printed()}")
        unknown = set(self.poster.statuses) - {201, 503, 507}
        check(not unknown, f"undocumented answers: {unknown}")
        return self.free_again()

    def start_on_full(self):
        """A start on a disk that is as full as it was."""
        self.poster.stop()
        self.daemon = self.home.start(ready=False)
        try:
            self.daemon.wait_announced()
        except Ended:
            code, said = self.daemon.wait(), self.daemon.printed().splitlines()[-1]
            self.not_held = f"a start on a disk without any room ends with {code}: {said}"
            self.filler.unlink()
            self.daemon = self.home.start()
        self.post()

    def free_again(self):
        self.filler.unlink(missing_ok=True)
        began, accepted = time.monotonic(), self.account.accepted
        eventually("events are taken again", lambda: self.account.accepted > accepted)
        took = time.monotonic() - began
        eventually("it is ready", lambda: self.daemon.readiness() == 200)
        eventually("the ballast is there again", self.ballast.exists)
        self.poster.stop()
        return took

    def close(self):
        try:
            if self.poster and self.poster.is_alive():
                self.poster.stop()
        finally:
            super().close()


def run(world, settings, patience_s=PATIENCE_S):
    """All stories, or the first thing that did not hold in them; and what became of the events."""
    with Place() as place:
        disk = small_disk(place, MIB)
        if disk is None:
            world.skip("no small file system can be mounted here (it takes root)")
        account, why, took = Account(), None, []
        with closing(Sink(account)) as sink, Full(world, disk, sink, account, settings, patience_s) as full:
            try:
                took = [
                    full.fill_and_free(BELOW_FLOOR),
                    full.fill_and_free(SLOWLY, slowly=True),
                    full.fill_and_free(AT_ONCE),
                ]
            except AssertionError as error:
                why = str(error)
            full.filler.unlink(missing_ok=True)
            sink.answer()
            full.close()
            full.daemon = full.home.start()
            return judge(account, full.daemon), took, why, full.not_held


def prove(world):
    verdict, took, why, not_held = run(world, GUARDED)
    world.check(why is None, why)
    world.check(verdict.held and not verdict.owed, f"{verdict}")
    times = ", ".join(f"{seconds * 1000:.0f} ms" for seconds in took)
    world.say(f"{verdict}; events were taken again {times} after there was room")
    world.check(max(took) <= FREED_S_MAX, f"back to normal after {max(took):.1f} s")
    world.count(verdict)
    bare, _, why, _ = run(world, BARE, patience_s=2.0)
    world.check(why is not None, "without floor and ballast all went as well: the disk was not full")
    # For this reason and no other: nobody is refused, on a disk that would have refused.
    world.check(REFUSED in why, f"without floor and ballast it is not that nobody is refused: {why}")
    world.check(bare.held, f"without floor and ballast: {bare}")
    caught = f"the same without floor and ballast: caught ({why.splitlines()[0]})"
    world.check(not not_held, not_held)
    world.proof(9, 3, 3, caught, f"{verdict.accepted} events, 0 lost")
