from __future__ import annotations

import hashlib
import re
import secrets

import pytest

from licenzy.alignment.modes import Mode
from licenzy.api_keys import rules
from licenzy.errors import ApiKeyInvalid, InvalidRequest, StripeKeySent


def make_key(mode: Mode) -> str:
    return rules.make_key(mode, secrets.token_bytes(rules.SECRET_BYTES))


@pytest.mark.parametrize("mode", list(Mode))
def test_a_key_has_the_published_form(mode: Mode) -> None:
    key = make_key(mode)
    assert re.fullmatch(rf"lz_{mode.value}_[0-9A-Za-z]{{49}}", key)
    assert rules.presented_hash(key) == hashlib.sha256(key.encode()).hexdigest()


def test_every_bit_of_the_secret_is_in_the_key() -> None:
    secrets_of_one_bit = [(1 << bit).to_bytes(rules.SECRET_BYTES, "big") for bit in range(256)]
    assert len({rules.make_key(Mode.TEST, secret) for secret in secrets_of_one_bit}) == 256


def test_every_single_typo_is_refused_without_a_database() -> None:
    key = make_key(Mode.LIVE)
    for place in range(8, len(key)):
        other = "a" if key[place] != "a" else "b"
        with pytest.raises(ApiKeyInvalid):
            rules.presented_hash(key[:place] + other + key[place + 1 :])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "lz_test_",
        "lz_test_short",
        "lz_prod_" + "a" * 49,
        "LZ_TEST_" + "a" * 49,
        "lz_test_" + "a" * 49,
        "lz_test_" + "é" * 49,
        "lz_test_" + "٣" * 49,
        "\x00" * 57,
        "\ud800" * 57,
        "x" * 100_000,
        "pk_test_abcdefghijklmnop",
        "Bearer lz_test_abc",
    ],
)
def test_anything_else_is_invalid_and_never_another_error(token: str) -> None:
    with pytest.raises(ApiKeyInvalid):
        rules.presented_hash(token)


def test_a_key_with_more_around_it_is_invalid() -> None:
    key = make_key(Mode.TEST)
    for token in (key + "\n", key + "a", " " + key, key[:-1]):
        with pytest.raises(ApiKeyInvalid):
            rules.presented_hash(token)


@pytest.mark.parametrize("token", ["sk_test_abc", "sk_live_abc", "rk_live_abc", "sk_org_live_x", "sk_"])
def test_a_key_of_stripes_is_named(token: str) -> None:
    with pytest.raises(StripeKeySent) as refused:
        rules.presented_hash(token)
    assert token not in refused.value.message + (refused.value.hint or "") or token == "sk_"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\nb", "a\x00b", "a\u202eb"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules.checked_name(name)
    assert "name" in refused.value.fields


def test_a_name_loses_its_outer_spaces() -> None:
    assert rules.checked_name("  backend  ") == "backend"


def test_the_mask_shows_the_last_four_only() -> None:
    assert rules.masked(Mode.TEST, "a1B2") == "lz_test_…a1B2"
