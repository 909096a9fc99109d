"""A port that a stranger holds is refused, not shared."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from licenzy.cli.ports import check_port, reserved_port
from tests.server.conftest import Shop
from tests.support.databases import SqliteFiles
from tests.support.installation import Installation, Running
from tests.support.ports import free_port_pair

HOST = "127.0.0.1"


def like_a_web_process(port: int) -> socket.socket:
    """A socket as Granian makes it for each of its processes."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((HOST, port))
    made.listen()
    return made


def test_a_port_is_refused_where_a_web_process_of_another_installation_listens() -> None:
    port = free_port_pair()
    with like_a_web_process(port), pytest.raises(click.ClickException, match="LICENZY_PORT"):
        check_port(HOST, port)
    check_port(HOST, port)


def test_nobody_else_can_hold_a_port_that_own_processes_share() -> None:
    port = free_port_pair()
    with reserved_port(HOST, port):
        with pytest.raises(click.ClickException), reserved_port(HOST, port):
            pass
        with like_a_web_process(port), like_a_web_process(port):
            with pytest.raises(click.ClickException):
                check_port(HOST, port)
            for _ in range(20):
                socket.create_connection((HOST, port), timeout=2).close()
    with reserved_port(HOST, port):
        pass


def test_a_port_is_free_again_although_connections_have_only_just_ended() -> None:
    port = free_port_pair()
    with socket.create_server((HOST, port)) as listener:
        caller = socket.create_connection((HOST, port))
        listener.accept()[0].close()
        assert caller.recv(1) == b""
        caller.close()
    with reserved_port(HOST, port):
        like_a_web_process(port).close()


@pytest.mark.slow
def test_two_installations_do_not_answer_on_one_port(
    shop: Shop,
    start: Callable[[Installation, str], Running],
    tmp_path: Path,
    sqlite_files: SqliteFiles,
) -> None:
    start(shop, "web").wait_until_it_answers(shop.port)
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other", sqlite_files.fresh(tmp_path / "other"))
    other.environ["LICENZY_PORT"] = str(shop.port)
    for command in ("web", "serve"):
        refused = other.licenzy(command)
        assert refused.returncode == 1
        assert refused.stderr.strip() == (
            f"Error: {HOST}:{shop.port} cannot be used (Address already in use). "
            "Stop the program that listens there, or set LICENZY_PORT."
        )
    assert shop.checks() == 200


@pytest.mark.slow
def test_the_sandbox_refuses_a_port_in_use(shop: Shop) -> None:
    with socket.create_server((HOST, shop.port + 1)):
        refused = shop.licenzy("sandbox")
    assert refused.returncode == 1
    assert f"{HOST}:{shop.port + 1} cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr
