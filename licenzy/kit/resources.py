"""Where the folders that travel with the package are: templates, static files, the guide."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_dir(name: str) -> Path:
    """The absolute folder `name`: the one shipped inside the package (a wheel), else the one beside it."""
    shipped = _PACKAGE / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
