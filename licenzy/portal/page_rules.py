"""What holds for every page: which requests it refuses unseen, and how long its answer is kept."""

from __future__ import annotations

from flask import Response, abort, request

_SEARCHED = {"portal.project.search": "q", "portal.project.customers": "search"}
"""The pages that search, and the part of their address that says for what."""


def refuse_nul() -> None:
    """Refuse pages and forms that are asked for with a NUL anywhere.

    No browser sends one, and Postgres cannot even look for a text that holds it.
    """
    sent = (texts for values in (request.args, request.form) for texts in values.listvalues())
    found = any("\0" in text for texts in sent for text in texts)
    if "\0" in request.path or (found and not _may_explain()):
        abort(400)


def _may_explain() -> bool:
    """Whether the page itself answers for what it was asked to find: it searches for no NUL."""
    searched = _SEARCHED.get(request.endpoint or "")
    others = (name for name, texts in request.args.lists() if any("\0" in text for text in texts))
    return request.method == "GET" and not request.form and set(others) == {searched}


def no_store(response: Response) -> Response:
    """Keep pages out of caches and out of the back button's reach after signing out."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response
