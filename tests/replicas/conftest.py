"""Processes of the product, a Postgres that can be restarted, and the pooler that stands before some."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.ports import answers, free_port_pair, wait_until

Started = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    """Starts `licenzy web` on a database and gives its address."""
    with starting(tmp_path) as start:
        yield start


@contextmanager
def starting(folder: Path) -> Iterator[Started]:
    """The same; all that are started share one folder of secrets."""
    with ExitStack() as running:

        def started(database_url: str, **settings: str) -> str:
            port = free_port_pair()
            environ = {
                **{name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")},
                "LICENZY_INSTANCE": str(folder / "instance"),
                "LICENZY_DATABASE_URL": database_url,
                "LICENZY_PORT": str(port),
                "LICENZY_WORKERS": "1",
                "LICENZY_SANDBOX": "off",
                **settings,
            }
            running.enter_context(_running([sys.executable, "-m", "licenzy", "web"], port, environ))
            return f"http://127.0.0.1:{port}"

        yield started


@contextmanager
def pooler(database_url: str, folder: Path) -> Iterator[str]:
    """PgBouncer in transaction mode before a database of the tests; gives the address to use instead."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed: `apt-get install pgbouncer`")
    port, url = free_port_pair(), make_url(database_url)
    host = url.host or str(url.query["host"])
    config = folder / "pgbouncer.ini"
    config.write_text(
        "[databases]\n"
        f"* = host={host} port={url.port or 5432} user={url.username}"
        f"{f' password={url.password}' if url.password else ''}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 200\n"
        # It refuses to run as root, and the server's socket is for the server's user.
        + (f"user = {Path(host).owner() if Path(host).is_dir() else 'nobody'}\n" if os.getuid() == 0 else "")
    )
    folder.chmod(0o755)
    with _running([program, str(config)], port, dict(os.environ)):
        yield f"postgresql://{url.username}@127.0.0.1:{port}/{url.database}"


@contextmanager
def _running(command: list[str], port: int, environ: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=environ)
    try:
        wait_until(lambda: answers(port), seconds=60, what=f"{command[-1]} listens")
        yield
    finally:
        process.terminate()
        process.wait(15)
