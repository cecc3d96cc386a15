"""How the gateway's processes log: one line for each event to standard error, for whoever runs them to collect."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field

# Of an event's own fields, in ``extra={FIELDS: {...}}``.
FIELDS = "fields"

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and in which form."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: Literal["auto", "json", "text"] = "auto"
    """One JSON object or one line of text for each event; auto is text on a terminal and JSON elsewhere."""
    access: bool = False
    """Whether every request has a line."""
    slow_request_s: Annotated[float, Field(ge=0)] = 0.0
    """Requests that take this long have a line, at most ``lines_per_s`` a second; 0 for none."""
    lines_per_s: Annotated[int, Field(ge=1)] = 10
    """Most lines a second of a worker about failed requests, and about slow ones; how many more there were is told."""


def configure(settings: LogSettings | None = None, instance: str = "") -> None:
    """Set up logging for this process.

    Args:
        settings: The form.
        instance: What this process is called in its lines.
    """
    chosen = (settings or LogSettings()).format
    text = chosen == "text" or (chosen == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_TEXT) if text else JsonFormatter(instance))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # A collector of traces that is away is counted and said once by us; the library would say it at every try.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class JsonFormatter(logging.Formatter):
    """One JSON object without line breaks: ts, level, logger, message, instance, the event's fields, and any exception.

    Args:
        instance: What this process is called; empty for no such key.
    """

    def __init__(self, instance: str = "") -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of one event."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._instance:
            line["instance"] = self._instance
        fields = getattr(record, FIELDS, None)
        if isinstance(fields, Mapping):
            line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # What is no Unicode text, such as half a character in a client's id, must not cost the line.
        return orjson.dumps(_printable(line), default=repr).decode()


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(inner) for name, inner in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
