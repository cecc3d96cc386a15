"""Saves route tables in a thread of its own: a disk that hangs keeps nobody from following the next table."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from services.core.route import RouteTable

_log = logging.getLogger(__name__)


class TableSaver:
    """Saves the newest of the tables that it is given, one at a time.

    Args:
        save: Saves a table, and returns whether it could; ``rewound`` is set where a table may replace one of a higher
            generation.
        present: The generation that is in force at the start; 0 for none.
        last_s: Longest time for the last table to be saved at the end.
    """

    def __init__(self, save: Callable[[RouteTable, bool], bool], present: int = 0, *, last_s: float = 2.0) -> None:
        self._save = save
        self._generation = present
        self._last_s = last_s
        self._newest: RouteTable | None = None
        self._rewound = False
        self._ending = False
        self._changed = threading.Condition()
        # A daemon, because a thread that waits for a disk that hangs must not keep the process.
        self._thread = threading.Thread(target=self._run, name="route table", daemon=True)
        self._thread.start()

    def put(self, table: RouteTable) -> None:
        """Have a table saved that was just taken into force, at once and without waiting.

        One of a lower generation than the last comes from a database that was replaced.
        """
        with self._changed:
            self._rewound |= table.generation < self._generation
            self._generation = table.generation
            self._newest = table
            self._changed.notify()

    def close(self) -> bool:
        """End once the newest table is saved, or its time is over; return whether it is."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(self._last_s)
        if self._thread.is_alive():
            _log.warning("the last route table was not saved within %g s; the disk hangs", self._last_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ending)
                table, self._newest = self._newest, None
                rewound, self._rewound = self._rewound, False
            if table is None:
                return
            if not self._save(table, rewound):
                with self._changed:
                    self._rewound |= rewound
