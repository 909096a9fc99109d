"""The settings of the OpenID provider: whole, or refused with one sentence."""

from __future__ import annotations

import pytest

from licenzy.kit.openid_settings import openid_settings

WHOLE = {
    "LICENZY_OIDC_ISSUER": "https://accounts.example.com/realms/one",
    "LICENZY_OIDC_CLIENT_ID": "licenzy",
    "LICENZY_OIDC_CLIENT_SECRET": "a secret",
}
WITH_ROLES = {**WHOLE, "LICENZY_OIDC_ROLE_CLAIM": "groups", "LICENZY_OIDC_ROLES": "a=b=admin, staff=viewer"}


def test_without_any_there_is_no_provider() -> None:
    assert openid_settings({"LICENZY_PORT": "8000", "LICENZY_OIDC_ISSUER": " "}) is None


def test_its_name_is_its_host_unless_given() -> None:
    whole = openid_settings(WHOLE)
    assert whole is not None
    assert (whole.name, whole.role_claim, whole.roles) == ("accounts.example.com", None, {})
    assert "a secret" not in repr(whole)
    named = openid_settings({**WHOLE, "LICENZY_OIDC_NAME": "Example Ltd"})
    assert named is not None
    assert named.name == "Example Ltd"


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("staff", "viewer"),
        (["staff", "a=b"], "admin"),
        (["a=b", "staff"], "admin"),
        (["guests"], None),
        ([], None),
        (None, None),
        ([{"staff": True}, 7], None),
        ({"staff": True}, None),
    ],
)
def test_the_highest_role_of_the_claim_counts(claim: object, role: str | None) -> None:
    whole = openid_settings(WITH_ROLES)
    assert whole is not None
    assert whole.role_of(claim) == role
    anybody = openid_settings({**WITH_ROLES, "LICENZY_OIDC_ROLES": "*=viewer,staff=support"})
    assert anybody is not None
    assert anybody.role_of(["guests"]) == "viewer"
    assert anybody.role_of(["staff"]) == "support"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"LICENZY_OIDC_CLIENT_ID": ""}, "LICENZY_OIDC_CLIENT_ID"),
        ({"LICENZY_OIDC_CLIENT_SECRET": ""}, "LICENZY_OIDC_CLIENT_SECRET"),
        ({"LICENZY_OIDC_ISSUER": ""}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ISSUER": "http://accounts.example.com"}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ISSUER": "https://user@accounts.example.com"}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ISSUER": "https://accounts.example.com?x=1"}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ISSUER": "https://["}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ISSUER": "accounts.example.com"}, "LICENZY_OIDC_ISSUER"),
        ({"LICENZY_OIDC_ROLES": "staff=viewer"}, "LICENZY_OIDC_ROLE_CLAIM"),
        ({"LICENZY_OIDC_ROLE_CLAIM": "groups"}, "LICENZY_OIDC_ROLES"),
        ({"LICENZY_OIDC_ROLE_CLAIM": "groups", "LICENZY_OIDC_ROLES": "staff"}, "LICENZY_OIDC_ROLES"),
        ({"LICENZY_OIDC_ROLE_CLAIM": "groups", "LICENZY_OIDC_ROLES": "staff=root"}, "LICENZY_OIDC_ROLES"),
        ({"LICENZY_OIDC_ROLE_CLAIM": "groups", "LICENZY_OIDC_ROLES": "=viewer"}, "LICENZY_OIDC_ROLES"),
    ],
)
def test_what_is_half_set_or_wrong_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        openid_settings({**WHOLE, **changes})
