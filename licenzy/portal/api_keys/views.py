"""API keys: made, shown once, rotated, revoked."""

from __future__ import annotations

from typing import Any

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.api_keys import actions, queries
from licenzy.api_keys.models import KeyScope
from licenzy.portal.api_keys.context import NEW_KEY, api_key_context, api_keys_context
from licenzy.portal.api_keys.forms import OVERLAPS, ApiKeyForm, KeyRotationForm, RevocationForm
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, fresh, project_page
from licenzy.portal.one_time_secrets import put_secret
from licenzy.portal.respond import go, show, wants_fragment
from licenzy.portal.setup.wizard import is_in_wizard, next_url, step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role

_ONE = "/api-keys/<id('key'):key_id>"


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
                    # What the wizard makes is for a backend.
                    scopes=[KeyScope.RUNTIME] if is_in_wizard(form) else form.scopes.data or [],
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


@project.get(_ONE)
@project_page(Role.VIEWER)
def api_key(side: Side, key_id: str) -> ResponseReturnValue:
    """One key: its life, what it may call, and its refused calls; `?q=` finds one of those."""
    return show("api_keys/page.html", **api_key_context(side, key_id, {}))


@project.post(f"{_ONE}/rotation")
@project_page(Role.ADMIN)
@fresh
def rotate_api_key(side: Side, key_id: str) -> ResponseReturnValue:
    """Make the key that replaces this one and show it, this once."""
    form, parts = KeyRotationForm(), runtime()
    if form.validate():
        with form.refusals():
            rotated = parts.database.retrying(
                lambda db: actions.rotate_key(
                    db,
                    side.scope,
                    key_id=key_id,
                    overlap=form.duration,
                    actor=side.actor,
                    now=parts.clock(),
                )
            )
            put_secret(side, rotated.token, of=rotated.new.id)
            flash(
                f"The key “{rotated.old.name}” is replaced. The old one ends {OVERLAPS[form.overlap.data]}."
            )
            return go(url_for("portal.project.api_key", key_id=rotated.new.id))
    return show("api_keys/page.html", status=422, **api_key_context(side, key_id, {"rotation_form": form}))


@project.post(f"{_ONE}/revocation")
@project_page(Role.ADMIN)
@fresh
def revoke_api_key(side: Side, key_id: str) -> ResponseReturnValue:
    """End a key for good; in live its name must be typed."""
    with runtime().database.read() as db:
        key = queries.key(db, side.scope, key_id=key_id)
    form = RevocationForm()
    problem = form.problem(side.mode, key.name, "the key’s name")
    if problem is not None and form.shown_on.data == "page":
        return show(
            "api_keys/page.html", status=422, **api_key_context(side, key_id, {"typed_error": problem})
        )
    if problem is not None:
        overrides = _context(side, typed_error=problem, wrong_name_for=key_id)
        return show("api_keys/list.html", status=422, **overrides)
    runtime().database.retrying(
        lambda db: actions.revoke_key(db, side.scope, key_id=key_id, actor=side.actor, now=runtime().clock())
    )
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
