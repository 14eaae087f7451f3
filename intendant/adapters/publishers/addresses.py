"""Which addresses a webhook may connect to. What a name stands for is looked up, checked, and connected to as it is.

A name that stands for another address at the next look-up is of no use to anyone: nothing is looked up between the
check and the connection. One address of a name that is refused refuses the name.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import anyio

from intendant.domain.errors import InvalidValue

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_NAT64: Final = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")  # by relays of anybody, and given up (RFC 7526)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NOT_PUBLIC: Final = tuple(  # whatever this version of Python says of them
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # between a provider and its customers
        "168.63.129.16/32",  # a cloud's own services
        "192.0.0.0/24",  # protocols' own, and a cloud's own services
        "198.18.0.0/15",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    )
)


class AddressRefused(Exception):
    """An address that a webhook may not connect to."""


class AddressPolicy:
    """Public addresses, and those that are allowed: none, all that are any use, or some networks."""

    def __init__(self, allow_private: bool | Sequence[str] = False) -> None:
        self._all = allow_private is True
        self._networks = () if isinstance(allow_private, bool) else tuple(map(_network, _listed(allow_private)))

    def check(self, host: str, addresses: Sequence[str]) -> list[str]:
        """What to connect to. Raises AddressRefused if any of them may not be."""
        for each in addresses:
            if problem := self.problem(each):
                what = f"{host} is" if host == each else f"{host} stands for {each}, which is"
                raise AddressRefused(f"{what} {problem}; if that is meant, say allow_private=[{each.split('%')[0]!r}]")
        return list(addresses)

    def problem(self, address: str) -> str:
        """Why not to connect to an address; "" if it may be."""
        given = ip_address(address)
        meant = _meant(given)
        if meant.is_multicast or meant.is_unspecified:
            return "multicast" if meant.is_multicast else "unspecified"
        kind = _kind(meant) or ("reserved" if _in(given, _SIX_TO_FOUR) else "")
        if not kind or self._all or any(_in(each, network) for each in (given, meant) for network in self._networks):
            return ""
        return kind


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses that a name stands for, in the order to try them. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def literal(host: str) -> str | None:
    """The host as an address, if it is one."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if _in(address, _NAT64):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address) -> str:
    """What an address is that is not public; "" for one that is."""
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_private:
        return "private"
    if isinstance(address, IPv6Address) and not _in(address, _GLOBAL_UNICAST):
        return "reserved"
    if address.is_reserved or not address.is_global or any(_in(address, each) for each in _NOT_PUBLIC):
        return "reserved"
    return ""


def _in(address: Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _listed(allow_private: Sequence[str]) -> Sequence[str]:
    if isinstance(allow_private, str):
        raise InvalidValue("webhook", f"allow_private is True, False or a list of networks: [{allow_private!r}]")
    return allow_private


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidValue(
            "webhook", f"allow_private names networks such as 10.1.0.0/16 or fd00::/8: {error}"
        ) from None
