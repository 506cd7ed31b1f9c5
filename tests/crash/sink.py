"""A receiver in a process of its own: notes every delivery in the account, checks its body, answers as it is told.

One thread, one epoll, and no more work a request than an account needs: it must not be what limits a proof.
"""

import multiprocessing
import select
import signal
import socket
import struct
import time
from collections import deque

from support.children import goes_with_us

from account import COUNTERS, ID_LENGTH, body_of, number_of

ANSWERS = {
    status: b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status for status in (200, 410, 429, 500, 503)
}


class Sink:
    """The parent's side. `answer` changes what deliveries get from now on."""

    def __init__(self, account):
        self.account = account
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        self.port = self.listener.getsockname()[1]
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_serve, args=(self.listener, theirs, account), daemon=True)
        self.process.start()
        theirs.close()

    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def answer(self, status=200, delay_s=0.0, flaky=0, hang=False):
        """`flaky`: every so many-th event fails at its first attempt. `hang`: no answer at all."""
        self.pipe.send((status, delay_s, flaky, hang))
        # Wait until it holds.
        self.pipe.recv()

    def close(self):
        self.process.kill()
        self.process.join()
        self.listener.close()
        self.pipe.close()


class _Server:
    def __init__(self, listener, pipe, account):
        self.listener, self.pipe, self.account = listener, pipe, account
        self.status, self.delay_s, self.flaky, self.hang = 200, 0.0, 0, False
        self.epoll = select.epoll()
        self.connections = {}
        # Answers that wait: (when, file descriptor, connection, bytes); in order, since one delay holds for all.
        self.waiting = deque()
        self.counts = dict.fromkeys(COUNTERS, 0)

    def run(self):
        self.listener.setblocking(False)
        self.epoll.register(self.listener, select.EPOLLIN)
        self.epoll.register(self.pipe, select.EPOLLIN)
        while True:
            deliveries = self.counts["deliveries"]
            for fd, _ in self.epoll.poll(self._timeout()):
                if fd == self.listener.fileno():
                    self._accept()
                elif fd == self.pipe.fileno():
                    self.status, self.delay_s, self.flaky, self.hang = self.pipe.recv()
                    self.pipe.send(True)
                else:
                    self._read(fd)
            self._answer_due()
            self._publish(deliveries)

    def _timeout(self):
        return max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else 1.0

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[connection.fileno()] = [connection, b""]
            self.epoll.register(connection, select.EPOLLIN)

    def _read(self, fd):
        found = self.connections.get(fd)
        if found is None:
            return
        try:
            data = found[0].recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.epoll.unregister(fd)
            self.connections.pop(fd)[0].close()
            return
        data = found[1] + data if found[1] else data
        while data:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                break
            end = head + 4 + int(_field(data, head, b"content-length"))
            if len(data) < end:
                break
            self._take(fd, found[0], data, head, data[head + 4 : end])
            data = data[end:]
        found[1] = data

    def _take(self, fd, connection, data, head, body):
        counts, account = self.counts, self.account
        event_id, attempt = _field(data, head, b"webhook-id"), int(_field(data, head, b"webhook-attempt"))
        n = number_of(body)
        counts["deliveries"] += 1
        if not 0 <= n < account.size:
            counts["strange"] += 1
            return
        if body != body_of(n, account.pads):
            counts["wrong"] += 1
        at = n * ID_LENGTH
        if account.attempts[n] == 0:
            account.seen_ids[at : at + ID_LENGTH] = event_id
        elif account.seen_ids[at : at + ID_LENGTH] != event_id:
            counts["twins"] += 1
        elif attempt <= account.attempts[n]:
            counts["again"] += 1
        account.attempts[n] = max(account.attempts[n], min(attempt, 255))
        if self.hang:
            return
        status = 503 if self.flaky and attempt == 1 and n % self.flaky == 0 else self.status
        if status != 200:
            counts["failed"] += 1
        elif account.times[n] == 0:
            counts["distinct"] += 1
            account.times[n] = 1
        else:
            counts["repeats"] += 1
            account.times[n] = min(account.times[n] + 1, 255)
        answer = ANSWERS[status]
        if self.delay_s:
            self.waiting.append((time.monotonic() + self.delay_s, fd, connection, answer))
        else:
            _send(connection, answer)

    def _answer_due(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, fd, connection, answer = self.waiting.popleft()
            if self.connections.get(fd, (None,))[0] is connection:
                _send(connection, answer)

    def _publish(self, deliveries_before):
        if self.counts["deliveries"] > deliveries_before and self.account.first[:] == bytes(8):
            struct.pack_into("<q", self.account.first, 0, time.monotonic_ns())
        struct.pack_into(f"<{len(COUNTERS)}q", self.account.counters, 0, *self.counts.values())


def _field(data, head, name):
    """The value of a header field, which our own client writes in lower case."""
    at = data.find(name + b": ", 0, head)
    if at < 0:
        lower = data[:head].lower()
        at = lower.find(name + b": ")
        if at < 0:
            return b"0"
    begin = at + len(name) + 2
    end = data.find(b"\r\n", begin)
    return data[begin:end]


def _send(connection, answer):
    try:
        connection.send(answer)
    except OSError:
        # The daemon was killed meanwhile, or has given up.
        pass


def _serve(listener, pipe, account):
    # However the test ends; but Ctrl-C is for the test, which asks for the account before it ends us.
    goes_with_us()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Server(listener, pipe, account).run()
