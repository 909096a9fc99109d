"""Where the folders that travel with the package are: templates, static files, the guide."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_dir(name: str) -> Path:
    """The absolute folder `name`: the one shipped inside the package (a wheel), else the one beside it."""
    shipped = _PACKAGE / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name


@cache
def content_digest(name: str) -> str:
    """Changes with whatever the files of such a folder hold, and with their names; compressed ones aside."""
    folder, digest = resource_dir(name), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".gz"):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
