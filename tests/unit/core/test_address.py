"""HOST:PORT, read and written."""

import pytest

from services.core.address import Address
from services.core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8000", "127.0.0.1", 8000), ("[::1]:80", "::1", 80), ("triton:1", "triton", 1)],
)
def test_an_address_is_written_as_it_was_read(text: str, host: str, port: int) -> None:
    address = Address.parse(text, "--triton")
    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "8000", "host:", ":8000", "host:0", "host:65536", "http://host:80", "::1:80", "a b:1"]
)
def test_anything_else_is_refused_with_the_name_of_the_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--triton"):
        Address.parse(text, "--triton")
