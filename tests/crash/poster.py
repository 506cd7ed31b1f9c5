"""A client that keeps many requests in flight over kept-alive connections, and notes every answer in the account.

One thread, one epoll. A request that gets no answer is doubtful: it is sent again, by the next poster if need be, with
the same Idempotency-Key, as a careful client does it, and must become the same event.
"""

import re
import select
import socket
import threading
import time

from account import ID_LENGTH, body_of

RESULTS = re.compile(rb'"event_id":"(evt_[0-9A-Z]{26})"|"error":\{"status":(\d+)')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# After a refusal or without a connection, before the next try.
PAUSE_S = 0.05
CONNECT_S = 5.0


class Connection:
    def __init__(self, spread):
        self.socket, self.buffer, self.request = None, b"", None
        self.resume_at = 0.0
        # Which batch sizes it draws from; (1, 1) posts single events.
        self.spread = spread


class Poster(threading.Thread):
    """Posts until `stop`, or until `limit` events were sent. `rate` is in events a second; `ahead_max` is how many
    events may wait for their delivery before it pauses."""

    def __init__(self, account, address, key, rng, *, singles=24, batchers=4, batch=(2, 40), limit=None, rate=None,
                 ahead_max=None, keyed=True):  # fmt: skip
        super().__init__(daemon=True)
        host, port = address.rsplit(":", 1)
        self.account, self.address, self.key, self.rng = account, (host, int(port)), key, rng
        self.spreads = [(1, 1)] * singles + [batch] * batchers
        self.limit, self.rate, self.ahead_max, self.keyed = limit, rate, ahead_max, keyed
        self.stopping = threading.Event()
        self.epoll = select.epoll()
        self.by_fd, self.posted, self.statuses = {}, 0, {}
        # What was doubtful before us goes first.
        self.again, account.doubtful = account.doubtful, []
        self.failure = None
        # When the latest event was accepted, by time.monotonic().
        self.accepted_at = 0.0

    def run(self):
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure
            raise

    def stop(self):
        """Ends it at once: what has no answer is doubtful."""
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure

    def wait(self, patience_s=120.0):
        """Waits until all that it was to send is answered."""
        self.join(patience_s)
        if self.failure:
            raise self.failure
        return not self.is_alive()

    def _run(self):
        connections = [Connection(spread) for spread in self.spreads]
        self.began = time.monotonic()
        while not self.stopping.is_set() and not self._is_done(connections):
            now = time.monotonic()
            for connection in connections:
                if connection.request is None and now >= connection.resume_at and not self.stopping.is_set():
                    self._send(connection, now)
            for fd, _ in self.epoll.poll(0.003 if self.rate else 0.01):
                self._read(self.by_fd[fd])
        for connection in connections:
            # What the kernel has already is an answer like any other.
            if connection.request is not None:
                self._read(connection, last=True)
            if connection.request is not None:
                self._doubt(connection)
            self._close(connection)
        self.account.doubtful += self.again
        self.epoll.close()

    def _is_done(self, connections):
        sent = self.limit is not None and self.posted >= self.limit and not self.again
        return sent and all(connection.request is None for connection in connections)

    def _next(self, connection, now):
        """What to send: (first number, how many, whether as a batch), or none for now."""
        if self.again:
            return self.again.pop()
        count = self.rng.randint(*connection.spread)
        if self.limit is not None:
            count = min(count, self.limit - self.posted)
        if self.rate is not None and self.posted + count > (now - self.began) * self.rate:
            return None
        if count <= 0 or (self.ahead_max is not None and self.account.ahead() > self.ahead_max):
            return None
        self.posted += count
        return self.account.take(count), count, connection.spread != (1, 1)

    def _send(self, connection, now):
        if connection.socket is None and not self._connect(connection, now):
            return
        request = self._next(connection, now)
        if request is None:
            connection.resume_at = now + (0.0 if self.rate else 0.002)
            return
        first, count, batched = connection.request = request
        bodies = [body_of(n, self.account.pads) for n in range(first, first + count)]
        body = b"[%b]" % b",".join(bodies) if batched else bodies[0]
        path = b"/v1/events/batch" if batched else b"/v1/events"
        keyed = b"Idempotency-Key: from-%d\r\n" % first if self.keyed else b""
        head = (
            b"POST %b HTTP/1.1\r\nHost: posthaste\r\nAuthorization: Bearer %b\r\n%bContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (path, self.key.encode(), keyed, len(body))
        )
        try:
            connection.socket.sendall(head + body)
        except OSError:
            self._broken(connection)

    def _connect(self, connection, now):
        try:
            connection.socket = socket.create_connection(self.address, CONNECT_S)
        except OSError:
            connection.resume_at = now + PAUSE_S
            return False
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.by_fd[connection.socket.fileno()] = connection
        self.epoll.register(connection.socket, select.EPOLLIN)
        return True

    def _read(self, connection, last=False):
        if connection.socket is None:
            return
        flags = socket.MSG_DONTWAIT if last else 0
        try:
            data = connection.socket.recv(1 << 18, flags)
        except OSError:
            data = b""
        if not data:
            self._broken(connection)
            return
        connection.buffer += data
        head = connection.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(connection.buffer, 0, head)
        end = head + 4 + int(length[1]) if length else head + 4
        if len(connection.buffer) < end:
            return
        status, body = int(connection.buffer[9:12]), connection.buffer[head + 4 : end]
        closes = b"connection: close" in connection.buffer[:head].lower()
        connection.buffer = connection.buffer[end:]
        request, connection.request = connection.request, None
        if request is not None:
            self._answered(connection, request, status, body)
        if closes:
            self._close(connection)

    def _answered(self, connection, request, status, body):
        first, count, _ = request
        account, refused = self.account, 0
        if status in (201, 207):
            results = RESULTS.findall(body)
            if len(results) != count:
                raise AssertionError(f"{count} events, and another number of results: {body[:300]!r}")
            for n, (event_id, error) in enumerate(results, first):
                if error:
                    self._count(int(error))
                    account.refuse(n)
                    refused += 1
                else:
                    assert len(event_id) == ID_LENGTH
                    account.accept(n, event_id)
            self._count(201, count - refused)
            if refused < count:
                self.accepted_at = time.monotonic()
        else:
            self._count(status, count)
            for n in range(first, first + count):
                account.refuse(n)
            refused = count
        if refused:
            connection.resume_at = time.monotonic() + PAUSE_S

    def _count(self, status, count=1):
        self.statuses[status] = self.statuses.get(status, 0) + count

    def _doubt(self, connection):
        if self.keyed:
            self.account.doubtful.append(connection.request)
        connection.request = None

    def _broken(self, connection):
        if connection.request is not None:
            self._doubt(connection)
        self._close(connection)
        connection.resume_at = time.monotonic() + PAUSE_S
        # On a process that lives, they are sent again at once.
        self.again += self.account.doubtful
        self.account.doubtful = []

    def _close(self, connection):
        connection.buffer = b""
        if connection.socket is not None:
            self.by_fd.pop(connection.socket.fileno(), None)
            connection.socket.close()
            connection.socket = None
