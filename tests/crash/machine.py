"""The machine that is made to crash: the daemon as a process that can be killed and started again on its data, and file
systems that can be filled and cut off."""

import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests"))

from support.children import goes_with_us, serve  # noqa: E402
from support.posthaste import Api, eventually, new_api_key  # noqa: E402

# Long, because machines that test are slow and busy; nothing waits as long where all is well.
PATIENCE_S = 60.0
TENANT = "acme"


class Ended(AssertionError):
    """The daemon has ended where it was to go on."""


def refused_for_loss(world, error):
    """For controls in which a disk loses what it was given: a start that fails must say what is missing, and how to go on
    without it. In words, for the proof's line."""
    world.check("--accept-loss" in str(error), f"a start that fails for another reason: {error}")
    return "the start refuses"


class Home:
    """A data directory, its settings and its one tenant; daemons come and go on it."""

    def __init__(self, binary, folder, **settings):
        self.binary, self.data = Path(binary).resolve(), Path(folder) / "data"
        self.admin_key, self.key, self.asked = new_api_key(), None, False
        self.settings = {
            "server.listen": "127.0.0.1:0",
            "server.admin-listen": "127.0.0.1:0",
            "delivery.allow-networks": "127.0.0.0/8",
            "retry.delays": "100ms",
            "data.ballast": "0B",
            "auth.admin-key": self.admin_key,
            **{name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()},
        }

    def start(self, *, shim=None, descriptors=None, ready=True, **settings):
        daemon = Daemon(self, shim, descriptors, settings)
        try:
            if ready:
                daemon.wait_ready()
        except BaseException:
            # Nobody else knows it.
            daemon.end()
            raise
        return daemon

    def tenant(self, daemon, target):
        operator, body = Api(daemon.api, self.admin_key), {"tenant_id": TENANT, "target_url": target}
        asked, self.asked = self.asked, True
        answer = operator.request("POST", "/v1/tenants", json.dumps(body).encode())
        if asked and answer.status == 409:
            # A life that ended before its answer had kept it.
            answer = operator.request("POST", f"/v1/tenants/{TENANT}/keys")
        if answer.status != 201:
            raise AssertionError(f"the tenant is not made: {answer.status} {answer.body!r}")
        self.key = json.loads(answer.body)["api_key"]
        return self.key

    def pause(self, daemon, paused):
        daemon.client().json("PATCH", f"/v1/tenants/{TENANT}", {"delivery": {"paused": paused}})


