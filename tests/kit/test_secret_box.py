"""Secrets at rest."""

from __future__ import annotations

import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.kit.secret_box import DecryptionFailed, SecretBox, mask

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
ROW = "connections/con_1/key"


@settings(database=None, deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_secret_opens_for_its_own_row_alone(secret: str) -> None:
    secret_box = SecretBox([OLD])
    sealed = secret_box.encrypt(secret, bound_to=ROW)
    assert secret_box.decrypt(sealed, bound_to=ROW) == secret
    for other in ("connections/con_2/key", "connections/con_1/webhook_secret", "", ROW[:-1], ROW + "x"):
        with pytest.raises(DecryptionFailed, match="another row"):
            secret_box.decrypt(sealed, bound_to=other)


def test_what_is_sealed_shows_nothing_and_never_repeats() -> None:
    secret_box = SecretBox([OLD])
    one, other = (secret_box.encrypt("sk_test_51secret", bound_to=ROW) for _ in range(2))
    assert one != other
    assert one.isascii()
    assert "sk_test" not in one
    assert ROW not in one


def test_rotation_keeps_the_old_key_readable_and_moves_to_the_new_one() -> None:
    sealed = SecretBox([OLD]).encrypt("whsec_1", bound_to=ROW)
    both = SecretBox([NEW, OLD])
    assert both.decrypt(sealed, bound_to=ROW) == "whsec_1"
    rotated = both.rotate(sealed)
    assert SecretBox([NEW]).decrypt(rotated, bound_to=ROW) == "whsec_1"
    assert SecretBox([NEW]).decrypt(both.rotate(rotated), bound_to=ROW) == "whsec_1"
    with pytest.raises(DecryptionFailed, match="another row"):
        SecretBox([NEW]).decrypt(rotated, bound_to="connections/con_2/key")
    with pytest.raises(DecryptionFailed):
        SecretBox([OLD]).decrypt(rotated, bound_to=ROW)


def test_the_newest_key_seals() -> None:
    assert SecretBox([NEW]).decrypt(SecretBox([NEW, OLD]).encrypt("s", bound_to=ROW), bound_to=ROW) == "s"


@pytest.mark.parametrize("method", ["decrypt", "rotate"])
def test_a_wrong_key_is_one_sentence_without_the_secret(method: str) -> None:
    sealed = SecretBox([OLD]).encrypt("sk_test_51secret", bound_to=ROW)
    with pytest.raises(DecryptionFailed, match="no encryption key of this installation") as broken:
        SecretBox([NEW]).rotate(sealed) if method == "rotate" else SecretBox([NEW]).decrypt(
            sealed, bound_to=ROW
        )
    assert "secret" not in str(broken.value)


_BASE64 = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}-_"


def test_every_flipped_character_is_noticed() -> None:
    secret_box = SecretBox([OLD])
    sealed = secret_box.encrypt("s", bound_to=ROW)
    for at in range(len(sealed.rstrip("="))):
        # Its highest bit: the lowest of the last one may stand for nothing.
        other = _BASE64[_BASE64.index(sealed[at]) ^ 32]
        flipped = sealed[:at] + other + sealed[at + 1 :]
        with pytest.raises(DecryptionFailed):
            secret_box.decrypt(flipped, bound_to=ROW)


@pytest.mark.parametrize("sealed", ["", "x", "é", "gAAAAA==", "\x00", "sk_test_51plain", "=" * 100])
def test_what_was_never_sealed(sealed: str) -> None:
    with pytest.raises(DecryptionFailed):
        SecretBox([OLD]).decrypt(sealed, bound_to=ROW)
    with pytest.raises(DecryptionFailed):
        SecretBox([OLD]).rotate(sealed)


def test_a_mask_shows_the_end_and_a_prefix_if_asked() -> None:
    assert mask("sk_test_51abcdefgh4242") == "…4242"
    assert mask("sk_test_51abcdefgh4242", shown_prefix=8) == "sk_test_…4242"
