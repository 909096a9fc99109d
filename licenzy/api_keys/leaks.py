"""Finding API keys in files that should have none: what looks like one and has the right checksum."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from licenzy.api_keys.rules import KEY_PATTERN, presented_hash
from licenzy.errors import LicenzyError

_CHUNK_BYTES = 1 << 20
_KEY_BYTES = 57
_PATTERN = re.compile(KEY_PATTERN.encode())
_TEXT = re.compile(KEY_PATTERN, re.ASCII)


class LeakedKey(NamedTuple):
    """A key at a place. The key itself stays with whoever searches."""

    path: str
    line: int
    key_hash: str
    masked: str


def find_leaks(
    path: Path, *, include_git: bool, unread: Callable[[str], None], read: Callable[[], None]
) -> Iterator[LeakedKey]:
    """The keys in a file, or in all files below a folder, file by file.

    Links and what is no plain file are not opened, so that nothing outside of the folder is read and nothing
    waits. `unread` is given the path of each file that could not be read, `read` is called for each that was.
    """
    if path.is_symlink():
        unread(shown_path(path))
        return
    folders = [path]
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                names = sorted(entries, key=lambda entry: entry.name)
        except NotADirectoryError:
            yield from _of_file(here, unread, read)
            continue
        except OSError:
            unread(shown_path(here))
            continue
        below = []
        for entry in names:
            if entry.is_dir(follow_symlinks=False):
                if include_git or entry.name != ".git":
                    below.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield from _of_file(Path(entry.path), unread, read)
        folders += reversed(below)


def keys_in(file: BinaryIO, *, name: str) -> Iterator[LeakedKey]:
    """The keys in a stream of bytes, text or not, of which a piece at a time is in memory."""
    line, rest = 1, b""
    while chunk := file.read(_CHUNK_BYTES):
        piece, counted = rest + chunk, 0
        for match in _PATTERN.finditer(piece):
            token = match[0].decode("ascii")
            line += piece.count(b"\n", counted, match.start())
            counted = match.start()
            try:
                yield LeakedKey(name, line, presented_hash(token), f"{token[:8]}…{token[-4:]}")
            except LicenzyError:
                continue  # It only looks like a key: the checksum is wrong.
        # One byte less than a key: one that is cut in two is found with the next piece, and none twice.
        kept = max(len(piece) - (_KEY_BYTES - 1), counted)
        line += piece.count(b"\n", counted, kept)
        rest = piece[kept:]


def shown_path(path: Path) -> str:
    """The path on one line, with the keys in it masked: names of files leak as well."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    printable = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return _TEXT.sub(lambda match: f"{match[0][:8]}…{match[0][-4:]}", printable)


def _of_file(path: Path, unread: Callable[[str], None], read: Callable[[], None]) -> Iterator[LeakedKey]:
    try:
        # Between being listed and being opened it may have become a link or a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        unread(shown_path(path))
        return
    with open(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            unread(shown_path(path))
            return
        try:
            yield from keys_in(file, name=shown_path(path))
        except OSError:
            unread(shown_path(path))
            return
    read()
