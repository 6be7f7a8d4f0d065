"""Which IP addresses are somebody's on the internet, and which belong to this host or its network.

A URL that others can choose, or a name whose records others can change, must not lead a service to its own
network: to a cloud's metadata at 169.254.169.254, to loopback, to a private range.

Sources: the IANA registries of special-purpose addresses (RFC 6890), as Python's `ipaddress` has them; RFC
4291, 3056, 6052 and 8215 for IPv6 addresses that stand for an IPv4 address.
"""

from __future__ import annotations

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_LOW_32_BITS = 0xFFFFFFFF


def is_public(address: IPAddress) -> bool:
    """Whether an address is globally reachable unicast; one that stands for an IPv4 address is what that is.

    Loopback, private, link-local, shared (RFC 6598), multicast, reserved and unspecified addresses are not.
    """
    inner = _embedded(address)
    if inner is not None:
        return is_public(inner)
    local = isinstance(address, ipaddress.IPv6Address) and (
        address.is_site_local or address.scope_id is not None or address in _LOCAL_NAT64
    )
    return address.is_global and not (address.is_multicast or address.is_reserved or local)


def _embedded(address: IPAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, by itself or through a gateway."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    return address.ipv4_mapped or address.sixtofour


def parse_address(host: str) -> IPAddress | None:
    """The address that a URL's host is, in its usual form, without brackets; None for a name.

    Forms that only `inet_aton` reads (`127.1`, `2130706433`) are names here: they are resolved, and what they
    lead to is judged then.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
