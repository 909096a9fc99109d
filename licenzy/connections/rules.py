"""What may be saved as a Stripe key or webhook secret, and what Stripe must send us. Pure."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from licenzy.alignment.facts import ConnectionFacts, FetchFacts
from licenzy.alignment.modes import Classified, Credential, Mode, classify
from licenzy.connections.models import Connection, Provider
from licenzy.errors import InvalidRequest
from licenzy.kit.hosts import is_loopback

REQUIRED_EVENTS: tuple[str, ...] = (
    "checkout.session.completed",
    "checkout.session.expired",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "invoice_payment.paid",
    "price.updated",
    "price.deleted",
    "product.updated",
    "product.deleted",
)
"""Every event that can change who has access; an endpoint at Stripe subscribes to all of them, always."""

TRIAL_WILL_END = "customer.subscription.trial_will_end"
"""What Stripe sends three days before a trial ends; needed only while a product has a trial."""

CLOCK_MOVED = "test_helpers.test_clock.ready"
"""How the sandbox tells that its account's clock was moved; Stripe itself sends none for an account."""

SECRET_OVERLAP = timedelta(hours=24)
"""How long a replaced webhook secret still verifies: Stripe may sign with the old one for a day."""

_KEY_SHAPE = re.compile(r"[sr]k_(?:test|live)_[0-9A-Za-z]{10,255}", re.ASCII)
_SECRET_SHAPE = re.compile(r"whsec_[0-9A-Za-z+/=_-]{16,255}", re.ASCII)
_AROUND = string.whitespace + "\"'“”\u00a0\u200b\u200c\u200d\u2060\ufeff"
_LONGEST_PREFIX = len("sk_live_")
_COMPLETE_FROM = _LONGEST_PREFIX + 9
"""Up to so many characters a key is still being typed, and too short for `_KEY_SHAPE`."""


NOTHING_PASTED = frozenset({"key_missing", "secret_missing"})
"""The reasons of `CredentialRefused` for an empty field."""


class CredentialRefused(InvalidRequest):
    """A pasted credential that cannot be saved; `reason` is a stable word for it, `field` the form's."""

    def __init__(self, reason: str, *, field: str, message: str) -> None:
        super().__init__(message, fields={field: message})
        self.reason = reason
        self.field = field


def required_events(*, has_trials: bool) -> tuple[str, ...]:
    """What an endpoint at Stripe must subscribe to, by whether a product of the side has a trial."""
    return (*REQUIRED_EVENTS, TRIAL_WILL_END) if has_trials else REQUIRED_EVENTS


def wanted_events(provider: Provider, *, has_trials: bool) -> tuple[str, ...]:
    """What an endpoint at this provider subscribes to."""
    required = required_events(has_trials=has_trials)
    return (*required, CLOCK_MOVED) if provider is Provider.SANDBOX else required


def checked_stripe_key(pasted: str, mode: Mode) -> str:
    """The key without outer spaces and quotes. Raises CredentialRefused, naming what was pasted instead."""
    key = _unwrapped(pasted)
    if not key:
        raise _key_refused("key_missing", f"Paste a Stripe secret key. It begins with sk_{mode.value}_.")
    found = classify(key)
    if not found.usable_as_stripe_key:
        raise _key_refused(*_not_a_stripe_key(found, mode))
    if found.mode is not mode:
        raise _key_refused(
            "key_of_other_mode",
            f"This is a {mode.other.value} mode key. Paste the key that begins with "
            f"{key[:2]}_{mode.value}_, or save this one in {mode.other.value} mode.",
        )
    if not _KEY_SHAPE.fullmatch(key):
        raise _key_refused(
            "key_malformed",
            "This begins like a Stripe key, but it is too short or has characters other than letters and "
            "digits. Copy the whole key again. The list in Stripe shows it shortened.",
        )
    return key


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """What a key turns out to be while it is being typed; nothing is said of what nobody can tell yet."""

    good: bool
    says: str


def key_verdict(typed: str, mode: Mode) -> KeyVerdict | None:
    """The same judgement that saving makes, without asking Stripe."""
    key = _unwrapped(typed)
    found = classify(key)
    if not key or (found.credential is Credential.UNKNOWN and len(key) < _LONGEST_PREFIX):
        return None
    if found.usable_as_stripe_key and found.mode is mode and len(key) <= _COMPLETE_FROM:
        return KeyVerdict(True, f"This begins like {_CALLED[found.credential]} for {mode.value} mode.")
    try:
        checked_stripe_key(key, mode)
    except CredentialRefused as refused:
        return KeyVerdict(False, refused.message)
    return KeyVerdict(True, f"This is {_CALLED[found.credential]} for {mode.value} mode.")


def checked_webhook_secret(pasted: str) -> str:
    """The signing secret without outer spaces and quotes. Raises CredentialRefused."""
    secret = _unwrapped(pasted)
    if not secret:
        raise secret_refused("secret_missing", "Paste the endpoint's signing secret. It begins with whsec_.")
    if secret.startswith("we_"):
        raise secret_refused(
            "endpoint_id_pasted",
            "This is the endpoint's ID. Its signing secret begins with whsec_. Stripe shows it on the same "
            "page, behind “Reveal”.",
        )
    if secret.startswith(("http://", "https://")):
        raise secret_refused(
            "address_pasted", "This is a URL. The endpoint's signing secret begins with whsec_."
        )
    if not secret.startswith("whsec_"):
        what = _CALLED[classify(secret).credential]
        raise secret_refused(
            f"{classify(secret).credential.value}_as_secret",
            f"This is {what}, not a webhook signing secret. The signing secret begins with whsec_. "
            "Stripe shows it on the endpoint's page.",
        )
    if not _SECRET_SHAPE.fullmatch(secret):
        raise secret_refused(
            "secret_malformed",
            "This begins like a signing secret, but it is too short or too long, or it has other "
            "characters. Copy it again with the copy button in Stripe.",
        )
    return secret


def secret_refused(reason: str, message: str) -> CredentialRefused:
    """A refusal at the field for the webhook signing secret."""
    return CredentialRefused(reason, field="webhook_secret", message=message)


def masked_key(key: str) -> str:
    """`sk_test_…4242`."""
    return f"{key[:8]}…{key[-4:]}"


def masked_secret(secret: str) -> str:
    """`whsec_…9f3c`."""
    return f"whsec_…{secret[-4:]}"


def endpoint_address(base_url: str, connection_id: str) -> str:
    """Where Stripe must send this connection's events."""
    return f"{base_url}/v1/webhooks/stripe/{connection_id}"


def registration_problem(provider: Provider, mode: Mode, base_url: str) -> str | None:
    """Why an endpoint cannot be set up at this provider by a click; none when it can."""
    if provider is Provider.SANDBOX:
        return None
    parts = urlsplit(base_url)
    if is_loopback(parts.hostname or ""):
        return "Stripe cannot reach this machine, because its address is a loopback address."
    if mode is Mode.LIVE and parts.scheme != "https":
        return "Stripe sends live events only to https addresses, and this installation is served over http."
    return None


def fetches_events(provider: Provider, mode: Mode, base_url: str) -> bool:
    """Whether events are fetched from Stripe by polling.

    They are in test mode where Stripe cannot reach this machine; never in live mode, and never from the
    sandbox, which delivers its events itself.
    """
    is_stripe = provider is Provider.STRIPE and mode is Mode.TEST
    return is_stripe and is_loopback(urlsplit(base_url).hostname or "")


def forwarding_command(address: str) -> str:
    """The Stripe CLI's line that brings events to an address Stripe cannot reach."""
    events = ",".join(required_events(has_trials=True))
    return f"stripe listen --events {events} --forward-to {address}"


def account_changes(known: str | None, seen: str | None, *, key_was_saved: bool) -> bool:
    """Whether a new key may belong to another account than the saved one, as far as can be told."""
    return key_was_saved and known != seen


