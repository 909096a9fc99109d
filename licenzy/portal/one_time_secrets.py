"""A secret that the page after a redirect shows, this once.

Nothing of it stands in an address. It travels in the session's cookie, encrypted with the keys of this
installation and bound to the session and to what it is the secret of; the page that shows it removes it.
"""

from __future__ import annotations

from flask import session

from licenzy.kit.clock import from_unix
from licenzy.kit.secret_box import DecryptionFailed
from licenzy.portal.guards import Side, WorkspaceMember
from licenzy.portal.sessions import SignedInUser
from licenzy.runtime import runtime

_SLOT = "one_time_secret"
_SECONDS = 300
"""How long the page may take to come; a copy of the cookie is worth nothing afterwards."""

Place = Side | WorkspaceMember | SignedInUser
"""Where the page is that shows a secret: in a project's mode, in a workspace, or in one's own account."""


def put_secret(here: Place, secret: str, *, of: str) -> None:
    """Have the next page about `of`, such as an endpoint's id, show this secret."""
    until = int(runtime().clock().timestamp()) + _SECONDS
    session[_SLOT] = runtime().secret_box.encrypt(f"{until} {secret}", bound_to=_bound_to(here, of))


def take_secret(here: Place, *, of: str) -> str | None:
    """The secret that this page is to show, if there is one; it is given out once."""
    sealed = session.get(_SLOT)
    if sealed is None:
        return None
    try:
        until, _, secret = runtime().secret_box.decrypt(sealed, bound_to=_bound_to(here, of)).partition(" ")
    except DecryptionFailed:  # It is the secret of another page.
        return None
    session.pop(_SLOT)
    return secret if runtime().clock() < from_unix(int(until)) else None


def _bound_to(here: Place, of: str) -> str:
    if isinstance(here, SignedInUser):
        return f"one-time secret {here.session_id} account {of}"
    place = f"{here.project_id} {here.mode}" if isinstance(here, Side) else here.workspace_id
    return f"one-time secret {here.user.session_id} {place} {of}"
