"""Where replicas are, as settings say it."""

from __future__ import annotations

import pytest

from services.core.errors import ConfigurationError
from services.core.replica_address import DnsName, ReplicaAddress, parse_targets


@pytest.mark.parametrize(
    ("text", "expected", "name", "target"),
    [
        ("triton:8000", ReplicaAddress("triton", 8000, 8001), "triton:8000", "triton:8001"),
        ("10.0.0.1:8000/9000", ReplicaAddress("10.0.0.1", 8000, 9000), "10.0.0.1:8000", "10.0.0.1:9000"),
        ("[::1]:18000/18001", ReplicaAddress("::1", 18000, 18001), "[::1]:18000", "[::1]:18001"),
        ("t:1/2/3", ReplicaAddress("t", 1, 2, 3), "t:1", "t:2"),
    ],
)
def test_an_address_has_up_to_three_ports_and_the_second_is_the_next_by_default(
    text: str, expected: ReplicaAddress, name: str, target: str
) -> None:
    found = ReplicaAddress.parse(text, "gateway.triton")
    assert found == expected
    assert (found.name, found.grpc_target) == (name, target)
    assert ReplicaAddress.parse(str(found), "again") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "triton",
        "triton:0",
        "triton:65536",
        "triton:65535",
        "http://t:1",
        "::1:8000",
        "t:1/",
        "t:1/70000",
        "t:1/2/0",
        "t:1/2/",
        "t:1/2/3/4",
        "a b:1",
    ],
)
def test_what_is_no_address_is_refused_with_the_setting_and_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"gateway\.triton is '.*expected HOST:HTTPPORT"):
        ReplicaAddress.parse(text, "gateway.triton")


def test_a_list_of_replicas_or_one_name_for_all() -> None:
    assert parse_targets(["a:1", "b:1/5"], "s") == (ReplicaAddress("a", 1, 2), ReplicaAddress("b", 1, 5))
    found = parse_targets(["dns:triton.models.svc:8000"], "s")
    assert found == DnsName("triton.models.svc", 8000, 8001)
    assert str(found) == "dns:triton.models.svc:8000/8001"
    assert found.at("10.0.0.7") == ReplicaAddress("10.0.0.7", 8000, 8001)
    assert DnsName.parse("dns:t:1/2/3", "s").at("10.0.0.7") == ReplicaAddress("10.0.0.7", 1, 2, 3)


@pytest.mark.parametrize(
    ("texts", "words"), [([], "empty"), (["a:1", "dns:b:1"], "one DNS name"), (["a:1", "a:1/7"], "more than once")]
)
def test_a_list_that_means_nothing_is_refused(texts: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_targets(texts, "s")
