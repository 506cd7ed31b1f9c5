"""A full table of file descriptors (row 8): connections wait, nothing ends, nothing is lost, and it recovers.

Three limits: one that the settings fit into, one that they do not, and one that falls while the daemon runs, below what
its ledger needs. The last one is the control: there the process has to end, with a line, and lose nothing.
"""

import os
import resource
import socket
from contextlib import closing
from pathlib import Path

from account import Account, judge
from machine import Home, Place, eventually
from poster import Poster
from sink import Sink

LIMIT = 256
FLOOD = 400
# What the daemon may use for connections, so that it stays below the limit.
FITTING = {
    "server__connections_max": "60",
    "delivery__connections_max": "40",
    "delivery__in_flight_max": "40",
    "delivery__in_flight_per_endpoint_max": "40",
    "delivery__idle_per_target_max": "40",
}
# Tables are written out meanwhile, which takes files.
SETTINGS = {"data__memtable": "1MiB"}
PADS = [b"p" * 3000, b"q" * 50]
FAULT = 70


def open_descriptors(daemon):
    return len(os.listdir(Path("/proc") / str(daemon.process.pid) / "fd"))


class Flood:
    """Connections that ask for nothing."""

    def __init__(self, address, count):
        host, port = address.rsplit(":", 1)
        self.sockets = []
        for _ in range(count):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex((host, int(port)))
            self.sockets.append(connection)

    def close(self):
        for connection in self.sockets:
            connection.close()


class Crowded:
    """What became of a daemon under a flood of connections."""

    def __init__(self, world, falls=False, **settings):
        account = Account(pads=PADS)
        with Place() as place, closing(Sink(account)) as sink:
            home = Home(world.binary, place.path, **SETTINGS, **settings)
            self.daemon = home.start(descriptors=LIMIT)
            self.code, self.used = None, 0
            try:
                home.tenant(self.daemon, sink.url())
                self._flood(world, account, home, falls)
                if self.code is not None:
                    self.daemon = home.start()
                self.verdict = judge(account, self.daemon)
            finally:
                self.daemon.end()

    def _flood(self, world, account, home, falls):
        daemon = self.daemon
        # Those that were there before go on.
        poster = Poster(account, daemon.api, home.key, world.rng, singles=8, batchers=2, ahead_max=2_000)
        poster.start()
        eventually("events are delivered", lambda: account.counter("distinct") > 100)
        with closing(Flood(daemon.api, FLOOD)):
            if falls:
                resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (open_descriptors(daemon), LIMIT))
            most = account.accepted + 4_000
            eventually("events are accepted", lambda: account.accepted > most or not daemon.alive())
            self.used = open_descriptors(daemon) if daemon.alive() else LIMIT
        if daemon.alive():
            late = Poster(account, daemon.api, home.key, world.rng, singles=8, batchers=0, limit=50)
            late.start()
            world.check(late.wait(), "newcomers are not served after the flood")
        poster.stop()
        if not daemon.alive():
            self.code = daemon.wait()
            world.check(self.code == FAULT, f"it ended with {self.code}\n{daemon.printed()}")
        self.told = [line for line in daemon.lines if " WARN " in line or " ERROR " in line]

    def check(self, world):
        verdict = self.verdict
        world.check(verdict.held and not verdict.owed and not verdict.dead, f"{verdict}")
        world.count(verdict)


def prove(world):
    fits, tight = Crowded(world, **FITTING), Crowded(world)
    falls = Crowded(world, falls=True, **FITTING)
    for crowded in (fits, tight, falls):
        crowded.check(world)
    world.say(f"{fits.used} of {LIMIT} descriptors used, {fits.verdict}")
    world.check(fits.code is None, f"the daemon has ended: {fits.told[:3]}")
    world.check(falls.code is not None, "the limit fell, and nothing ended: this proof cannot fail")
    world.check(tight.code is None, f"settings that need more than the limit: it has ended: {tight.told[:3]}")
    events = sum(crowded.verdict.accepted for crowded in (fits, tight, falls))
    control = f"a limit that falls below what is open: caught, the daemon ends with {falls.code}"
    world.proof(8, 2, 2, control, f"descriptors; {events} events, 0 lost")
