"""Ports that must be free of strangers before anything is served there."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import click


def check_port(host: str, port: int) -> None:
    """Raise ClickException when something listens there, or the address cannot be listened on."""
    _bind(host, port).close()


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[None]:
    """The same check, and nobody else passes it until this ends.

    Granian's processes share a port on purpose, by SO_REUSEPORT: two installations of one user would
    otherwise answer there in turn. The reservation excludes none of these processes, and accepts no
    connections, because it does not listen.
    """
    with closing(_socket(host)) as reservation:
        with closing(_bind(host, port)) as first:
            if sys.platform == "linux":
                # One that is bound without SO_REUSEADDR keeps those out that ask by the check above. It can
                # be neither first, because it would not see others like it, nor where connections of another
                # program have only just ended: there is the check alone.
                for each in (first, reservation):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                with suppress(OSError):
                    reservation.bind((host, port))
        yield


def reachable(host: str) -> str:
    """The address by which this machine itself reaches what listens on such a host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _bind(host: str, port: int) -> socket.socket:
    bound = _socket(host)
    # Connections that have only just ended are in nobody's way; what listens is.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (TypeError, UnicodeError) as error:  # Not in the form of a host name.
        bound.close()
        raise click.ClickException(
            f"Licenzy cannot listen on {host}, which is not a host. Change LICENZY_HOST."
        ) from error
    except OSError as error:
        bound.close()
        raise click.ClickException(
            f"{host}:{port} cannot be used ({error.strerror}). "
            "Stop the program that listens there, or set LICENZY_PORT."
        ) from error
    return bound


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
