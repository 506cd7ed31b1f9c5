"""Builds shim.c, and speaks to it: see there for what it can do to a process's files."""

import mmap
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
SIZE = 4096
# Offsets in struct told.
ARMED, CALLS, HITS, AT_NS, WHAT = 0, 8, 16, 24, 32
WHAT_SIZE = 224


def build(folder):
    """Compiles the shim into `folder`; its path."""
    library = Path(folder) / "shim.so"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE]
    subprocess.run(command, check=True)
    return library


class Shim:
    """One process's faults: give `environment` to the process, then `arm`."""

    def __init__(self, library, told, data, mode, at=1, error=5, kinds=None, match=None):
        self.told = Path(told)
        self.told.write_bytes(bytes(SIZE))
        with self.told.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SIZE)
        self.environment = {
            "LD_PRELOAD": str(library),
            "CRASH_DIR": str(data),
            "CRASH_TOLD": str(told),
            "CRASH_MODE": mode,
            "CRASH_AT": str(at),
            "CRASH_ERRNO": str(error),
            **({"CRASH_KINDS": kinds} if kinds else {}),
            **({"CRASH_MATCH": match} if match else {}),
        }

    def arm(self):
        self.memory[ARMED] = 1

    def _number(self, at):
        return int.from_bytes(self.memory[at : at + 8], "little")

    @property
    def calls(self):
        return self._number(CALLS)

    @property
    def hits(self):
        return self._number(HITS)

    @property
    def at_s(self):
        """When the first fault was, by time.monotonic(); 0 for never."""
        return self._number(AT_NS) / 1e9

    @property
    def what(self):
        """The call that met the first fault, and its file."""
        return self.memory[WHAT : WHAT + WHAT_SIZE].split(b"\0", 1)[0].decode(errors="replace")

    def close(self):
        self.memory.close()
