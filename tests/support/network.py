"""Tests speak to this machine only: every other address is refused before a packet leaves."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from tests.support.patches import replace

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex


class NetworkRefused(RuntimeError):
    """A test tried to reach another machine."""


def refuse_the_world() -> None:
    """From now on this process can connect to loopback addresses and local sockets alone."""

    def connect(self: socket.socket, address: Any) -> None:
        _check(self, address)
        _connect(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        _check(self, address)
        return _connect_ex(self, address)

    replace(socket.socket, connect=connect, connect_ex=connect_ex)


def _check(self: socket.socket, address: Any) -> None:
    if self.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = str(address[0])
    if host == "localhost":
        return
    try:
        allowed = ipaddress.ip_address(host).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise NetworkRefused(f"a test tried to reach {host}")
