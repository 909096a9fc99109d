"""What can befall a SQLite file, each for the length of a block."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tests.support.web_processes import ROOT

FULL_AT = 24 * 1024 * 1024
"""Bytes of the small file system: several times what a test writes."""

_STRANGER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
connection.execute("BEGIN EXCLUSIVE")
print("holds it", flush=True)
sys.stdin.read()
"""
_SIBLING = """
import sys
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from sqlalchemy import text
database = Database(make_engine("sqlite:///" + sys.argv[1]))
with database.write() as db:
    db.execute(text("SELECT 1"))
    print("holds it", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_by_a_stranger(database: Path) -> Iterator[None]:
    """A program that is none of ours holds a transaction open that may write."""
    with _holding(_STRANGER, database):
        yield


@contextmanager
def locked_by_a_sibling(database: Path) -> Iterator[None]:
    """A process of ours hangs in the middle of its turn to write."""
    with _holding(_SIBLING, database):
        yield


@contextmanager
def _holding(program: str, database: Path) -> Iterator[None]:
    command = [sys.executable, "-c", program, str(database)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"holds it\n"
            yield
        finally:
            process.stdin.close()
            process.wait(20)


@contextmanager
def moved_away(database: Path) -> Iterator[None]:
    """The file is renamed, and later back; nothing may have been made in its place meanwhile."""
    elsewhere = database.with_name("elsewhere")
    database.rename(elsewhere)
    try:
        yield
        assert not database.exists(), "another database was made where the file had been"
    finally:
        elsewhere.replace(database)


@contextmanager
def full(folder: Path, pids: Sequence[int]) -> Iterator[None]:
    """No more can be written.

    A small file system is filled. Where none could be mounted, the processes are told that files may not
    grow, which fails the same calls with another number.
    """
    if os.path.ismount(folder):
        filler = folder / "filler"
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            yield
        finally:
            filler.unlink(missing_ok=True)
        return
    try:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        yield
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_file_system(folder: Path) -> Iterator[Path]:
    """A folder that can be filled, on a file system of its own where this machine lets us mount one."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    mounted = False
    if mount and umount and os.getuid() == 0:
        command = [mount, "-t", "tmpfs", "-o", f"size={FULL_AT},mode=700", "none", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield folder
    finally:
        if mounted and umount:
            subprocess.run([umount, "--lazy", str(folder)], check=True)


@contextmanager
def read_only(database: Path) -> Iterator[None]:
    """Neither file nor folder may be written; for processes that modes bind (`bound_by_modes`).

    Another program has the database open, so that it can be read nevertheless: else SQLite would have to
    make the files beside it.
    """
    with closing(sqlite3.connect(database)) as other:
        other.execute("SELECT count(*) FROM sqlite_master").fetchall()
        files = [path for path in database.parent.iterdir() if path.name.startswith(database.name)]
        for path in files:
            path.chmod(0o400)
        database.parent.chmod(0o500)
        try:
            yield
        finally:
            database.parent.chmod(0o700)
            for path in files:
                path.chmod(0o600)