def _unwrapped(pasted: str) -> str:
    """Without what copying adds around it: spaces, quotes, and characters that nobody sees."""
    return pasted.strip(_AROUND)


_CALLED = {
    Credential.SECRET_KEY: "a Stripe secret key",
    Credential.RESTRICTED_KEY: "a Stripe restricted key",
    Credential.PUBLISHABLE_KEY: "a publishable key",
    Credential.ORGANIZATION_KEY: "an organization key",
    Credential.WEBHOOK_SECRET: "a webhook signing secret",
    Credential.PRICE_ID: "a price ID",
    Credential.PRODUCT_ID: "a product ID",
    Credential.LICENZY_KEY: "a Licenzy API key",
    Credential.UNKNOWN: "something else",
}


def _not_a_stripe_key(found: Classified, mode: Mode) -> tuple[str, str]:
    wanted = f"Paste the secret key that begins with sk_{mode.value}_, or a restricted rk_{mode.value}_ key."
    match found.credential:
        case Credential.PUBLISHABLE_KEY:
            said = "This is a publishable key. It is meant for browsers and cannot create a checkout."
        case Credential.ORGANIZATION_KEY:
            said = "This is an organization key. A connection needs the key of one account."
        case Credential.WEBHOOK_SECRET:
            said = "This is a webhook signing secret. It belongs in the webhook step."
        case Credential.PRICE_ID | Credential.PRODUCT_ID:
            said = f"This is {_CALLED[found.credential]}. It belongs in the products step."
        case Credential.LICENZY_KEY:
            said = "This is a Licenzy API key. Your own backend sends it to Licenzy."
        case _:
            said = "This is not a Stripe key."
    word = "key_unknown" if found.credential is Credential.UNKNOWN else f"{found.credential.value}_as_key"
    return word, f"{said} {wanted}"


def _key_refused(reason: str, message: str) -> CredentialRefused:
    return CredentialRefused(reason, field="stripe_key", message=message)


def facts_of(connection: Connection, *, has_trials: bool, fetch: FetchFacts | None = None) -> ConnectionFacts:
    """A connection as alignment's rules see it, without its secrets; `fetch` where its events are fetched."""
    has_key, has_secret = connection.key_sealed is not None, connection.webhook_secret_sealed is not None
    return ConnectionFacts(
        id=connection.id,
        provider=connection.provider,
        key_masked=connection.key_masked if has_key else None,
        key_saved_at=connection.key_saved_at if has_key else None,
        account_id=connection.account_id,
        account_name=connection.account_name,
        charges_enabled=connection.charges_enabled,
        account_seen_at=connection.verified_at,
        secret_masked=connection.webhook_secret_masked if has_secret else None,
        secret_saved_at=connection.webhook_secret_saved_at if has_secret else None,
        endpoint_id=connection.webhook_endpoint_id,
        proven_at=connection.proven_at,
        last_event_id=connection.last_event_id,
        wanted_events=frozenset(wanted_events(connection.provider, has_trials=has_trials)),
        fetch=fetch,
    )


def overlap_until(connection: Connection | None, now: datetime) -> datetime | None:
    """Until when a replaced signing secret still verifies; none when none does."""
    until = connection.previous_webhook_secret_until if connection is not None else None
    return until if until is not None and until > now else None


def is_address_of(url: str, connection_id: str) -> bool:
    """Whether an endpoint at Stripe sends to this connection, whatever host this installation had then."""
    return urlsplit(url).path.rstrip("/").endswith(f"/v1/webhooks/stripe/{connection_id}")


SHARED_PATH = "/v1/webhooks/stripe/tenant"
"""The one address for all connections; the secret tells whose event it is."""


def is_shared_address(url: str) -> bool:
    """Whether an endpoint at Stripe sends to the address for all connections of some installation."""
    return urlsplit(url).path.rstrip("/").endswith(SHARED_PATH)
