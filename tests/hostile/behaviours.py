"""Every way to answer badly that HTTP/1.1 over loopback can show: a name, what is done with a connection, and how the
attempt must end.

Written with asyncio, so that thousands of connections cost one thread. A behaviour is a coroutine over (reader, writer);
how an attempt ends is the error class of its line in the attempt log, or `ok`.
"""

import asyncio
import gzip
import socket
import struct
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1 << 20
# What a flood writes before it is stopped by the other side, at most: beyond any limit of ours.
FLOOD_MAX = 64 * MIB


async def request(reader):
    """Reads one request; gives its head, or nothing at the connection's end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        await reader.readexactly(length)
        return head
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def says(*answers, end="fin"):
    """Reads a request, answers so, and ends the connection by `fin`, `rst`, or not at all (`hold`)."""

    async def behave(reader, writer):
        if await request(reader) is None:
            return
        for answer in answers:
            writer.write(answer)
            await writer.drain()
        if end == "rst":
            # What was written has to leave first.
            await asyncio.sleep(0.01)
            reset(writer)
        elif end == "hold":
            await reader.read()

    return behave


def keeps(answer):
    """Answers every request of the connection so."""

    async def behave(reader, writer):
        while await request(reader) is not None:
            writer.write(answer)
            await writer.drain()

    return behave


def drips(before, dripped, pause_s):
    """One byte at a time."""

    async def behave(reader, writer):
        if await request(reader) is None:
            return
        writer.write(before)
        for byte in dripped:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


def floods(before, piece, bytes_max=FLOOD_MAX):
    """The same again and again, until the other side has had enough."""
    piece *= max(1, 16384 // len(piece))

    async def behave(reader, writer):
        if await request(reader) is None:
            return
        writer.write(before)
        for _ in range(0, bytes_max, len(piece)):
            writer.write(piece)
            await writer.drain()

    return behave


def late(answer, seconds):
    async def behave(reader, writer):
        if await request(reader) is None:
            return
        await asyncio.sleep(seconds)
        writer.write(answer)
        await writer.drain()

    return behave


def reset(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def never_reads(reader, writer):
    writer.transport.pause_reading()
    await asyncio.sleep(3600)


async def closes_at_once(reader, writer):
    pass


async def resets_at_once(reader, writer):
    reset(writer)


async def answers_unread(reader, writer):
    """An answer before the request, and a second one behind it."""
    writer.write(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    await reader.read()


async def once_then_silence(reader, writer):
    """The peer has vanished from a connection that it kept."""
    if await request(reader) is not None:
        writer.write(OK)
        await writer.drain()
        await reader.read()


def head(status, *fields):
    return b"".join([b"HTTP/1.1 " + status + b"\r\n", *(field + b"\r\n" for field in fields), b"\r\n"])


def with_field(field):
    return head(b"200 OK", field, b"Content-Length: 0")


def length(value):
    return head(b"200 OK", b"Content-Length: " + value) + b"hello"


def chunked(rest):
    return head(b"200 OK", b"Transfer-Encoding: chunked") + rest


def retry_after(status, value):
    return head(status, b"Retry-After: " + value, b"Content-Length: 0")


def redirect(status, location):
    return head(status + b" Elsewhere", b"Location: " + location, b"Content-Length: 0")


def http_date(offset_s):
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + offset_s)).encode()


DELIVERED, PROTOCOL, TIMEOUT = {"ok"}, {"protocol_error"}, {"timeout"}
CLOSED, REDIRECT, CLIENT, SERVER = {"connection_closed"}, {"redirect"}, {"client_error"}, {"server_error"}
BOMB = gzip.compress(gzip.compress(bytes(20 * MIB)))


def heads(pause_s):
    """What is wrong with how it begins."""
    endless = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    continues = b"HTTP/1.1 100 Continue\r\n\r\n"
    yield "accepts-never-reads", never_reads, TIMEOUT
    yield "never-answers", says(end="hold"), TIMEOUT
    yield "drips-head", drips(b"", head(b"200 OK", b"X: " + b"x" * 4000), pause_s), TIMEOUT
    yield "head-of-1mib", says(with_field(b"X: " + b"x" * MIB)), PROTOCOL
    yield "fields-10000", says(head(b"200 OK", *[b"A: b"] * 10_000)), PROTOCOL
    yield "field-of-64kib", says(with_field(b"X: " + b"x" * 65536)), PROTOCOL
    yield "no-crlf-ever", floods(b"", b"x" * 1024), PROTOCOL
    yield "only-crlf", floods(b"", b"\r\n"), PROTOCOL
    yield "bare-lf", says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), DELIVERED
    yield "obs-fold", says(with_field(b"X: a\r\n b")), PROTOCOL
    yield "nul-in-field", says(with_field(b"X: a\0b")), PROTOCOL
    yield "no-reason", says(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), DELIVERED
    yield "http-0-9", says(b"<html>hello</html>"), PROTOCOL
    for status in (b"000", b"099", b"1e3", b"2000", b"-200"):
        yield "status-" + status.decode().replace("-", "minus"), says(head(status + b" X", b"Content-Length: 0")), PROTOCOL
    yield "status-600", says(head(b"600 X", b"Content-Length: 0")), SERVER
    yield "status-999", says(head(b"999 X", b"Content-Length: 0")), SERVER
    yield "100-times-10000", says(continues * 10_000 + OK), PROTOCOL
    yield "103-for-ever", floods(b"", endless), PROTOCOL
    yield "100-once", says(continues + OK), DELIVERED
    yield "101-switching", says(head(b"101 Switching Protocols", b"Upgrade: x", b"Connection: upgrade")), PROTOCOL


def lengths():
    """Where a body begins and ends, told wrongly."""
    both = head(b"200 OK", b"Content-Length: 9", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"
    two = head(b"200 OK", b"Content-Length: 5", b"Content-Length: 6") + b"hello!"
    yield "length-and-chunks", says(both), DELIVERED
    yield "two-lengths", says(two), PROTOCOL
    yield "length-2-63", says(length(b"9223372036854775808")), DELIVERED
    yield "length-2-64", says(length(b"18446744073709551616")), PROTOCOL
    yield "length-minus", says(length(b"-1")), PROTOCOL
    yield "length-plus", says(length(b"+5")), PROTOCOL
    yield "length-5-5", says(length(b"5, 5")), DELIVERED
    yield "204-with-body", says(head(b"204 No Content", b"Content-Length: 5") + b"hello"), DELIVERED
    yield "chunk-of-16-exbibytes", says(chunked(b"FFFFFFFFFFFFFFFF\r\nx")), DELIVERED
    yield "chunk-negative", says(chunked(b"-5\r\nhello\r\n0\r\n\r\n")), DELIVERED
    yield "chunk-extension-1mib", says(chunked(b"5;" + b"e" * MIB + b"\r\nhello\r\n0\r\n\r\n")), DELIVERED
    yield "trailer-1mib", says(chunked(b"5\r\nhello\r\n0\r\nT: " + b"t" * MIB + b"\r\n\r\n")), DELIVERED


def bodies(pause_s):
    """Whatever a body does, its 2xx stands."""
    long_head = head(b"200 OK", b"Content-Length: 10737418240")
    yield "drips-body", drips(head(b"200 OK", b"Content-Length: 9000"), b"x" * 9000, pause_s), DELIVERED
    yield "body-never-comes", says(head(b"200 OK", b"Content-Length: 9"), end="hold"), DELIVERED
    yield "body-of-10gib", floods(long_head, b"x" * 4096), DELIVERED
    yield "endless-chunks", floods(chunked(b""), b"5\r\nhello\r\n"), DELIVERED
    yield "endless-until-close", floods(head(b"200 OK"), b"x" * 4096), DELIVERED
    for encoding in (b"gzip", b"br", b"gzip, gzip"):
        fields = b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(BOMB)
        name = "bomb-" + encoding.decode().replace(", ", "-")
        yield name, says(head(b"200 OK", *fields) + BOMB), DELIVERED
    yield "redirect-in-body", says(head(b"200 OK") + b"<meta http-equiv=refresh content='0;url=http://x/'>"), DELIVERED
    yield "500-body-never-ends", says(head(b"500 Oops", b"Content-Length: 9"), end="hold"), SERVER


def connections():
    """How it ends, and what else is on it."""
    half = head(b"200 OK", b"Content-Length: 100") + b"half"
    yield "rst-after-head", says(head(b"200 OK", b"Content-Length: 5"), end="rst"), DELIVERED
    yield "rst-in-body", says(half, end="rst"), DELIVERED
    yield "fin-in-body", says(half), DELIVERED
    yield "fin-before-head", says(), CLOSED
    yield "rst-before-head", says(end="rst"), CLOSED
    yield "fin-in-head", says(b"HTTP/1.1 200 OK\r\nContent-Le"), CLOSED
    yield "fin-at-once", closes_at_once, CLOSED
    # The reset may come before the connection is there for the one who asks for it.
    yield "rst-at-once", resets_at_once, CLOSED | {"connect_failed"}
    yield "answer-in-advance", answers_unread, DELIVERED | PROTOCOL | CLOSED
    presented = keeps(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    yield "second-answer-on-idle", presented, DELIVERED
    yield "peer-vanished", once_then_silence, DELIVERED | TIMEOUT
    yield "close-each-time", keeps(head(b"200 OK", b"Connection: close", b"Content-Length: 0")), DELIVERED
    yield "set-cookie", keeps(with_field(b"Set-Cookie: session=1; Path=/")), DELIVERED
    yield "refresh-header", keeps(with_field(b"Refresh: 0; url=http://169.254.169.254/")), DELIVERED


def answers():
    """Statuses, and what comes with them."""
    for status in (b"301", b"302", b"303", b"307", b"308"):
        yield "redirect-metadata-" + status.decode(), keeps(redirect(status, b"http://169.254.169.254/")), REDIRECT
    for name, location in (
        ("itself", b"/"),
        ("schemeless", b"//127.0.0.1/"),
        ("file", b"file:///etc/passwd"),
        ("crlf", b"/a%0d%0aX: b"),
    ):
        yield "redirect-" + name, keeps(redirect(b"302", location)), REDIRECT
    yield "redirect-crlf-raw", says(redirect(b"302", b"/a\rX: b")), PROTOCOL
    yield "redirect-nowhere", keeps(head(b"302 Found", b"Content-Length: 0")), REDIRECT
    yield "gone-410", keeps(head(b"410 Gone", b"Content-Length: 0")), {"gone"}
    for name, value in (
        ("minus", b"-1"),
        ("garbage", b"soon"),
        ("past", http_date(-86400)),
        ("1s", b"1"),
    ):
        yield "429-retry-after-" + name, keeps(retry_after(b"429 Slow", value)), CLIENT
        yield "503-retry-after-" + name, keeps(retry_after(b"503 Busy", value)), SERVER
    yield "503-retry-after-absurd", keeps(retry_after(b"503 Busy", b"9999999999")), SERVER
    yield "429-retry-after-far", keeps(retry_after(b"429 Slow", http_date(10**9))), CLIENT


def timely(attempt_s):
    """Just before the deadline and just behind it."""
    margin = 0.1 if attempt_s >= 10 else attempt_s / 2
    yield "200-just-in-time", late(OK, attempt_s - margin), DELIVERED
    yield "200-just-too-late", late(OK, attempt_s + margin), TIMEOUT


# Those hold their whole endpoint for an hour: of their events only the first ones are attempted.
HELD = {"503-retry-after-absurd", "429-retry-after-far"}


def plain(attempt_s):
    """Every behaviour without TLS."""
    pause_s = attempt_s * 0.3
    yield from heads(pause_s)
    yield from lengths()
    yield from bodies(pause_s)
    yield from connections()
    yield from answers()
    yield from timely(attempt_s)
