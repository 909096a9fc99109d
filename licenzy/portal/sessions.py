"""Who is visiting: the signed cookie, and the server-side session its token leads to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from flask import Flask, Request, Response, after_this_request, request, session
from flask.sessions import NullSession, SecureCookieSession, SecureCookieSessionInterface
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from itsdangerous import BadData, URLSafeSerializer

from licenzy.kit.clock import from_unix
from licenzy.runtime import runtime
from licenzy.settings import Settings
from licenzy.workspace import actions, queries, rules
from licenzy.workspace.audit import Actor
from licenzy.workspace.passwords import Passwords, passwords
from licenzy.workspace.sessions import KnownDevice, renewed_device

_MOST_KNOWN = 5
"""How many people one browser is known to, so that its cookie stays small."""


@dataclass(frozen=True, slots=True)
class SignedInUser(UserMixin):  # type: ignore[misc]  # flask_login carries no types.
    """The person a request comes from, as Flask-Login knows them."""

    user_id: str
    email: str
    name: str
    session_id: str
    fresh: bool
    """Whether the password was given recently enough to change credentials."""
    token: str
    second_factor_at: datetime | None = None
    """When this session was given a second factor."""

    def get_id(self) -> str:
        """What the cookie keeps: the session's token, not the person's id."""
        return self.token

    @property
    def actor(self) -> Actor:
        """Who is to be written in the audit log."""
        return Actor(self.user_id, request.remote_addr)

    @property
    def initials(self) -> str:
        """One or two letters for the round badge."""
        words = self.name.split() or ["?"]
        return "".join(word[0] for word in (words[0], *words[1:][-1:])).upper()


class PortalSessions(SecureCookieSessionInterface):
    """Cookies for the portal alone: `/v1` neither reads nor sets any, and does not pay for looking."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if request.environ["PATH_INFO"].startswith("/v1/"):
            return self._none
        return super().open_session(app, request)


def init_sessions(app: Flask, settings: Settings) -> None:
    """Set up the cookie and teach Flask-Login to find the visitor behind it."""
    app.secret_key = settings.secret_key
    app.session_interface = PortalSessions()
    app.config.update(
        SESSION_COOKIE_NAME=_cookie_name(settings),
        SESSION_COOKIE_SECURE=settings.https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=rules.SESSION_LIFE,
        WTF_CSRF_TIME_LIMIT=None,  # The token ends with the session it belongs to.
    )
    login = LoginManager()
    login.session_protection = None  # Sessions are ended on the server; a changed address is no theft.
    login.user_loader(_user_of_token)
    # Not `init_app`: it hangs a hook for "remember me" cookies, which we have none of, on every request.
    app.login_manager = login  # type: ignore[attr-defined]


def signed_in_user() -> SignedInUser | None:
    """The person who is signed in, if any."""
    return current_user._get_current_object() if current_user.is_authenticated else None


def start_session(opened: actions.Opened) -> None:
    """Sign the browser in, and know it from now on as a device of this person's.

    Whatever its session contained before is dropped, so nothing can be planted in it.
    """
    session.clear()
    session.permanent = True
    found = _user_of_token(opened.token)
    if found is not None:
        login_user(found)
    remember_device(opened.user_id)


def clear_session() -> None:
    """Forget the visitor in this browser; ending the session itself is the verb's work."""
    logout_user()
    session.clear()


def password_hasher() -> Passwords:
    """The hasher of this installation's passwords."""
    return passwords(cheap=runtime().settings.testing)


def request_device() -> actions.Device:
    """Where the request comes from, for the list of sessions, and whose device it is known to be."""
    return actions.Device(
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent", ""),
        known=_known_devices(),
        unheeded_header=_ignored_proxy_header(),
    )


def remember_device(user_id: str) -> None:
    """Know this browser, for a year, as one in which this person gave their password; see `KnownDevice`.

    Signing out does not end it: it opens nothing, and only spares its person the limits for strangers.
    """
    now = runtime().clock()
    with runtime().database.read() as db:
        own = renewed_device(queries.user_by_id(db, user_id=user_id), request_device(), now=now)
    others = [each for each in _known_devices() if each.user_id != user_id and now < each.until]
    written = [
        [each.user_id, each.device_id, each.stamp, int(each.until.timestamp())]
        for each in (own, *others[: _MOST_KNOWN - 1])
    ]
    settings = runtime().settings

    @after_this_request
    def with_cookie(response: Response) -> Response:
        response.set_cookie(
            _device_cookie_name(settings),
            _device_signer(settings).dumps(written),
            max_age=rules.DEVICE_LIFE,
            path="/",
            secure=settings.https,
            httponly=True,
            samesite="Lax",
        )
        return response


def _known_devices() -> list[KnownDevice]:
    """Whose device this browser says to be, by a cookie that we signed; none when it is anything else."""
    settings = runtime().settings
    try:
        written = _device_signer(settings).loads(request.cookies.get(_device_cookie_name(settings), ""))
    except BadData:
        return []
    return [
        KnownDevice(user_id, device_id, stamp, from_unix(until))
        for user_id, device_id, stamp, until in written
    ]


def _device_signer(settings: Settings) -> URLSafeSerializer:
    return URLSafeSerializer(settings.derived_secret("known device"), salt="known device")


def _ignored_proxy_header() -> str | None:
    if runtime().settings.trusted_proxies:
        return None
    return next((name for name in ("X-Forwarded-For", "Forwarded") if name in request.headers), None)


def _user_of_token(token: str) -> SignedInUser | None:
    now = runtime().clock()
    with runtime().database.read() as db:
        found = queries.signed_in_by_token(db, token=token, now=now)
    if found is None:
        return None
    if now - found.last_seen_at >= rules.SEEN_EVERY:
        with runtime().database.write() as db:
            actions.note_seen(db, session_id=found.session_id, now=now)
    return SignedInUser(
        user_id=found.user_id,
        email=found.email,
        name=found.name,
        session_id=found.session_id,
        fresh=rules.is_fresh(found.authenticated_at, now=now),
        token=token,
        second_factor_at=found.second_factor_at,
    )


def _cookie_name(settings: Settings) -> str:
    """`__Host-` binds the cookie to this host over https. Browsers keep cookies per host and not per
    port, so on one machine the port is part of the name."""
    if settings.https:
        return "__Host-licenzy"
    return f"licenzy_{urlsplit(settings.base_url).port or 80}"


def _device_cookie_name(settings: Settings) -> str:
    return _cookie_name(settings).replace("licenzy", "licenzy-device")
