"""A security key in software: it makes passkeys and signs challenges, rightly or as a test wants it wrong."""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

ORIGIN = "http://localhost:8000"
_PRESENT, _VERIFIED, _WITH_KEY = 0x01, 0x04, 0x40


class SecurityKey:
    """One passkey, kept by one device."""

    def __init__(self) -> None:
        self.id = secrets.token_bytes(16)
        self.count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def creates(self, options: str, *, origin: str = ORIGIN, **wrong: Any) -> str:
        """What a browser answers to the options of a creation."""
        asked = json.loads(options)
        public = self._key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: public.x.to_bytes(32, "big"), -3: public.y.to_bytes(32, "big")}
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor2.dumps(cose)
        data = self._data(asked["rp"]["id"], flags=_WITH_KEY, **wrong) + attested
        attestation = {"fmt": "none", "attStmt": {}, "authData": data}
        client = _client("webauthn.create", asked["challenge"], origin)
        return self._credential(
            attestationObject=bytes_to_base64url(cbor2.dumps(attestation)),
            clientDataJSON=bytes_to_base64url(client),
            transports=["usb"],
        )

    def signs(self, options: str, *, origin: str = ORIGIN, challenge: str | None = None, **wrong: Any) -> str:
        """What a browser answers to the options of a sign-in."""
        asked = json.loads(options)
        self.count += 1
        data = self._data(asked["rpId"], **wrong)
        client = _client("webauthn.get", challenge or asked["challenge"], origin)
        signature = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            authenticatorData=bytes_to_base64url(data),
            clientDataJSON=bytes_to_base64url(client),
            signature=bytes_to_base64url(signature),
            userHandle=None,
        )

    def _data(self, host: str, *, flags: int = 0, verified: bool = True, count: int | None = None) -> bytes:
        flags |= _PRESENT | (_VERIFIED if verified else 0)
        counted = self.count if count is None else count
        return hashlib.sha256(host.encode()).digest() + struct.pack(">BI", flags, counted)

    def _credential(self, **response: Any) -> str:
        name = bytes_to_base64url(self.id)
        return json.dumps(
            {
                "id": name,
                "rawId": name,
                "type": "public-key",
                "clientExtensionResults": {},
                "response": response,
            }
        )


def _client(kind: str, challenge: str, origin: str) -> bytes:
    assert base64url_to_bytes(challenge)
    return json.dumps({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}).encode()
