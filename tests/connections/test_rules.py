from __future__ import annotations

import pytest

from licenzy.alignment.modes import Mode
from licenzy.connections import rules
from licenzy.connections.models import Provider

BODY = "51AbcDefGhiJklMnoPqrStuv"


@pytest.mark.parametrize("head", ["sk", "rk"])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("around", ["{}", "  {}\n", '"{}"', "'{}' "])
def test_a_key_of_this_mode_is_taken_without_what_is_around_it(head: str, mode: Mode, around: str) -> None:
    key = f"{head}_{mode.value}_{BODY}"
    assert rules.checked_stripe_key(around.format(key), mode) == key


@pytest.mark.parametrize(
    ("pasted", "reason", "says"),
    [
        ("", "key_missing", "sk_test_"),
        (f"sk_live_{BODY}", "key_of_other_mode", "live mode key"),
        (f"rk_live_{BODY}", "key_of_other_mode", "rk_test_"),
        (f"pk_test_{BODY}", "publishable_key_as_key", "publishable"),
        (f"pk_live_{BODY}", "publishable_key_as_key", "publishable"),
        (f"sk_org_test_{BODY}", "organization_key_as_key", "organization"),
        (f"sk_org_{BODY}", "organization_key_as_key", "organization"),
        (f"whsec_{BODY}", "webhook_secret_as_key", "webhook step"),
        (f"price_{BODY}", "price_id_as_key", "price ID"),
        (f"prod_{BODY}", "product_id_as_key", "product ID"),
        (f"lz_test_{BODY}", "licenzy_key_as_key", "Licenzy API key"),
        ("hello", "key_unknown", "not a Stripe key"),
        ("sk_test_…4242", "key_malformed", "whole key"),
        ("sk_test_short", "key_malformed", "whole key"),
        (f"sk_test_{BODY} {BODY}", "key_malformed", "whole key"),
        (f"sk_test_{'é' * 30}", "key_malformed", "whole key"),
    ],
)
def test_what_else_is_pasted_is_named(pasted: str, reason: str, says: str) -> None:
    with pytest.raises(rules.CredentialRefused) as refused:
        rules.checked_stripe_key(pasted, Mode.TEST)
    assert refused.value.reason == reason
    assert says in refused.value.message
    assert refused.value.fields == {"stripe_key": refused.value.message}
    assert BODY not in refused.value.message


@pytest.mark.parametrize(
    ("typed", "good", "says"),
    [
        ("", None, ""),
        ("s", None, ""),
        ("sk_test", None, ""),
        ("sk_test_", True, "begins like a Stripe secret key for test mode"),
        ("rk_test_51Ab", True, "begins like a Stripe restricted key for test mode"),
        (f"  'sk_test_{BODY}' ", True, "This is a Stripe secret key for test mode."),
        (f"\ufeff“sk_test_{BODY}”\u200b\u00a0", True, "This is a Stripe secret key for test mode."),
        ("sk_test_51Abc…4242", False, "too short"),
        ("sk_live_", False, "live mode key"),
        ("pk_test_", False, "publishable key"),
        ("sk_org_test_", False, "organization key"),
        ("whsec_abc", False, "webhook step"),
        ("price_1Q", False, "products step"),
        ("lz_test_abc", False, "Licenzy API key"),
        ("hello world", False, "not a Stripe key"),
    ],
)
def test_what_a_key_is_shows_while_it_is_typed(typed: str, good: bool | None, says: str) -> None:
    verdict = rules.key_verdict(typed, Mode.TEST)
    assert (verdict and verdict.good) is good
    assert says in (verdict.says if verdict else "")


@pytest.mark.parametrize("secret", ["whsec_" + "a" * 32, "whsec_" + "A1+/=_-z" * 4])
def test_a_signing_secret_is_taken(secret: str) -> None:
    assert rules.checked_webhook_secret(f" {secret}\n") == secret


