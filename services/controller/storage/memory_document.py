"""The course of memory as a JSON document, and back. Pure.

Samples are parallel lists, because they are stored with every change of the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.core.memory.course import MemoryCourse, MemorySample, ServerMemory
from services.core.memory.report import Space
from services.core.memory.terms import LeakCheck

_COLUMNS = ("at", "stable_bytes", "candidate_bytes", "stable_answers", "candidate_answers")


def memory_document(course: MemoryCourse) -> dict[str, Any]:
    """Return a course of memory as JSON-able values."""
    return {
        "servers": {name: _server_document(server) for name, server in course.servers.items()},
        "last_at": course.last_at,
        "problem": course.problem,
        "stable_answers": course.stable_answers,
        "candidate_answers": course.candidate_answers,
    }


def memory_from(document: dict[str, Any] | None) -> MemoryCourse:
    """Return the course that ``memory_document`` wrote; none for None, which was stored before there was one."""
    if document is None:
        return MemoryCourse()
    servers = {name: _server_from(server) for name, server in document["servers"].items()}
    return MemoryCourse(**{**document, "servers": servers})


def arms_memory_document(courses: Mapping[int, MemoryCourse]) -> dict[str, Any]:
    """Return the courses of further arms as JSON-able values, by version."""
    return {str(version): memory_document(course) for version, course in courses.items()}


def arms_memory_from(document: dict[str, Any]) -> dict[int, MemoryCourse]:
    """Return the courses that ``arms_memory_document`` wrote into a document; none where it has none yet."""
    return {int(version): memory_from(course) for version, course in document.get("arms_memory", {}).items()}


def with_memory(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that says what it asks of memory: nothing, where it was stored before it could."""
    return {"memory": {"leak_check": LeakCheck.OFF.value}, **document}


def _server_document(server: ServerMemory) -> dict[str, Any]:
    space = server.space
    return {
        "stable_started_at": server.stable_started_at,
        "candidate_started_at": server.candidate_started_at,
        "samples": {name: [getattr(sample, name) for sample in server.samples] for name in _COLUMNS},
        "per_sample": server.per_sample,
        "in_last": server.in_last,
        "space": None if space is None else {"total": space.total_bytes, "available": space.available_bytes},
        "restarts": server.restarts,
    }


def _server_from(document: dict[str, Any]) -> ServerMemory:
    columns = [document["samples"][name] for name in _COLUMNS]
    space = document["space"]
    return ServerMemory(
        **{
            **document,
            "samples": tuple(MemorySample(*values) for values in zip(*columns, strict=True)),
            "space": None if space is None else Space(space["total"], space["available"]),
        }
    )
