"""Secrets of endpoints: named by an environment variable, or made and shown once; never in a file."""

from __future__ import annotations

import json

import pytest

from licenzy.deliveries.signing import signing_secrets
from tests.configuration.conftest import Shop

FIRST = "whsec_" + "QUFB" * 8
SECOND = "whsec_" + "QkJC" * 8
HOOK = """
[[endpoint]]
url = "https://example.com/hooks"
types = ["usage.low"]
secret_env = "HOOK_SECRET"
"""


def secrets_of(shop: Shop) -> list[str]:
    (endpoint,) = shop.endpoints()
    return signing_secrets(shop.runtime.secret_box, endpoint, now=shop.clock())


def test_the_secret_comes_from_the_environment(shop: Shop) -> None:
    made = shop.apply(HOOK, env={"HOOK_SECRET": FIRST})
    assert (made.exit_code, secrets_of(shop)) == (0, [FIRST])
    assert "secret: from HOOK_SECRET" in made.stdout
    assert FIRST not in made.output
    assert shop.apply(HOOK, "--dry-run", env={"HOOK_SECRET": FIRST}).exit_code == 0
    assert FIRST not in shop.exported()
    assert "secret" not in shop.exported()


def test_another_secret_replaces_it_and_the_former_one_signs_for_a_day(shop: Shop) -> None:
    shop.applied(HOOK, env={"HOOK_SECRET": FIRST})
    report = shop.applied(HOOK, env={"HOOK_SECRET": SECOND})
    assert report["endpoints"][0]["secret_changes"] is True
    assert (report["secrets"], FIRST in json.dumps(report), SECOND in json.dumps(report)) == (
        [],
        False,
        False,
    )
    assert secrets_of(shop) == [SECOND, FIRST]
    shop.clock.advance(hours=25)
    assert secrets_of(shop) == [SECOND]


def test_without_a_name_the_secret_is_kept(shop: Shop) -> None:
    shop.applied(HOOK, env={"HOOK_SECRET": FIRST})
    assert not shop.differs(HOOK.replace('secret_env = "HOOK_SECRET"\n', ""))
    assert secrets_of(shop) == [FIRST]


def test_a_new_secret_is_shown_once(shop: Shop) -> None:
    plain = HOOK.replace('secret_env = "HOOK_SECRET"\n', "")
    result = shop.apply(plain)
    (secret,) = secrets_of(shop)
    assert result.stdout.count(secret) == 1
    assert "This secret of https://example.com/hooks is shown only once." in result.stdout
    assert secret not in shop.apply(plain).output
    assert secret not in json.dumps(shop.applied(plain))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("", "HOOK_SECRET is not set. Set it to the secret of the endpoint."),
        (
            "hunter2",
            "HOOK_SECRET must be whsec_ and 24 to 64 random bytes in base64, as Standard Webhooks has it.",
        ),
        (
            "whsec_QUFB",
            "HOOK_SECRET must be whsec_ and 24 to 64 random bytes in base64, as Standard Webhooks has it.",
        ),
    ],
)
def test_a_variable_without_a_secret_is_refused(shop: Shop, value: str, sentence: str) -> None:
    assert shop.refused(HOOK, env={"HOOK_SECRET": value}) == (
        f"shop.toml: endpoint https://example.com/hooks: The environment variable {sentence}"
    )
    assert shop.endpoints() == []
