"""Audit records as JSON documents, and back. Pure; reading is strict."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from services.core.errors import ConfigurationError
from services.core.rollouts.audit import AuditRecord

_RECORD = TypeAdapter(AuditRecord)


def record_document(record: AuditRecord) -> dict[str, Any]:
    """Return a record as JSON-able values."""
    document: dict[str, Any] = _RECORD.dump_python(record, mode="json")
    return document


def encode_record(record: AuditRecord) -> str:
    """Return a record as a JSON text."""
    return orjson.dumps(record_document(record)).decode()


def decode_record(text: str) -> AuditRecord:
    """Return the record in a JSON text.

    Raises:
        ConfigurationError: The text is not a record that this version of Penstock wrote.
    """
    try:
        return _RECORD.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            f"a stored audit record cannot be read ({error}); was the database written by another version of penstock?"
        ) from error
