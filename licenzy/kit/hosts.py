"""What the host of an address stands for, as far as it can be seen without asking anybody. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as nobody else can reach it."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether a host stands for all addresses of this machine, which is no address to be opened."""
    address = _address(host)
    return address is not None and address.is_unspecified


def is_address(host: str) -> bool:
    """Whether a host is an address and no name."""
    return _address(host) is not None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, in the short forms of IPv4 too; none for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(inet_aton(host))
        except (OSError, UnicodeError):
            return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
