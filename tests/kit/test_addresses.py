"""What counts as an address of the public internet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenzy.kit.addresses import may_be_reached

PUBLIC = (
    "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1",
    "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1",
    "2001:4860:4860::8888",
)  # fmt: skip
PRIVATE = (
    "10.0.0.1", "127.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "fc00::1",
)  # fmt: skip
NEVER = (
    "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "fe80::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "5f00::1", "4000::1", "::ffff:8.8.8.8",
    "fe80::1%lo", "fd00::1%lo",
)  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_the_internet_may_be_reached(text: str) -> None:
    assert may_be_reached(ip_address(text), private_allowed=False)
    assert may_be_reached(ip_address(text), private_allowed=True)


@pytest.mark.parametrize("text", PRIVATE)
def test_private_networks_only_when_the_operator_allows_them(text: str) -> None:
    assert not may_be_reached(ip_address(text), private_allowed=False)
    assert may_be_reached(ip_address(text), private_allowed=True)


@pytest.mark.parametrize("text", NEVER)
def test_these_never(text: str) -> None:
    assert not may_be_reached(ip_address(text), private_allowed=False)
    assert not may_be_reached(ip_address(text), private_allowed=True)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_what_passes_is_global_unicast(address: IPv4Address) -> None:
    if may_be_reached(address, private_allowed=False):
        assert address.is_global
        assert not address.is_multicast
        for carrier in (f"::ffff:{address}", f"::{address}", f"64:ff9b::{address}"):
            assert not may_be_reached(ip_address(carrier), private_allowed=False)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_of_version_six_only_what_is_allocated_passes(address: IPv6Address) -> None:
    if may_be_reached(address, private_allowed=False):
        assert address.is_global
        assert address.sixtofour is None
        assert address.teredo is None
        assert address.ipv4_mapped is None
        assert int(address) >> 125 == 1
