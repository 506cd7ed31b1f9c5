"""A network namespace with nothing in it but loopback: no way out, and every port free."""

import fcntl
import os
import socket
import struct
import subprocess
import sys

INSIDE = "POSTHASTE_TEST_IN_NAMESPACE"

# As root, or as anybody where the kernel lets users make namespaces.
WAYS_IN = (["unshare", "--net"], ["unshare", "--map-root-user", "--net"])

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def enter_namespace():
    """Runs the calling script again inside a new namespace. Returns there, true; returns false here where that is not
    permitted."""
    if INSIDE in os.environ:
        return True
    for way in WAYS_IN:
        try:
            allowed = subprocess.run([*way, "true"], capture_output=True).returncode == 0
        except OSError:
            continue
        if allowed:
            os.environ[INSIDE] = "1"
            sys.stdout.flush()
            os.execvp(way[0], [*way, sys.executable, *sys.argv])
    return False


def bring_loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
