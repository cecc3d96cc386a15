"""What a command says: words, tables and progress for a person, or one JSON document for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

_PIPE_COLUMNS = 140


class Console:
    """The output of one command.

    With ``json_only`` every human line is left out and ``result`` prints JSON; without it ``result`` prints nothing,
    because the command has already said the same in words.
    """

    def __init__(self, *, json_only: bool = False) -> None:
        self.json_only = json_only
        # A pipe has no width of its own; rich would assume 80 columns and fold every table.
        self._out = RichConsole(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
        self._err = RichConsole(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches: progress is drawn only then."""
        return self._out.is_terminal and not self.json_only

    def say(self, text: str = "", *, style: str = "") -> None:
        """Print a line; square brackets in it are printed as they are."""
        if not self.json_only:
            self._out.print(text, style=style or None, markup=False)

    def warn(self, text: str) -> None:
        """Print a line on standard error, also with ``--json``."""
        self._err.print(text, style="yellow", markup=False)

    def error(self, text: str, **fields: Any) -> None:
        """Print what went wrong on standard error; with ``--json`` as a JSON object."""
        if self.json_only:
            sys.stderr.write(json.dumps({"error": text, **fields}) + "\n")
            return
        self._err.print(f"penstock: {text}", style="bold red", markup=False)
        if remedy := fields.get("remedy"):
            self._err.print(f"  remedy: {remedy}", markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table; cells are turned into text as they are."""
        if self.json_only:
            return
        drawn = Table(title=title or None, title_justify="left", header_style="bold")
        for column in columns:
            drawn.add_column(column, overflow="fold")
        for row in rows:
            drawn.add_row(*(str(cell).replace("[", "\\[") for cell in row))
        self._out.print(drawn)

    def result(self, value: Any) -> None:
        """Print the command's result as JSON, with ``--json`` only."""
        if self.json_only:
            sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
            sys.stdout.flush()

    @contextmanager
    def progress(self, text: str) -> Iterator[None]:
        """Show that something is under way: a spinner that goes away on a terminal, nothing in a pipe."""
        if self.is_terminal:
            with self._out.status(text):
                yield
        else:
            yield
