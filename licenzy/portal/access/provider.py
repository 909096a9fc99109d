"""Signing in through the OpenID provider of the installation, and proving once more there who one is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask, abort, current_app, redirect, request, session
from flask.typing import ResponseReturnValue

from licenzy.errors import LicenzyError
from licenzy.kit.clock import to_micros
from licenzy.kit.openid_settings import OpenIdSettings
from licenzy.portal.access.forms import SignInForm
from licenzy.portal.access.second_step import go_to_second_step
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public, signed_in
from licenzy.portal.respond import go, own_path, show
from licenzy.portal.sessions import SignedInUser, request_device, signed_in_user, start_session
from licenzy.runtime import runtime
from licenzy.workspace import rules
from licenzy.workspace.challenges import SecondFactorNeeded
from licenzy.workspace.openid_provider import OpenIdProvider, ProviderRefused, Secrets
from licenzy.workspace.single_sign_on import (
    ProviderSignInRefused,
    confirm_by_provider,
    sign_in_by_provider,
)

_BEGUN = "provider"
"""Names what the signed cookie keeps of a sign-in that goes on at the provider."""
_BEGUN_FOR = timedelta(minutes=10)
"""How long the person may take at the provider."""


@portal.get("/sign-in/provider")
@public
def sign_in_at_provider() -> ResponseReturnValue:
    """Leave for the provider, to come back signed in."""
    return _leave(next_page=request.args.get("next"), confirming=None)


@portal.get("/account/confirm/provider")
@signed_in
def confirm_at_provider(user: SignedInUser) -> ResponseReturnValue:
    """Leave for the provider to give one's password there once more."""
    return _leave(next_page=request.args.get("next"), confirming=user.session_id)


@portal.get("/sign-in/provider/return")
@public
def back_from_provider() -> ResponseReturnValue:
    """Where the provider sends the browser back to, with a code or with an error."""
    _settings()  # Not found, where there is no provider.
    begun = session.pop(_BEGUN, None)
    try:
        code = _code_of(begun)
        bound = Secrets(begun["state"], begun["nonce"], begun["verifier"])
        identity = _provider().identity(code=code, bound=bound, now=runtime().clock())
        if begun["session_id"] is None:
            opened = sign_in_by_provider(
                runtime().database,
                _settings(),
                identity=identity,
                device=request_device(),
                now=runtime().clock(),
            )
            if isinstance(opened, SecondFactorNeeded):
                return go_to_second_step(opened, target=own_path(begun["next"]))
            start_session(opened)
        else:
            user = signed_in_user()
            if user is None or user.session_id != begun["session_id"]:
                raise ProviderSignInRefused("Your session has ended meanwhile.", hint="Sign in again.")
            confirm_by_provider(
                runtime().database,
                actor=user.actor,
                session_id=user.session_id,
                identity=identity,
                now=runtime().clock(),
            )
    except (ProviderRefused, ProviderSignInRefused) as refusal:
        return _refused(refusal, next_page=begun["next"] if begun else None)
    return go(own_path(begun["next"]))


def _leave(*, next_page: str | None, confirming: str | None) -> ResponseReturnValue:
    bound = Secrets.fresh()
    try:
        address = _provider().authorization_url(bound, again=confirming is not None)
    except ProviderRefused as refusal:
        return _refused(refusal, next_page=next_page)
    session[_BEGUN] = {
        "state": bound.state,
        "nonce": bound.nonce,
        "verifier": bound.verifier,
        "next": own_path(next_page),
        "session_id": confirming,
        "until": to_micros(runtime().clock() + _BEGUN_FOR),
    }
    return redirect(address, code=303)


def _refused(refusal: LicenzyError, *, next_page: str | None) -> ResponseReturnValue:
    form = SignInForm(formdata=None, next=next_page)
    form.refuse(refusal)
    mailed = runtime().settings.smtp is not None
    return show("access/sign_in.html", form=form, mailed=mailed, status=refusal.status)


def _code_of(begun: Any) -> str:
    """The provider's code. Raises ProviderSignInRefused where this browser did not begin, or it refused."""
    is_late = not begun or to_micros(runtime().clock()) >= begun["until"]
    if is_late or not rules.same_token(begun["state"], request.args.get("state", "")):
        raise ProviderSignInRefused(
            "This sign-in took too long, or was begun in another browser.", hint="Start again from this page."
        )
    code = request.args.get("code")
    if not code:
        raise ProviderSignInRefused(f"{_settings().name} refused to sign you in.", hint="Try again.")
    return code


def _settings() -> OpenIdSettings:
    settings = runtime().settings.openid
    if settings is None:
        abort(404)
    return settings


def _provider() -> OpenIdProvider:
    """The provider of this process, which keeps its description for a while."""
    _settings()
    provider: OpenIdProvider = current_app.extensions["licenzy_openid"]
    return provider


def register_provider(app: Flask) -> None:
    """Make the provider that the settings name known to the pages of `app`."""
    settings = app.extensions["licenzy"].settings
    if settings.openid is not None:
        redirect_uri = f"{settings.base_url}/sign-in/provider/return"
        app.extensions["licenzy_openid"] = OpenIdProvider(settings.openid, redirect_uri=redirect_uri)


def provider_name() -> str | None:
    """What pages call the provider; None where there is none."""
    settings = runtime().settings.openid
    return settings.name if settings is not None else None
