"""An error's words as a client gets them: never longer than somebody reads, whatever a client put into a name."""

from __future__ import annotations

from services.core.errors import PenstockError

_MOST = 2000
_MARK = " [...] "
_HALF = (_MOST - len(_MARK)) // 2


def words_of(error: PenstockError) -> str:
    """Return the words of an error, at most 2,000 characters.

    What is too much is cut out of the middle: the beginning says what was found, the end what was expected.
    """
    words = error.message
    return words if len(words) <= _MOST else f"{words[:_HALF]}{_MARK}{words[-_HALF:]}"