class Daemon:
    """One life of `posthaste serve`."""

    # Those that nobody has seen the end of.
    living = set()

    def __init__(self, home, shim, descriptors, settings):
        self.home, self.lines, self.ended = home, [], None
        self.api = self.admin = None
        self._announced, self._heard = threading.Event(), threading.Condition()
        named = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
        environment = shim.environment if shim is not None else {}

        def prepare():
            goes_with_us()
            if descriptors:
                # Both limits: the daemon raises the one to the other.
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.started = time.monotonic()
        settings = {**home.settings, **named}
        self.process = serve(home.binary, home.data, settings, environment=environment, prepare=prepare)
        self.living.add(self)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        # Addresses are printed as `  api    http://127.0.0.1:8080`.
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line.rstrip("\n"))
                self._heard.notify_all()
            words = line.split()
            if len(words) == 2 and words[0] in ("api", "admin") and words[1].startswith("http://"):
                setattr(self, words[0], words[1].removeprefix("http://").rstrip("/"))
                if self.api and self.admin:
                    self._announced.set()
        with self._heard:
            self.ended = time.monotonic()
            self._heard.notify_all()
        self._announced.set()

    def wait_announced(self):
        if not self._announced.wait(PATIENCE_S) or not (self.api and self.admin):
            raise Ended("the daemon did not come up:\n" + self.printed())

    def wait_ready(self):
        """How long it took from the start of the process, in seconds."""
        self.wait_announced()
        while self.readiness() != 200:
            if not self.alive():
                # All that it has said, which may be more than was read so far.
                self.reader.join(PATIENCE_S)
                raise Ended("the daemon ended before it was ready:\n" + self.printed())
            if time.monotonic() - self.started > PATIENCE_S:
                raise AssertionError("not ready:\n" + self.printed())
            time.sleep(0.005)
        return time.monotonic() - self.started

    def wait_line(self, pattern, until_s):
        """Waits until it has printed such a line, has ended, or it is so late by time.monotonic(). Whether it has printed
        one."""
        said = lambda: any(pattern.search(line) for line in self.lines)  # noqa: E731
        with self._heard:
            self._heard.wait_for(lambda: self.ended or said(), max(0.0, until_s - time.monotonic()))
            return said()

    def readiness(self):
        try:
            return Api(self.admin).request("GET", "/readyz").status
        except OSError:
            return 0

    def client(self):
        return Api(self.api, self.home.key)

    def status_of(self, event_id):
        """An event's status; none where it is not known."""
        answer = self.client().request("GET", f"/v1/events/{event_id}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise AssertionError(f"GET of an event: {answer.status} {answer.body[:200]!r}")
        # The first one is the event's, whatever its payload contains.
        return answer.body.split(b'"status":"', 1)[1].split(b'"', 1)[0].decode()

    def listed(self, status):
        """The ids of all events with that status."""
        client, query = self.client(), f"/v1/events?status={status}&limit=100"
        page = client.json("GET", query)
        while True:
            yield from (event["event_id"] for event in page["events"])
            if not page.get("next_token"):
                return
            page = client.json("GET", f"{query}&next_token={page['next_token']}")

    def metric(self, name, *labels):
        text = Api(self.admin).request("GET", "/metrics").body.decode()
        rows = [line for line in text.splitlines() if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        return self.wait()

    def freeze(self):
        """Stops every thread where it is: in the kernel at most, and not one instruction of ours further."""
        self.signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")

        def stands():
            states = [(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads.iterdir()]
            return all(state in "TD" for state in states)

        eventually("every thread stands still", stands)

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, patience_s=PATIENCE_S):
        """Its exit code; all that it has printed is there then."""
        code = self.process.wait(patience_s)
        self.living.discard(self)
        self.reader.join(patience_s)
        self.process.stdout.close()
        return code

    def end(self):
        """Ends it, whatever state it is in."""
        if self.alive():
            self.process.kill()
        if not self.process.stdout.closed:
            self.wait()

    @classmethod
    def end_all(cls):
        """Ends those that are left; how many there were."""
        left = list(cls.living)
        for daemon in left:
            daemon.end()
        return len(left)

    def printed(self):
        return "\n".join(self.lines[-30:])

    def memory(self, field="VmHWM"):
        """Bytes of its memory: the most so far, or VmRSS for now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) << 10
        raise Ended("the daemon has ended")


class Served:
    """A home of that program, whose tenant is this sink; a context manager that starts its daemon, and ends the last one."""

    def __init__(self, binary, folder, sink, **settings):
        self.home, self.sink, self.daemon = Home(binary, folder, **settings), sink, None

    def __enter__(self):
        try:
            self.daemon = self.home.start()
            self.home.tenant(self.daemon, self.sink.url())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.daemon:
            self.daemon.end()


class Place:
    """A folder for one proof, which goes at its end with everything mounted in it."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="posthaste-crash-"))
        self.mounts = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for mount in reversed(self.mounts):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self, name):
        folder = self.path / name
        folder.mkdir()
        return folder


class Tmpfs:
    """A small file system in memory, where there are no loop devices."""

    def __init__(self, place, mib):
        self.path = place.folder("disk")
        place.mounts.append(self.path)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "posthaste-test", self.path]
        subprocess.run(command, check=True, capture_output=True)


def small_disk(place, mib):
    """A file system of that size; none where none can be mounted."""
    if Ext4.why_not() is None:
        return Ext4(place, mib)
    try:
        return Tmpfs(place, mib)
    except (subprocess.CalledProcessError, OSError):
        return None


def own_mounts():
    """Mounts of ours are seen by us alone and go with us, however we end. False where that is not permitted."""
    clone_newns, ms_rec, ms_private = 0x20000, 0x4000, 1 << 18
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(clone_newns) == 0 and libc.mount(b"none", b"/", None, ms_rec | ms_private, None) == 0


class Ext4:
    """A file system in a file, which can be taken away without a flush."""

    # FS_IOC_SHUTDOWN of the kernel, and its way of dropping everything that is not on the device.
    SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2

    def __init__(self, place, mib):
        self.image, self.path = place.path / "image", place.folder("disk")
        with self.image.open("wb") as image:
            image.truncate(mib << 20)
        # No lazy writing of inode tables, which would go on beside the test.
        options = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0"]
        subprocess.run(["mkfs.ext4", "-q", "-F", *options, self.image], check=True)
        place.mounts.append(self.path)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True, capture_output=True)

    def cut(self):
        """As if the power went: what was not flushed is gone, and what comes fails."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self.SHUTDOWN, struct.pack("I", self.NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self):
        # A process that was killed holds its files a moment longer.
        eventually("unmounted", lambda: subprocess.run(["umount", self.path], capture_output=True).returncode == 0)

    @staticmethod
    def why_not():
        """Why this machine has no such file systems; none where it has."""
        if os.geteuid() != 0:
            return "it takes root"
        if not shutil.which("mkfs.ext4"):
            return "mkfs.ext4 is not installed"
        with Place() as place:
            try:
                disk = Ext4(place, 16)
                disk.cut()
                disk.unmount()
            except (subprocess.CalledProcessError, OSError) as error:
                return f"no loop device with ext4 here ({error})"
        return None
