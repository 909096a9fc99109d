"""nginx and Caddy as the guide configures them, before a Licenzy of the tests, on this machine alone."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import answers, free_port_pair, wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxies.md"
HOST = "licenzy.example.com"
BASE_URL = f"https://{HOST}"


@dataclass(frozen=True)
class Proxy:
    """One that runs."""

    name: str
    port: int
    certificate: Path
    process: subprocess.Popen[bytes]
    log: Path

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """Somebody who comes from this address of the machine, by HTTP/1.1 and TLS."""
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": HOST},
            transport=_ByName(
                verify=ssl.create_default_context(cafile=str(self.certificate)), local_address=source
            ),
            timeout=15,
        )


class _ByName(httpx.HTTPTransport):
    """Asks for the public name, which no name server knows, at the address of the request."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = HOST
        return super().handle_request(request)


def documented(language: str) -> str:
    """The one block of this language on the page."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(block)


@contextmanager
def nginx(licenzy_port: int, folder: Path, *, also: dict[str, str] | None = None) -> Iterator[Proxy]:
    """nginx with the page's lines; `also` replaces more of them."""
    program = _program("nginx", "nginx-light")
    port, certificate, key = free_port_pair(), *_certificate(folder)
    live = f"/etc/letsencrypt/live/{HOST}"
    site = _replaced(
        documented("nginx"),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            f"{live}/fullchain.pem": str(certificate),
            f"{live}/privkey.pem": str(key),
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{licenzy_port};",
            **(also or {}),
        },
    )
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        # Its workers would become another user, who may not enter the folder.
        f"{'user root;' if os.getuid() == 0 else ''}\n"
        f"daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\n"
        "events {}\n"
        f"http {{\n    access_log {folder}/access.log;\n{temporary}    include {folder}/site.conf;\n}}\n"
    )
    command = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    yield from _running("nginx", command, port, certificate, folder)


@contextmanager
def caddy(licenzy_port: int, folder: Path) -> Iterator[Proxy]:
    """Caddy with the page's lines."""
    program = _program("caddy", "caddy")
    port, certificate, key = free_port_pair(), *_certificate(folder)
    config = folder / "Caddyfile"
    config.write_text(
        _replaced(
            documented("caddyfile"),
            {
                "    auto_https disable_redirects\n": (
                    f"    auto_https disable_redirects\n    admin off\n    https_port {port}\n"
                    "    default_bind 127.0.0.1\n"
                ),
                f"{HOST} {{\n": f"{HOST} {{\n    tls {certificate} {key}\n",
                "reverse_proxy 127.0.0.1:8000": f"reverse_proxy 127.0.0.1:{licenzy_port}",
            },
        )
    )
    command = [program, "run", "--config", str(config), "--adapter", "caddyfile"]
    yield from _running("caddy", command, port, certificate, folder)


PROXIES = {"nginx": nginx, "caddy": caddy}


def _running(name: str, command: list[str], port: int, certificate: Path, folder: Path) -> Iterator[Proxy]:
    log = folder / f"{name}.log"
    # Whatever it keeps for later, certificates and its last configuration, it keeps in the folder.
    environ = {
        **os.environ,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=file, stderr=file)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, seconds=30, what=f"{name} listens")
        assert process.poll() is None, log.read_text()
        yield Proxy(name, port, certificate, process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def _program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if found is None:
        pytest.skip(f"{name} is not installed: `apt-get install {package}`")
    return found


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert text.count(old) == 1, f"the page has {text.count(old)} times: {old}"
        text = text.replace(old, new)
    return text


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of our own for the public name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private
