"""Speaking to the OpenID provider of the installation, by authlib and joserfc, and checking what it says."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.errors import LicenzyError
from licenzy.kit.clock import from_unix
from licenzy.kit.deadline import standing_still
from licenzy.kit.openid_settings import OpenIdSettings

CALL_SECONDS = 5.0
"""For each call to the provider, of which signing in takes three."""
_AT_ONCE, _PATIENCE_SECONDS = 3, 0.25
"""How many callers of one process the provider keeps waiting, and how long others wait to be among them.

Strangers can begin to sign in: while the provider is silent they must not hold all threads.
"""
_DESCRIBED_SECONDS = 600.0
"""How long its description is kept."""
_LEEWAY_SECONDS = 60
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only those with a public key: with `none` or a shared secret anybody could have signed."""
_SECOND_FACTORS = frozenset({"mfa", "otp", "hwk", "swk", "sms", "fpt", "face", "iris", "pop"})
"""What `amr` (RFC 8176) names where more than a password was given."""
_MOST_OF_SUBJECT = 255
"""By OpenID Connect Core, section 2."""
_log = logging.getLogger("licenzy.sign_in")


class ProviderRefused(LicenzyError):
    """The provider did not answer, or what it said proves nothing; what happened is in the log."""

    code = "sign_in_failed"
    status = 502
    message = "Signing in through the provider did not work."
    hint = "Try again. If it fails again, ask the operator of this server to look into its log."


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one sign-in is bound to: whoever comes back must bring it, and the provider must repeat it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def fresh(cls) -> Secrets:
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the provider's signed token names them."""

    issuer: str
    subject: str
    email: str | None
    """Only if the provider has verified it."""
    name: str
    role_claim: object
    gave_second_factor: bool
    authenticated_at: datetime | None
    """When the person last gave their password there, where the provider tells."""


class OpenIdProvider:
    """One provider. Each method may call it, and raises ProviderRefused. Threads share it."""

    def __init__(self, settings: OpenIdSettings, *, redirect_uri: str) -> None:
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._description: tuple[float, Mapping[str, Any]] = (0.0, {})
        """When it was read, and what it says: who opens the sign-in page must not make us ask each time."""
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def authorization_url(self, bound: Secrets, *, again: bool) -> str:
        """Where the person signs in there; `again` has them give their password although they are."""
        more = {"prompt": "login", "max_age": "0"} if again else {}
        try:
            with self._session() as session:
                address = self._described(session)["authorization_endpoint"]
                url, _ = session.create_authorization_url(
                    address, state=bound.state, nonce=bound.nonce, code_verifier=bound.verifier, **more
                )
        except Exception as error:
            raise _refused("its description could not be read", error) from error
        return str(url)

    def identity(self, *, code: str, bound: Secrets, now: datetime) -> Identity:
        """Who came back with this code: the code is exchanged, and the signed token checked."""
        try:
            with self._session() as session:
                described = self._described(session)
                with self._asking():
                    tokens = session.fetch_token(
                        described["token_endpoint"],
                        code=code,
                        code_verifier=bound.verifier,
                        timeout=CALL_SECONDS,
                    )
                    keys = self._read(session, described["jwks_uri"])
            return self._identity(self._checked(tokens["id_token"], keys, bound, now=now))
        except Exception as error:
            raise _refused("its answer could not be used", error) from error

    def _session(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        session = OAuth2Session(
            self._settings.client_id,
            self._settings.client_secret,
            scope="openid email profile",
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )
        session.trust_env = False
        session.max_redirects = 0
        return session

    def _described(self, session: Any) -> Mapping[str, Any]:
        at, known = self._description
        if known and time.monotonic() - at < _DESCRIBED_SECONDS:
            return known
        address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        with self._asking():
            described: dict[str, Any] = self._read(session, address)
        if described.get("issuer") != self._settings.issuer:
            raise ValueError(f"it calls itself {described.get('issuer')!r}")
        self._description = (time.monotonic(), described)
        return described

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """One of the few turns to wait for the provider; what that lasts is not the database's time."""
        if not self._slots.acquire(timeout=_PATIENCE_SECONDS):
            raise TimeoutError("others wait for it already")
        try:
            with standing_still():
                yield
        finally:
            self._slots.release()

    def _read(self, session: Any, address: str) -> Any:
        return _json(session.request("GET", address, timeout=CALL_SECONDS, withhold_token=True))

    def _checked(self, token: str, keys: Any, bound: Secrets, *, now: datetime) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.jwk import KeySet

        decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=list(_ALGORITHMS))
        options = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": self._settings.client_id},
            "nonce": {"essential": True, "value": bound.nonce},
        }
        params = {"nonce": bound.nonce, "client_id": self._settings.client_id}
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(now=int(now.timestamp()), leeway=_LEEWAY_SECONDS)
        return dict(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        email, amr, since = claims.get("email"), claims.get("amr"), claims.get("auth_time")
        verified = claims.get("email_verified") is True
        words = {each for each in amr if isinstance(each, str)} if isinstance(amr, list) else set()
        return Identity(
            issuer=self._settings.issuer,
            subject=_subject(claims["sub"]),
            email=email if isinstance(email, str) and verified else None,
            name=str(claims.get("name") or ""),
            role_claim=claims.get(self._settings.role_claim) if self._settings.role_claim else None,
            gave_second_factor=bool(words & _SECOND_FACTORS),
            authenticated_at=_instant(since),
        )


def _subject(sub: object) -> str:
    if not isinstance(sub, str) or not sub.isprintable() or not 0 < len(sub) <= _MOST_OF_SUBJECT:
        raise ValueError("its id of the person is none")
    return sub


def _instant(seconds: object) -> datetime | None:
    return from_unix(int(seconds)) if isinstance(seconds, int | float) else None


def _json(response: Any) -> Any:
    response.raise_for_status()
    if len(response.content) > 1_000_000:
        raise ValueError("its answer is too long")
    return response.json()


def _refused(what: str, error: Exception) -> ProviderRefused:
    # The kind of the error alone: its text may hold a code or a token.
    _log.warning("the OpenID provider: %s (%s)", what, type(error).__name__)
    return ProviderRefused()
