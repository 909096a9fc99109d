"""Long lists: which page of one is asked for, and the addresses of the pages next to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import request, url_for

from licenzy.db.paging import NEWEST, Key, Page, Place
from licenzy.kit.ids import has_shape


@dataclass(frozen=True, slots=True)
class Pages:
    """The addresses of the pages next to the one shown; none where the list ends."""

    newer: str | None
    older: str | None
    newest: str | None
    """The first page, unless this is it."""


def requested_place(read: Callable[[str], Key | None]) -> Place:
    """Where the page asked for begins. `read` makes a key of the address's word, None of one that is none."""
    for side in ("older_than", "newer_than"):
        key = read(request.args.get(side, ""))
        if key is not None:
            return Place(**{side: key})
    return NEWEST


def id_key(prefix: str) -> Callable[[str], str | None]:
    """For `requested_place` of a list in the order of its ids, which have this prefix."""
    return lambda word: word if has_shape(word, prefix) else None


def adjacent_pages(page: Page[Any], place: Place, **filters: Any) -> Pages:
    """The pages next to this one, narrowed by the same filters."""

    def address(neighbour: Place | None) -> str | None:
        if neighbour is None:
            return None
        keys: dict[str, Any] = {"older_than": neighbour.older_than, "newer_than": neighbour.newer_than}
        return url_for(request.endpoint or "", **filters, **keys)

    return Pages(address(page.newer), address(page.older), None if place == NEWEST else address(NEWEST))
