"""What browsers are asked to do with passkeys, and whether what they answer is right: the WebAuthn standard.

The library is imported at the first use: it takes a quarter of a second, and most people never need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from licenzy.errors import InvalidRequest
from licenzy.workspace.models import User
from licenzy.workspace.sign_in_models import Passkey

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

NAME = "Licenzy"
_SECONDS = 300
_ID_MAX = 1023
"""In bytes, as the standard has it: an index takes only so much."""


class PasskeyRefused(InvalidRequest):
    message = "This passkey could not be verified."
    hint = "Try again. If it happens again, use your password."


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """This installation as browsers know it: a passkey works for one host name and no other."""

    host: str
    origin: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """The public half of a key pair that a device has just made; see `Passkey`."""

    credential_id: str
    public_key: str
    sign_count: int
    transports: list[str]


def relying_party(base_url: str) -> RelyingParty | None:
    """The installation at this address; None where browsers take no passkeys.

    They want a host name, and a connection that nobody listens to: https, or this machine itself.
    """
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    try:
        ip_address(host)
    except ValueError:
        own = host == "localhost" or host.endswith(".localhost")
        if host and (parts.scheme == "https" or own):
            usual = {"http": 80, "https": 443}[parts.scheme]
            port = f":{parts.port}" if parts.port not in (None, usual) else ""
            return RelyingParty(host, f"{parts.scheme}://{host}{port}")
    return None


def creation_options(party: RelyingParty, user: User, passkeys: Sequence[Passkey], challenge: bytes) -> str:
    """What `navigator.credentials.create` is to be called with, as JSON."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.host,
        rp_name=NAME,
        user_id=user.id.encode(),
        user_name=user.email,
        user_display_name=user.name,
        challenge=challenge,
        timeout=_SECONDS * 1000,
        exclude_credentials=_descriptors(passkeys),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return options_to_json(options)


def request_options(party: RelyingParty, passkeys: Sequence[Passkey], challenge: bytes) -> str:
    """What `navigator.credentials.get` is to be called with, as JSON. Without passkeys, any may answer."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=party.host,
        challenge=challenge,
        timeout=_SECONDS * 1000,
        allow_credentials=_descriptors(passkeys),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verified_creation(party: RelyingParty, credential: str, challenge: bytes) -> NewKey:
    """The key that a device made for us, when it is what we asked for. Raises PasskeyRefused."""
    from webauthn import verify_registration_response
    from webauthn.helpers import bytes_to_base64url, parse_registration_credential_json
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        parsed = parse_registration_credential_json(credential)
        made = verify_registration_response(
            credential=parsed,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, LookupError, TypeError, RecursionError):
        raise PasskeyRefused from None
    if len(made.credential_id) > _ID_MAX:
        raise PasskeyRefused
    return NewKey(
        credential_id=bytes_to_base64url(made.credential_id),
        public_key=bytes_to_base64url(made.credential_public_key),
        sign_count=made.sign_count,
        transports=[each.value for each in parsed.response.transports or []],
    )


def credential_id_of(credential: str) -> str:
    """Which passkey answers, by what it says itself. Raises PasskeyRefused."""
    from webauthn.helpers import bytes_to_base64url, parse_authentication_credential_json
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        return bytes_to_base64url(parse_authentication_credential_json(credential).raw_id)
    except (WebAuthnException, ValueError, LookupError, TypeError, RecursionError):
        raise PasskeyRefused from None


def verified_count(party: RelyingParty, passkey: Passkey, credential: str, challenge: bytes) -> int:
    """The passkey's counter after it signed our challenge, here, for its verified person.

    Raises PasskeyRefused, also where the counter did not rise: then somebody has a copy of the key.
    """
    from webauthn import verify_authentication_response
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        answer = verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=base64url_to_bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, LookupError, TypeError, RecursionError):
        raise PasskeyRefused from None
    return answer.new_sign_count


def _descriptors(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(each.credential_id),
            transports=[AuthenticatorTransport(way) for way in each.transports],
        )
        for each in passkeys
    ]
