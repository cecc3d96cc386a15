"""The body of a posted form."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from services.core.errors import InvalidRequest, UnsupportedEncoding

_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 200
_LONGEST = 4000


async def form_values(request: Request) -> dict[str, str]:
    """Return the fields of a form; of equal names the last counts.

    Raises:
        UnsupportedEncoding: The body is no form.
        InvalidRequest: It cannot be read, or has too many fields or too long ones.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != _TYPE:
        raise UnsupportedEncoding(f"content type '{found[:100]}'; a form is {_TYPE}, and the JSON API is under /v1")
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:  # UnicodeDecodeError is one
        raise InvalidRequest(f"the form cannot be read: {error}") from error
    values = dict(pairs)
    for name, value in values.items():
        if len(value) > _LONGEST:
            raise InvalidRequest(f"field '{name[:100]}' has {len(value)} characters; expected at most {_LONGEST}")
    return values