@pytest.mark.parametrize(
    ("pasted", "reason", "says"),
    [
        ("", "secret_missing", "whsec_"),
        (f"sk_test_{BODY}", "secret_key_as_secret", "a Stripe secret key"),
        (f"rk_live_{BODY}", "restricted_key_as_secret", "restricted key"),
        (f"pk_test_{BODY}", "publishable_key_as_secret", "publishable"),
        (f"lz_test_{BODY}", "licenzy_key_as_secret", "Licenzy API key"),
        ("price_123", "price_id_as_secret", "price ID"),
        ("we_1AbcDef", "endpoint_id_pasted", "endpoint's ID"),
        ("https://app.example.com/hook", "address_pasted", "URL"),
        ("hello", "unknown_as_secret", "something else"),
        ("whsec_", "secret_malformed", "too short"),
        ("whsec_abc…def_0123456789", "secret_malformed", "other characters"),
        (f"whsec_{'a' * 300}", "secret_malformed", "too long"),
    ],
)
def test_what_else_is_pasted_as_secret_is_named(pasted: str, reason: str, says: str) -> None:
    with pytest.raises(rules.CredentialRefused) as refused:
        rules.checked_webhook_secret(pasted)
    assert refused.value.reason == reason
    assert says in refused.value.message
    assert set(refused.value.fields) == {"webhook_secret"}


@pytest.mark.parametrize(
    ("provider", "mode", "base_url", "possible"),
    [
        (Provider.SANDBOX, Mode.TEST, "http://127.0.0.1:8000", True),
        (Provider.STRIPE, Mode.TEST, "http://127.0.0.1:8000", False),
        (Provider.STRIPE, Mode.TEST, "http://localhost:8000", False),
        (Provider.STRIPE, Mode.TEST, "http://[::1]:8000", False),
        (Provider.STRIPE, Mode.TEST, "http://app.example.com", True),
        (Provider.STRIPE, Mode.LIVE, "http://app.example.com", False),
        (Provider.STRIPE, Mode.LIVE, "https://app.example.com", True),
    ],
)
def test_where_stripe_can_send_to(provider: Provider, mode: Mode, base_url: str, possible: bool) -> None:
    assert (rules.registration_problem(provider, mode, base_url) is None) is possible


def test_the_line_for_the_stripe_command_names_the_address_and_all_events() -> None:
    address = rules.endpoint_address("http://127.0.0.1:8000", "con_1")
    line = rules.forwarding_command(address)
    assert line.endswith("--forward-to http://127.0.0.1:8000/v1/webhooks/stripe/con_1")
    assert all(name in line for name in rules.REQUIRED_EVENTS)


def test_the_end_of_trials_is_required_only_with_trials() -> None:
    with_trials = rules.required_events(has_trials=True)
    assert set(with_trials) - set(rules.required_events(has_trials=False)) == {rules.TRIAL_WILL_END}
    assert rules.TRIAL_WILL_END in rules.forwarding_command("http://127.0.0.1:8000/")


def test_the_required_events_are_those_of_the_contract() -> None:
    assert len(rules.REQUIRED_EVENTS) == len(set(rules.REQUIRED_EVENTS)) == 25


@pytest.mark.parametrize(
    ("known", "seen", "saved", "changes"),
    [
        (None, "acct_1", False, False),
        ("acct_1", "acct_1", True, False),
        ("acct_1", "acct_2", True, True),
        ("acct_1", None, True, True),
        (None, "acct_1", True, True),
        (None, None, True, False),
    ],
)
def test_when_a_key_may_be_of_another_account(
    known: str | None, seen: str | None, saved: bool, changes: bool
) -> None:
    assert rules.account_changes(known, seen, key_was_saved=saved) is changes


def test_masks_show_the_last_four_only() -> None:
    assert rules.masked_key(f"sk_test_{BODY}") == "sk_test_…Stuv"
    assert rules.masked_secret("whsec_abcdefgh9f3c") == "whsec_…9f3c"
