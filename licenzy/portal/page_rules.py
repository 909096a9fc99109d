"""What holds for every page: which requests it refuses unseen, and how long its answer is kept."""

from __future__ import annotations

from flask import Response, abort, request


def refuse_nul() -> None:
    """Refuse pages and forms that are asked for with a NUL anywhere.

    No browser sends one, and Postgres cannot even look for a text that holds it.
    """
    sent = (texts for values in (request.args, request.form) for texts in values.listvalues())
    if "\0" in request.path or any("\0" in text for texts in sent for text in texts):
        abort(400)


def no_store(response: Response) -> Response:
    """Keep pages out of caches and out of the back button's reach after signing out."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response
