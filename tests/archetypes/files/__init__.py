"""The catalogs of the archetypes, as merchants write them."""

from __future__ import annotations

from pathlib import Path


def content(name: str) -> str:
    """The text of a configuration file."""
    return (Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8")
