"""What is published in the model repository, as it was last seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.controller.versions.published import Published
from services.core.errors import NotFound, PenstockError


@dataclass(frozen=True, slots=True)
class _Seen:
    """The published versions by model, and what is wrong with single models."""

    versions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class RepositoryWatch:
    """Looks at the repository in a thread, one look at a time: a file system that hangs delays no decision for long.

    Args:
        published: The repository.
        timeout_s: Longest wait for one look; a look that takes longer is waited for again by the next call.
    """

    def __init__(self, published: Published, timeout_s: float) -> None:
        self._published = published
        self._timeout_s = timeout_s
        self._looking: asyncio.Task[_Seen] | None = None
        self.versions: dict[str, tuple[int, ...]] = {}
        self.problem: str | None = None

    async def look(self) -> None:
        """Take in what is published now; keep what was seen last while the repository cannot be read."""
        if self._looking is None:
            self._looking = asyncio.create_task(asyncio.to_thread(self._read), name="repository")
        done, _ = await asyncio.wait({self._looking}, timeout=self._timeout_s)
        if not done:
            self.problem = f"the model repository was not read within {self._timeout_s:g} s"
            return
        looked, self._looking = self._looking, None
        try:
            seen = looked.result()
        except (PenstockError, OSError) as error:
            self.problem = str(error)
        else:
            self.versions = seen.versions
            self.problem = "; ".join(seen.problems) or None

    async def close(self) -> None:
        """Stop waiting for a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _read(self) -> _Seen:
        seen = _Seen()
        for model in self._published.models():
            seen.versions[model] = ()
            try:
                seen.versions[model] = tuple(self._published.versions(model))
            except NotFound:
                continue  # removed since it was listed
            except (PenstockError, OSError) as error:
                seen.problems.append(str(error))  # one model that is not in order must not hide the others
        return seen
