"""Other attributes for classes and modules, for as long as the process lives."""

from __future__ import annotations


def replace(owner: object, **attributes: object) -> None:
    """Give a class or module other attributes. Nothing undoes it; what a test patches, `monkeypatch` does."""
    for name, value in attributes.items():
        setattr(owner, name, value)
