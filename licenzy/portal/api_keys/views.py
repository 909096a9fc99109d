"""API keys: made, shown once, revoked."""

from __future__ import annotations

from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.api_keys import actions, queries
from licenzy.portal.api_keys.context import NEW_KEY, api_keys_context
from licenzy.portal.api_keys.forms import ApiKeyForm
from licenzy.portal.blueprint import project
from licenzy.portal.forms import TypedForm
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.one_time_secrets import put_secret
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.portal.setup.wizard import is_in_wizard, next_url, step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role


@project.get("/api-keys")
@project_page(Role.VIEWER)
def api_keys(side: Side) -> ResponseReturnValue:
    """The keys of this side; none of them can be shown again."""
    return show("api_keys/list.html", **_context(side))


@project.post("/api-keys")
@project_page(Role.ADMIN)
@fresh
def create_api_key(side: Side) -> ResponseReturnValue:
    """Make a key and show it, this once."""
    form = ApiKeyForm()
    parts = runtime()
    if form.validate():
        with form.refusals():
            with parts.database.write() as db:
                _key, token = actions.create_key(
                    db,
                    side.scope,
                    name=form.name.data,
                    created_by=side.user.user_id,
                    expires_at=form.expires_at(parts.clock()),
                    ip=side.actor.ip,
                    now=parts.clock(),
                )
            if wants_fragment():
                return _answer(side, form, 201, token=token)
            put_secret(side, token, of=NEW_KEY)
            return go(next_url(form, "portal.project.api_keys", StepName.API_KEY))
    return _answer(side, form, 422, key_form=form)


@project.post("/api-keys/<id('key'):key_id>/revocation")
@project_page(Role.ADMIN)
@fresh
def revoke_api_key(side: Side, key_id: str) -> ResponseReturnValue:
    """End a key for good; in live its name must be typed."""
    with runtime().database.read() as db:
        key = queries.key(db, side.scope, key_id=key_id)
    problem = TypedForm().problem(side.mode, key.name, "the key’s name")
    if problem is not None:
        overrides = _context(side, typed_error=problem, wrong_name_for=key_id)
        return show("api_keys/list.html", status=422, **overrides)
    with runtime().database.write() as db:
        actions.revoke_key(db, side.scope, key_id=key_id, actor=side.actor, now=runtime().clock())
    flash(f"The key “{key.name}” is revoked: calls with it are refused from now on.", "success")
    return go(url_for("portal.project.api_keys"))


def _answer(side: Side, form: ApiKeyForm, status: int, **overrides: Any) -> ResponseReturnValue:
    """The panel of keys, on its page or in the wizard's step."""
    if is_in_wizard(form):
        swapped = wants_fragment()  # The step has moved on: its line and the way on move with it.
        return step_page(
            side, StepName.API_KEY, "api_keys/_panel.html", status=status, swapped=swapped, **overrides
        )
    return show("api_keys/list.html", "api_keys/_panel.html", status=status, **_context(side, **overrides))


def _context(side: Side, **overrides: Any) -> dict[str, Any]:
    return api_keys_context(side, {"back": "", "typed_error": None, "wrong_name_for": None, **overrides})
