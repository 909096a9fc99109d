"""Which network addresses a stranger's URL may lead to. Pure.

`ipaddress.is_private` and `is_global` are no such check: they call NAT64, 6to4, IPv4-compatible and
multicast addresses global. Here only what is allocated as global unicast passes, and special ranges
inside of it are taken out by hand. Source: IANA's special-purpose address registries for IPv4 and IPv6.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_SPECIAL_V4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # Teredo, ORCHID and other protocols.
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries an IPv4 address.
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# What an operator may open: the networks that a private host or this machine has.
_PRIVATE_V4 = tuple(
    IPv4Network(net)
    for net in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
_PRIVATE_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
# Cloud machines give their credentials away at these; link-local ones are refused with their network.
_METADATA = frozenset(
    {
        IPv4Address("100.100.100.200"),
        IPv4Address("168.63.129.16"),
        IPv4Address("169.254.169.254"),
        IPv4Address("192.0.0.192"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)


def may_be_reached(address: Address, *, private_allowed: bool) -> bool:
    """Whether an outgoing request of somebody else's choosing may connect to this very address."""
    if address in _METADATA:
        return False
    if isinstance(address, IPv4Address):
        if private_allowed and any(address in net for net in _PRIVATE_V4):
            return True
        return not any(address in net for net in _SPECIAL_V4)
    if address.scope_id is not None:
        return False
    if private_allowed and any(address in net for net in _PRIVATE_V6):
        return True
    return address in _GLOBAL_V6 and not any(address in net for net in _SPECIAL_V6)
