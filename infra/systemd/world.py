"""What stands around the service while its unit is tried: a name server, receivers by HTTP and HTTPS on every address
there is, and a caller that makes a tenant, posts an event to it and tells what became of it.

The addresses are this network namespace's own, all of them (a local route for 0.0.0.0/0 and ::/0), so that a connection
to any address arrives here and is seen: nothing leaves the machine, and what should not be reached is seen if it is.

    world.py serve CERTIFICATE KEY SEEN    serves until it is killed; the file SEEN gets the address of each connection
    world.py send KEY URL...                prints each event's status, and the class of its last failure
"""

import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

PUBLIC = {1: "93.184.216.34", 28: "2606:2800:220:1:248:1893:25c8:1946"}
NAMES = {
    "good.example.com": PUBLIC,
    "tls.example.com": PUBLIC,
    "inside.example.com": {1: "10.0.0.5"},
}
NAME_SERVER = "10.0.0.2"
PATIENCE_S = 60


def answer(query: bytes) -> bytes:
    """An answer to one question; what is not known does not exist."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    known = NAMES.get(".".join(labels).lower())
    records = b""
    if known and kind in known:
        family = socket.AF_INET if kind == 1 else socket.AF_INET6
        data = socket.inet_pton(family, known[kind])
        records = struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data
    flags = 0x8180 if known else 0x8183
    head = query[:2] + struct.pack(">HHHHH", flags, 1, bool(records), 0, 0)
    return head + query[12 : at + 5] + records


def names() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAME_SERVER, 53))
    while True:
        query, peer = server.recvfrom(4096)
        server.sendto(answer(query), peer)


def talk(connection: socket.socket) -> None:
    """200 to every request, for as long as the other side likes."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            more = connection.recv(65536)
            if not more:
                return
            buffer += more
        head, buffer = buffer.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        while len(buffer) < length:
            buffer += connection.recv(65536)
        buffer = buffer[length:]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def serve_one(connection: socket.socket, secure: ssl.SSLContext | None) -> None:
    try:
        with secure.wrap_socket(connection, server_side=True) if secure else connection as stream:
            talk(stream)
    except OSError:
        pass  # the other side went away


def receive(port: int, secure: ssl.SSLContext | None, seen: str) -> None:
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    while True:
        connection, _ = server.accept()
        with open(seen, "a") as file:
            print(connection.getsockname()[0].removeprefix("::ffff:"), file=file)
        threading.Thread(target=serve_one, args=(connection, secure), daemon=True).start()


def serve(certificate: str, key: str, seen: str) -> None:
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate, key)
    for target, args in [(names, ()), (receive, (80, None, seen)), (receive, (443, secure, seen))]:
        threading.Thread(target=target, args=args, daemon=True).start()
    threading.Event().wait()


def ask(key: str, method: str, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:8080{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return json.load(response)


def send(key: str, url: str) -> str:
    tenant = f"tenant-{time.time_ns()}"
    try:
        own = ask(key, "POST", "/v1/tenants", {"tenant_id": tenant, "target_url": url})["api_key"]
    except urllib.error.HTTPError as error:
        return f"{error.code} to the tenant"
    except OSError as error:
        return str(error)
    event = ask(own, "POST", "/v1/events", {"a": 1})["event_id"]
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        detail = ask(own, "GET", f"/v1/events/{event}")["event"]
        if detail["status"] != "PENDING":
            failures = [a["error_class"] for a in detail["attempt_log"] if a.get("error_class")]
            return " ".join([detail["status"], *failures[-1:]])
        time.sleep(0.05)
    return f"still {detail['status']}: {detail}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", certificate, key, seen]:
            serve(certificate, key, seen)
        case ["send", key, *urls]:
            with ThreadPoolExecutor(len(urls)) as pool:
                for result in pool.map(lambda url: send(key, url), urls):
                    print(result)
        case _:
            sys.exit(64)
