"""How people sign in: sessions, tries, second factors, passkeys and identities at a provider."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Index
from sqlmodel import Field

from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class SignInMethod(StrEnum):
    """What opened a session."""

    PASSWORD = "password"
    PASSKEY = "passkey"
    SINGLE_SIGN_ON = "single_sign_on"


class SignInSession(Table, table=True):
    """One browser that is signed in. Its cookie holds a random token; here is only the token's hash."""

    __tablename__ = "sign_in_sessions"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    token_hash: str = Field(unique=True)
    """SHA-256 of the token, in hex."""
    created_at: datetime = Field(sa_type=Instant)
    last_seen_at: datetime = Field(sa_type=Instant)
    """Written at most once in `rules.SEEN_EVERY`."""
    authenticated_at: datetime = Field(sa_type=Instant)
    """When the person last proved who they are; credentials may be changed for a while after it."""
    second_factor_at: datetime | None = Field(default=None, sa_type=Instant)
    """When a second factor was last given; None for a session that a password alone opened."""
    expires_at: datetime = Field(sa_type=Instant)
    """The absolute end, whatever the activity."""
    revoked_at: datetime | None = Field(default=None, sa_type=Instant)
    ip: str | None = None
    user_agent: str = ""
    unheeded_header: str | None = None
    """The header by which a proxy named another client address, where no proxy is trusted to."""
    method: SignInMethod = Field(
        default=SignInMethod.PASSWORD,
        sa_type=Word(SignInMethod),
        sa_column_kwargs={"server_default": SignInMethod.PASSWORD.value},
    )


class PasswordTries(Table, table=True):
    """The recent wrong passwords for one account, network address, known device or session."""

    __tablename__ = "password_tries"

    key: str = Field(primary_key=True)
    """A hash of what was tried; see `rules.Throttle`."""
    tries: list[int] = Field(default=[], sa_type=JSON)
    """Microseconds since 1970 of each; those that count no more go with the next."""
    forget_at: datetime = Field(sa_type=Instant, index=True)
    """When none of them counts any more."""


class ChallengeKind(StrEnum):
    """What a sign-in that has begun waits for."""

    SECOND_FACTOR = "second_factor"
    PASSKEY_SIGN_IN = "passkey_sign_in"
    PASSKEY_CREATION = "passkey_creation"


class SignInChallenge(Table, table=True):
    """What one browser has begun and must finish within minutes; its cookie holds a random token."""

    __tablename__ = "sign_in_challenges"

    token_hash: str = Field(primary_key=True)
    """SHA-256 of the token, in hex."""
    kind: ChallengeKind = Field(sa_type=Word(ChallengeKind))
    user_id: str | None = Field(default=None, foreign_key="users.id", index=True)
    """Whose password proved right; None where nobody is known yet."""
    secrets: str | None = None
    """What the answer is checked with (a challenge, a nonce, a verifier), encrypted."""
    password_stamp: str | None = None
    """Of the password that proved right (`rules.password_stamp`): another one ends what was begun."""
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant, index=True)
    used_at: datetime | None = Field(default=None, sa_type=Instant)


class TotpFactor(Table, table=True):
    """An authenticator app of a person: it shares a secret with us and shows codes of 30 seconds."""

    __tablename__ = "totp_factors"

    user_id: str = Field(foreign_key="users.id", primary_key=True)
    secret: str
    """In base32, encrypted."""
    created_at: datetime = Field(sa_type=Instant)
    confirmed_at: datetime | None = Field(default=None, sa_type=Instant)
    """When its first code proved right; before, it opens nothing and stops nobody."""
    last_step: int = 0
    """The number of the 30 seconds whose code was last taken: no code counts twice."""


class RecoveryCode(Table, table=True):
    """A code that stands for a lost second factor, once."""

    __tablename__ = "recovery_codes"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    code_hash: str
    """SHA-256 of the code, in hex: it is random enough for that."""
    created_at: datetime = Field(sa_type=Instant)
    used_at: datetime | None = Field(default=None, sa_type=Instant)


class Passkey(Table, table=True):
    """A key pair that a person's device keeps; here is its public half."""

    __tablename__ = "passkeys"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", index=True)
    name: str
    credential_id: str = Field(unique=True)
    """Base64url, as browsers send it."""
    public_key: str
    """COSE, in base64url."""
    sign_count: int = Field(default=0, sa_type=BigInteger)
    """Its standard has 32 bits without a sign for it."""
    transports: list[str] = Field(default=[], sa_type=JSON)
    created_at: datetime = Field(sa_type=Instant)
    last_used_at: datetime | None = Field(default=None, sa_type=Instant)


class ProviderIdentity(Table, table=True):
    """A person as an OpenID provider knows them."""

    __tablename__ = "provider_identities"
    __table_args__ = (Index("ix_provider_identities_user_id", "user_id"),)

    issuer: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    """The provider's own stable id of the person (`sub`)."""
    user_id: str = Field(foreign_key="users.id")
    created_at: datetime = Field(sa_type=Instant)
    last_used_at: datetime = Field(sa_type=Instant)
