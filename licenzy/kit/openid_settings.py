"""What an installation says of its OpenID provider. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from licenzy.kit.hosts import is_loopback

ROLES = ("viewer", "support", "admin", "owner")
ANYBODY = "*"
"""A value of the claim that everybody has whom the provider knows."""
_PREFIX = "LICENZY_OIDC_"


@dataclass(frozen=True, slots=True)
class OpenIdSettings:
    """One provider, and what its people may do here."""

    issuer: str
    """Its address, as its tokens name it."""
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    """What the sign-in page calls it."""
    role_claim: str | None
    """The claim that says what a person may do; None where only people sign in who were invited."""
    roles: Mapping[str, str]
    """The role of each value of that claim."""

    def role_of(self, claim: object) -> str | None:
        """The highest role that the values of the claim give; None for none."""
        values = claim if isinstance(claim, list) else [claim]
        given = {self.roles[value] for value in values if isinstance(value, str) and value in self.roles}
        if ANYBODY in self.roles:
            given.add(self.roles[ANYBODY])
        return max(given, key=ROLES.index, default=None)


def openid_settings(env: Mapping[str, str]) -> OpenIdSettings | None:
    """Read the `LICENZY_OIDC_…` variables; None where none is set. Raises ValueError with one sentence."""
    given = {name: env.get(_PREFIX + name, "").strip() for name in _NAMES}
    if not any(given.values()):
        return None
    for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"):
        if not given[name]:
            raise ValueError(f"{_PREFIX}{name} must be set too, to sign in through an OpenID provider.")
    issuer, roles = given["ISSUER"], _roles(given["ROLES"])
    if not _is_issuer(issuer):
        raise ValueError(f"{_PREFIX}ISSUER must be an https:// address without a query.")
    if bool(given["ROLE_CLAIM"]) != bool(roles):
        raise ValueError(f"{_PREFIX}ROLE_CLAIM and {_PREFIX}ROLES must be set together.")
    return OpenIdSettings(
        issuer=issuer,
        client_id=given["CLIENT_ID"],
        client_secret=given["CLIENT_SECRET"],
        name=given["NAME"] or urlsplit(issuer).hostname or issuer,
        role_claim=given["ROLE_CLAIM"] or None,
        roles=roles,
    )


_NAMES = ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "NAME", "ROLE_CLAIM", "ROLES")


def _is_issuer(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    return safe and bool(host) and not parts.query and not parts.fragment and "@" not in parts.netloc


def _roles(text: str) -> dict[str, str]:
    """`staff=viewer,licenzy-admins=admin` as a table."""
    roles: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, mark, role = (each.strip() for each in part.rpartition("="))
        if not mark or not value or role not in ROLES:
            raise ValueError(
                f"{_PREFIX}ROLES must be pairs such as staff=viewer,billing=admin, with the roles "
                "viewer, support, admin and owner."
            )
        roles[value] = role
    return roles
