"""Who was promised what, and who got it: the account of every event, shared by those who post and the sink.

Each event has a number, n, which its body carries. The memory is mapped before the sink's process begins, so that both
sides read it without asking each other: an array of 30 bytes a number for ids on each side, one byte for what was
answered, one for how often it was delivered, one for the highest attempt.
"""

import mmap
import struct
import time

ID_LENGTH = 30
PENDING = ("PENDING", "FAILED")
LISTED = (*PENDING, "DLQ")

# What is known of a number on the posting side.
UNSENT, DOUBTFUL, ACCEPTED, REFUSED = 0, 1, 2, 3
IS_ACCEPTED = bytes(1 if state == ACCEPTED else 0 for state in range(256))
IS_ZERO = bytes(1 if count == 0 else 0 for count in range(256))

# Counters that the sink keeps, in order.
COUNTERS = ("deliveries", "distinct", "repeats", "again", "wrong", "twins", "strange", "failed")

# Bodies: their length varies, so that offsets in journals and pages do.
PADS = [b"x" * (40 + 17 * i % 600) for i in range(60)] + [b"y" * 2000, b"z" * 4096, b"w" * 16000, b""]


def body_of(n, pads=PADS):
    return b'{"n":%d,"pad":"%b"}' % (n, pads[n % len(pads)])


def number_of(body):
    """The number in a body, or -1 where it is none of ours."""
    end = body.find(b",", 5, 24)
    digits = body[5:end]
    return int(digits) if body.startswith(b'{"n":') and end > 5 and digits.isdigit() else -1


class Account:
    """All numbers of one proof, on one sink."""

    def __init__(self, size=400_000, pads=PADS):
        self.size, self.pads = size, pads
        self.ids = mmap.mmap(-1, size * ID_LENGTH)
        self.seen_ids = mmap.mmap(-1, size * ID_LENGTH)
        self.states = bytearray(size)
        self.times = mmap.mmap(-1, size)
        self.attempts = mmap.mmap(-1, size)
        self.counters = mmap.mmap(-1, 8 * len(COUNTERS))
        self.first = mmap.mmap(-1, 8)
        self.sent = self.accepted = self.refused = 0
        # Requests without an answer: (first number, how many, whether as a batch).
        self.doubtful = []

    # What the sink counts.

    def counter(self, name):
        return struct.unpack_from("<q", self.counters, 8 * COUNTERS.index(name))[0]

    def forget_first(self):
        """The sink notes when the next delivery comes."""
        self.first[:] = bytes(8)

    def first_at(self):
        """When the first delivery since `forget_first` came, by time.monotonic(); 0 for not yet."""
        return struct.unpack("<q", self.first[:])[0] / 1e9

    # What those who post note.

    def take(self, count):
        first = self.sent
        if first + count > self.size:
            raise AssertionError("the account is too small for this proof")
        self.sent += count
        self.states[first : first + count] = bytes([DOUBTFUL]) * count
        return first

    def accept(self, n, event_id):
        if self.states[n] == ACCEPTED:
            if self.id_of(n) != event_id:
                raise AssertionError(f"number {n} was accepted as two events")
            return
        self.ids[n * ID_LENGTH : (n + 1) * ID_LENGTH] = event_id
        self.states[n] = ACCEPTED
        self.accepted += 1

    def refuse(self, n):
        self.states[n] = REFUSED
        self.refused += 1

    def forget_since(self, before):
        """Takes back what was accepted since the states were `before`, and what is doubtful; how many were accepted."""
        late = [n for n in range(self.sent) if self.states[n] == ACCEPTED and before[n] != ACCEPTED]
        for n in late:
            self.states[n] = DOUBTFUL
        self.accepted -= len(late)
        self.doubtful = []
        return len(late)

    def id_of(self, n):
        return self.ids[n * ID_LENGTH : (n + 1) * ID_LENGTH]

    def seen_id_of(self, n):
        return self.seen_ids[n * ID_LENGTH : (n + 1) * ID_LENGTH]

    def ahead(self):
        """How many accepted events were not delivered yet, at least."""
        return self.accepted - self.counter("distinct")

    def missing(self):
        """The accepted numbers that were never delivered."""
        accepted = bytes(self.states[: self.sent]).translate(IS_ACCEPTED)
        unseen = self.times[: self.sent].translate(IS_ZERO)
        both = int.from_bytes(accepted, "big") & int.from_bytes(unseen, "big")
        if both == 0:
            return []
        flags, found, at = both.to_bytes(self.sent, "big"), [], -1
        while (at := flags.find(b"\1", at + 1)) >= 0:
            found.append(at)
        return found

    def wait_delivered(self, patience_s, alive=lambda: True):
        """Waits until nothing is missing, or nothing was delivered for `patience_s`. What is missing then."""
        seen, since = -1, time.monotonic()
        while missing := self.missing():
            now, deliveries = time.monotonic(), self.counter("deliveries")
            if deliveries != seen:
                seen, since = deliveries, now
            elif now - since > patience_s or not alive():
                break
            # The sink tells nobody; a look costs a millisecond for each 100,000 events.
            time.sleep(0.02)
        return missing

    def other_ids(self):
        """Accepted and delivered numbers whose delivery had another id than the 201."""
        end = self.sent * ID_LENGTH
        if self.ids[:end] == self.seen_ids[:end]:
            return []
        return [
            n
            for n in range(self.sent)
            if self.states[n] == ACCEPTED and self.times[n] and self.id_of(n) != self.seen_id_of(n)
        ]


class Verdict:
    """What became of everything that was accepted."""

    def __init__(self, account, missing, statuses):
        self.accepted = account.accepted
        self.repeats = account.counter("repeats")
        self.lost = [n for n in missing if statuses[n] is None]
        # Its row says that it is delivered, and no receiver has seen it.
        self.false = [n for n in missing if statuses[n] not in (None, "DLQ", *PENDING)]
        self.dead = sum(statuses[n] == "DLQ" for n in missing)
        self.owed = sum(statuses[n] in PENDING for n in missing)
        self.delivered = account.accepted - len(missing)
        faults = {name: account.counter(name) for name in ("wrong", "twins", "strange")}
        faults["with another id"] = len(account.other_ids())
        faults["falsely delivered"] = len(self.false)
        self.faults = [f"{count} {name}" for name, count in faults.items() if count]

    @property
    def held(self):
        return not self.lost and not self.faults

    def __str__(self):
        text = f"{self.accepted} accepted, {self.delivered} delivered, {len(self.lost)} lost, {self.repeats} repeated"
        if self.dead or self.owed:
            text += f", {self.dead} dead-lettered, {self.owed} owed"
        return "; ".join([text, *self.faults])


def judge(account, daemon, patience_s=60.0, ask_max=200):
    """Waits for the deliveries, and asks the API for what is missing: one by one, or, of very many, by its lists.
    What is owed is waited for."""
    deadline = time.monotonic() + patience_s
    while True:
        missing = account.wait_delivered(1.0, daemon.alive)
        if len(missing) <= ask_max:
            statuses = {n: daemon.status_of(account.id_of(n).decode()) for n in missing}
        else:
            listed = {event: status for status in LISTED for event in daemon.listed(status)}
            statuses = {n: listed.get(account.id_of(n).decode()) for n in missing}
        if not any(status in PENDING for status in statuses.values()) or time.monotonic() > deadline:
            # Delivered between the last look and the question is delivered.
            statuses = {n: status for n, status in statuses.items() if not account.times[n]}
            return Verdict(account, list(statuses), statuses)
