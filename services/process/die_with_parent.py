"""Run a program that gets a signal when its parent dies. Executed as a script, in place of a ``preexec_fn``.

Python's ``preexec_fn`` runs between fork and exec in a process whose other threads are gone, and can deadlock on a lock
that one of them held. This script does the same after exec, where it is safe, and then becomes the program. It imports
nothing of ours: it runs with ``-I -S``, in milliseconds.

    python -I -S die_with_parent.py PARENT_PID SIGNAL PROGRAM [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CANNOT_EXECUTE = 126


def main(arguments: list[str]) -> None:
    """Become the program named by the arguments."""
    parent, signal_number, argv = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent died before the program could start")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to become another program is all this is for
    except OSError as error:
        print(f"cannot run {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(_CANNOT_EXECUTE)


if __name__ == "__main__":
    main(sys.argv[1:])
