"""Reading an answer to nonsense, whose end nobody knows."""

from __future__ import annotations

import asyncio

_QUIET_S = 0.1
_PATIENCE_S = 5.0


async def listened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read until the server is quiet for a moment, say that no more will come, and read on to the end.

    Raises:
        AssertionError: The server neither answers nor closes after that.
    """
    answer = b""
    try:
        while piece := await asyncio.wait_for(reader.read(65536), _QUIET_S):
            answer += piece
    except TimeoutError:
        writer.write_eof()
    else:
        return answer
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while piece := await reader.read(65536):
                answer += piece
    except TimeoutError as error:
        raise AssertionError(f"the gateway neither answers nor closes; it said {answer!r:.1000}") from error
    return answer
