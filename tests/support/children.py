"""Child processes as a test wants them: none outlives it, and Ctrl-C ends each."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def goes_with_us():
    """To be called in a child, as `preexec_fn`, by the thread that lives as long as the test does.

    The kernel kills the child when its parent is gone, however that ended. And SIGINT ends it, as it does on a terminal:
    who is started with `nohup … &` or by a shell's `&` has it ignored, and every child would inherit that.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
