"""Finished answers, whoever sends them."""

from __future__ import annotations

from typing import NamedTuple

from flask import Response


class Reply(NamedTuple):
    """A finished answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> Response:
        """The same for Flask."""
        return Response(self.body, self.status, self.headers)
