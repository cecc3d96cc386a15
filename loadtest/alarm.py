"""Waking up on time under gevent, and how much CPU time that took.

libev rounds its timers up to whole milliseconds, as much as a small model takes to answer. The kernel's timerfd wakes a
greenlet within some 50 microseconds; where there is none (not Linux), gevent's own timer must do.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from gevent.event import Event
from gevent.socket import wait_read

_CLOCK_MONOTONIC = 1  # the clock of time.monotonic()
_TFD_TIMER_ABSTIME = 1
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Alarm:
    """Wakes one greenlet at a given time of ``time.monotonic()``, or earlier when it is rung."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._rung = Event()
        self._fd = -1
        if hasattr(self._libc, "timerfd_create"):
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            if self._fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def wait_until(self, due_s: float) -> None:
        """Let other greenlets run until ``due_s``; return at once when it is past."""
        if self._fd < 0:
            self._rung.wait(max(0.0, due_s - time.monotonic()))
            self._rung.clear()
        elif due_s > time.monotonic():
            self._set(due_s)
            wait_read(self._fd)
            os.read(self._fd, 8)

    def ring(self) -> None:
        """Wake the greenlet that waits, if one does."""
        self._rung.set()
        if self._fd >= 0:
            self._set(0.0)

    def close(self) -> None:
        """Give the timer back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _set(self, due_s: float) -> None:
        # A time of zero would disarm the timer: one nanosecond after the epoch of the clock is always past.
        nanoseconds = max(1, int(due_s * 1e9))
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(nanoseconds, 1_000_000_000)))
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")


class CpuMeter:
    """The share of the time since ``start`` in which this thread ran or waited for a CPU.

    CPU time alone does not show a starved thread: on a crowded machine it may get half a core and want a whole one.
    """

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._wall_s, self._wanted_s = time.monotonic(), _wanted_s()

    def share(self) -> float:
        """Return the share, 0 to 1."""
        wall_s = time.monotonic() - self._wall_s
        return min(1.0, (_wanted_s() - self._wanted_s) / wall_s) if wall_s > 0 else 0.0


def _wanted_s() -> float:
    """Return the seconds that this thread ran or stood in the kernel's run queue."""
    try:
        ran, waited, _ = _SCHEDSTAT.read_text().split()
    except OSError:  # not Linux, or a kernel without it: CPU time alone is the best there is
        return time.thread_time()
    return (int(ran) + int(waited)) / 1e9
