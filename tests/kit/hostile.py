"""Addresses that a stranger may save as a webhook endpoint to reach what only this machine reaches."""

from __future__ import annotations

from ipaddress import ip_address

_LOOPBACK_FORMS = (
    "127.0.0.1", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.1",
    "0x7f.0.0.1", "0x7f.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "0177.1", "0177.0000.0000.0001",
    "00000177.0.0.1", "127.0.0.1.", "127.00.00.01", "127.0x0.0.1", "0", "0.0.0.0", "0.0.0.0.", "0x0", "00",
    "0.0", "0.1.2.3", "localhost", "localhost.", "LOCALHOST", "Localhost.", "ip6-localhost", "ip6-loopback",
    "api.localhost", "0000::1",
)  # fmt: skip
_PRIVATE_V4 = (
    "10.0.0.1", "10.255.255.255", "167772161", "0xa000001", "012.0.0.1", "172.16.0.1", "172.31.255.255",
    "2886729729", "192.168.0.1", "192.168.255.255", "3232235521", "0xc0a80001", "0300.0250.0.1",
    "100.64.0.1", "100.127.255.254", "1681915905", "169.254.169.254", "2852039166", "0xa9fea9fe",
    "0251.0376.0251.0376", "169.254.169.254.", "169.254.170.2", "169.254.0.1", "192.0.0.1", "192.0.0.8",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "4294967295", "100.100.100.200", "168.63.129.16",
)  # fmt: skip
_INSIDE = (
    "127.0.0.1", "127.0.0.53", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "100.64.0.9",
    "0.0.0.0", "100.100.100.200", "192.0.0.192",
)  # fmt: skip
_V6 = (
    "::", "::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::2", "fe80::1", "fec0::1",
    "fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff05::2", "ff0e::1", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "4000::1", "8000::1", "fe80::1%25lo", "::ffff:0:0",
    "2620:4f:8000::1", "fdff:ffff::1",
)  # fmt: skip


def _embedded() -> list[str]:
    """IPv4 addresses of the inside, in every IPv6 address that carries one."""
    found = []
    for text in _INSIDE:
        value = int(ip_address(text))
        high, low = f"{value >> 16:x}", f"{value & 0xFFFF:x}"
        found += [
            f"::ffff:{text}",
            f"::ffff:{high}:{low}",
            f"::{text}",
            f"64:ff9b::{text}",
            f"64:ff9b::{high}:{low}",
            f"2002:{high}:{low}::",
            f"2002:{high}:{low}::1",
            f"2001:0:{high}:{low}::",
            f"2001:0:0:0:0:0:{value >> 16 ^ 0xFFFF:x}:{value & 0xFFFF ^ 0xFFFF:x}",
            f"fe80::5efe:{text}",
        ]
    return found


def hostile_urls(port: int) -> list[str]:
    """More than 300 of them, at the port of a listener; none may ever be connected to."""
    v4 = [*_LOOPBACK_FORMS[:-1], *_PRIVATE_V4]
    v6 = [*_V6, *_embedded(), _LOOPBACK_FORMS[-1]]
    urls = [f"http://{host}:{port}/" for host in v4] + [f"http://[{host}]:{port}/" for host in v6]
    urls += [f"https://{host}:{port}/" for host in (*_LOOPBACK_FORMS[:12], *_PRIVATE_V4[:8])]
    urls += [f"https://[{host}]:{port}/" for host in _V6[:8]]
    for host in ("127.0.0.1", "0x7f.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]"):
        urls += [
            f"http://user:secret@{host}:{port}/",
            f"http://example.com@{host}:{port}/",
            f"http://example.com%40{host}:{port}/",
            f"http://example.com:80@{host}:{port}/",
            f"http://{host}:{port}#@example.com/",
            f"http://{host}:{port}/?@example.com",
            f"http://{host}:{port}\\@example.com/",
            f"http:\\\\{host}:{port}\\",
            f"http:/{host}:{port}/",
            f"http:{host}:{port}/",
            f"//{host}:{port}/",
            f"HTTP://{host}:{port}/",
            f" http://{host}:{port}/",
            f"http://{host}:{port}/\r\nX: y",
            f"http://\t{host}:{port}/",
        ]
    urls += [
        f"http://127。0。0。1:{port}/",
        f"http://①②⑦.⓪.⓪.①:{port}/",
        f"http://ⓛocalhost:{port}/",
        f"http://lоcalhost:{port}/",
        f"http://127.0.0.1%00.example.com:{port}/",
        f"http://127.0.0.1%2f.example.com:{port}/",
        f"http://[::1%25lo]:{port}/",
        f"http://[127.0.0.1]:{port}/",
        f"http://:{port}/",
        f"http://.:{port}/",
        f"http://*:{port}/",
        f"ftp://127.0.0.1:{port}/",
        f"file:///etc/passwd?{port}",
        f"gopher://127.0.0.1:{port}/_POST",
        f"unix://127.0.0.1:{port}/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:-1/",
        "http://[::1",
        "http://",
        "",
    ]
    return list(dict.fromkeys(urls))
