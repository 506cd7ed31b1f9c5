"""Reads what we ship, without unpacking it onto a disk: Debian packages, folders and single files."""

import gzip
import subprocess
import tarfile
import zlib
from collections import namedtuple
from io import BytesIO

GZIP = b"\x1f\x8b"

# A file in a package. `stored` is what the package has; `content` is that, decompressed where it is gzip.
Member = namedtuple("Member", "name stored content modified owner group")


def members(deb):
    """The control files and the files of a Debian package; folders too, with no content."""
    for option in ("--ctrl-tarfile", "--fsys-tarfile"):
        tar = subprocess.run(["dpkg-deb", option, str(deb)], check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=BytesIO(tar)) as archive:
            for entry in archive:
                stored = archive.extractfile(entry).read() if entry.isfile() else b""
                yield Member(entry.name, stored, decompressed(stored), entry.mtime, entry.uid, entry.gid)


def outer_times(deb):
    """The times in the outer archive, an `ar` file: (name, seconds)."""
    data = deb.read_bytes()
    place = len(b"!<arch>\n")
    while place < len(data):
        header = data[place : place + 60]
        yield header[:16].decode().strip(), int(header[16:28])
        size = int(header[48:58])
        place += 60 + size + size % 2


def decompressed(data):
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data
