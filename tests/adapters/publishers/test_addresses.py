"""Which addresses a webhook may connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intendant.adapters.publishers.addresses import AddressPolicy, AddressRefused
from intendant.domain.errors import InvalidValue

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
REFUSED = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "::1": "loopback",
    "10.0.0.7": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "fd00:ec2::254": "private",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "100.100.100.200": "reserved",
    "168.63.129.16": "reserved",
    "192.0.0.192": "reserved",
    "192.0.2.1": "private",
    "198.18.0.1": "private",
    "240.0.0.1": "private",
    "255.255.255.255": "private",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "private",
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "ff02::1": "multicast",
    "fec0::1": "reserved",
    "3fff::1": "reserved",
    "5f00::1": "reserved",
    "::7f00:1": "reserved",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b:1::a00:1": "reserved",
    "2002:7f00:1::1": "loopback",
    "2002:a9fe:a9fe::": "link-local",
    "2002:808:808::1": "reserved",
    "2001:0:53aa:64c::1": "private",
}


@pytest.mark.parametrize("address", [*PUBLIC, "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_ones_are_connected_to(address: str) -> None:
    assert AddressPolicy().check("hooks.example", [address]) == [address]


@pytest.mark.parametrize(("address", "kind"), REFUSED.items(), ids=str)
def test_others_are_refused(address: str, kind: str) -> None:
    assert AddressPolicy().problem(address)  # what it is called depends on the version of Python
    if kind not in ("reserved", "private"):
        assert AddressPolicy().problem(address) == kind
    with pytest.raises(AddressRefused, match=r"hooks.example stands for .*, which is .*allow_private"):
        AddressPolicy().check("hooks.example", [*PUBLIC, address])


@settings(max_examples=50)
@given(st.ip_addresses(v=4))
def test_an_address_in_disguise_is_what_it_leads_to(address: IPv4Address) -> None:
    policy = AddressPolicy()
    problem = policy.problem(str(address))
    for disguise in (IPv6Address(0xFFFF << 32 | int(address)), IPv6Address((0x64FF9B << 96) | int(address))):
        assert policy.problem(str(disguise)) == problem
    six_to_four = IPv6Address((0x2002 << 112) | (int(address) << 80))
    assert policy.problem(str(six_to_four)) == (problem or "reserved")


@settings(max_examples=50)
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_python_calls_not_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert AddressPolicy().problem(str(address))


def test_some_or_all_can_be_allowed() -> None:
    some = AddressPolicy(["10.1.0.0/16", "::1/128"])
    assert some.check("x", ["10.1.2.3", "::1"]) == ["10.1.2.3", "::1"]
    assert some.problem("::ffff:10.1.2.3") == ""
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1"):
        assert some.problem(address)
    every = AddressPolicy(True)
    for address, kind in REFUSED.items():
        assert bool(every.problem(address)) == (kind in ("multicast", "unspecified")), address


@pytest.mark.parametrize("given", ["10.0.0.0/8", ["10.0.0.1/8"], ["nonsense"]])
def test_networks_that_can_not_be(given: Any) -> None:
    with pytest.raises(InvalidValue, match="allow_private"):
        AddressPolicy(given)
