"""Rules about the Stripe connection of one mode: its key, what that may do, and its account."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import ConnectionFacts
from licenzy.alignment.findings import CONNECTION, FindingDraft, ObjectRef, Part, RuleContext, Severity, rule
from licenzy.alignment.modes import Mode, classify

_BLOCKS, _WARNS, _NOTES = Severity
READS_ACCOUNT = "rak_accounts_kyc_basic_read"
NEEDED_TO_SELL = frozenset({"rak_checkout_session_write"})
_NEEDED_FOR = {
    "rak_checkout_session_write": "open a checkout",
    "rak_checkout_session_read": "compare open checkouts with Stripe",
    "rak_plan_read": "read the prices of products",
    "rak_product_read": "read what prices belong to",
    "rak_subscription_read": "settle what a subscription's state is",
    "rak_invoice_read": "settle whether a period was paid",
    "rak_charge_read": "find the purchase behind a refund or dispute",
    "rak_event_read": "find events that Stripe could not deliver",
    "rak_webhook_read": "look whether the webhook endpoint is as it should be",
    "rak_webhook_write": "set the webhook endpoint up",
}


@rule("connection_missing", "Stripe is not connected", _BLOCKS, Part.CONNECTION)
def connection_missing(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.connection is None or not context.here.connection.connected:
        yield FindingDraft(
            about=(),
            evidence=f"No Stripe key is saved in {context.here.mode}.",
            cause="Without a Stripe key of this mode nothing can be sold in it.",
            fix=f"Save a Stripe key that begins with sk_{context.here.mode}_ or rk_{context.here.mode}_.",
            page=CONNECTION,
        )


@rule(
    "credential_refused",
    "Something else was pasted as a Stripe credential",
    _WARNS,
    Part.CONNECTION,
    resolvable=True,
)
def credential_refused(context: RuleContext) -> Iterator[FindingDraft]:
    """A refused paste is forgotten once what it was meant for is saved."""
    connection = context.here.connection
    for seen in context.here.traffic.credentials_refused:
        of_secret = seen.detail == "webhook_secret"
        resolved = connection and (connection.secret_saved_at if of_secret else connection.key_saved_at)
        if resolved:
            continue
        wanted = "whsec_" if of_secret else f"sk_{context.here.mode}_ or rk_{context.here.mode}_"
        yield FindingDraft(
            about=(),
            evidence=f"{_PASTED.get(seen.about, 'Something else')} was pasted and not saved.",
            cause="What was pasted is not the credential that this field takes, so nothing was saved.",
            fix=f"Paste the one that begins with {wanted}.",
            page=CONNECTION,
            at=seen.last_at,
        )


_PASTED = {
    "key_of_other_mode": "A Stripe key of the other mode",
    "publishable_key_as_key": "A publishable key",
    "organization_key_as_key": "An organization key",
    "webhook_secret_as_key": "A webhook signing secret, in the field for the key,",
    "price_id_as_key": "A price id",
    "product_id_as_key": "A product id",
    "licenzy_key_as_key": "A Licenzy API key",
    "key_rejected": "A key that Stripe does not accept",
    "key_malformed": "An incomplete Stripe key",
    "secret_key_as_secret": "A Stripe secret key, in the field for the signing secret,",
    "restricted_key_as_secret": "A restricted key, in the field for the signing secret,",
    "publishable_key_as_secret": "A publishable key, in the field for the signing secret,",
    "secret_of_other_mode": "The webhook signing secret of the other mode",
    "endpoint_id_pasted": "An endpoint's id, in the field for the signing secret,",
    "address_pasted": "An address, in the field for the signing secret,",
    "secret_malformed": "An incomplete signing secret",
}


@rule("stripe_key_of_other_mode", "The Stripe key is of the other mode", _BLOCKS, Part.CONNECTION)
def stripe_key_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None:
        return
    mode = classify(connection.key_masked or "").mode
    if mode is not None and mode is not context.here.mode:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"The saved key is {connection.key_masked}.",
            cause=f"A {mode} key is saved on the {context.here.mode} side, so this side would act in {mode}.",
            fix=f"Save the key that begins with sk_{context.here.mode}_ or rk_{context.here.mode}_.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("stripe_key_unusable", "What is saved as Stripe key is no secret key", _BLOCKS, Part.CONNECTION)
def stripe_key_unusable(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and not classify(connection.key_masked or "").usable_as_stripe_key:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"The saved text begins with {(connection.key_masked or '')[:8]}.",
            cause="A publishable key, a product or a price id cannot call Stripe for a backend.",
            fix=f"Save the secret key that begins with sk_{context.here.mode}_.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("credentials_locked", "Stored credentials cannot be opened", _BLOCKS, Part.CONNECTION)
def credentials_locked(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    if connection is not None and connection.locked_out:
        yield FindingDraft(
            about=(named(connection),),
            evidence="None of this installation's encryption keys opens what is stored.",
            cause="The encryption keys were lost or replaced after the credentials were saved.",
            fix="Restore LICENZY_ENCRYPTION_KEYS, or save the Stripe key and the signing secret again.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("stripe_key_rejected", "Stripe does not accept the key", _BLOCKS, Part.CONNECTION)
def stripe_key_rejected(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.key_accepted and not connection.key_accepted.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"Stripe answered that it does not know {connection.key_masked}.",
            cause="The key was rolled or deleted at Stripe after it was saved here.",
            fix="Save the present key from Stripe's API keys page.",
            page=CONNECTION,
            at=connection.key_accepted.at,
        )


@rule("stripe_permission_missing", "The restricted key lacks a permission", _WARNS, Part.CONNECTION)
def stripe_permission_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.missing_permissions is None:
        return
    for name in connection.missing_permissions.value:
        if name == READS_ACCOUNT:
            continue
        yield FindingDraft(
            about=(named(connection), ObjectRef("permission", name, name)),
            evidence=f"Stripe refused a trial call of {connection.key_masked} for want of {name}.",
            cause=f"The restricted key may not {_NEEDED_FOR.get(name, 'do a part of what is needed')}.",
            fix=f"Give the key the permission {name} at Stripe; nothing needs to be saved here again.",
            page=CONNECTION,
            at=connection.missing_permissions.at,
            severity=_BLOCKS if name in NEEDED_TO_SELL else None,
        )


@rule("stripe_account_unreadable", "The restricted key may not read its account", _NOTES, Part.ACCOUNT)
def stripe_account_unreadable(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    missing = connection.missing_permissions if connection else None
    if connection is not None and missing is not None and READS_ACCOUNT in missing.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"Stripe refused to tell {connection.key_masked} its own account.",
            cause="Without that permission the account's name, and whether it may charge, stay unknown here.",
            fix=f"Give the key {READS_ACCOUNT} at Stripe, or leave it: selling works without.",
            page=CONNECTION,
            at=missing.at,
        )


@rule("account_cannot_charge", "The Stripe account is not activated yet", _NOTES, Part.ACCOUNT)
def account_cannot_charge(context: RuleContext) -> Iterator[FindingDraft]:
    """Stripe takes test payments before that, so in test it is only worth knowing."""
    connection, live = connected(context), context.here.mode is Mode.LIVE
    if connection is not None and connection.charges_enabled is False:
        yield FindingDraft(
            about=(
                ObjectRef("account", connection.account_id or "", connection.account_name or "the account"),
            ),
            evidence=f"Stripe says that {connection.account_id or 'the account'} may not charge yet.",
            cause="The account's activation at Stripe is not finished, so buyers cannot pay."
            if live
            else "Test payments work, but nobody can pay in live before the account is activated at Stripe.",
            fix="Finish the account's activation at Stripe, then press “Check now”.",
            page=CONNECTION,
            at=connection.account_seen_at or connection.key_saved_at,
            severity=_BLOCKS if live else None,
        )


@rule("accounts_differ", "Test and live are different Stripe accounts", _NOTES, Part.ACCOUNT, compares=True)
def accounts_differ(context: RuleContext) -> Iterator[FindingDraft]:
    here, other = connected(context), context.other.connection
    if context.here.mode is Mode.TEST or here is None or other is None or not other.connected:
        return
    if here.account_id and other.account_id and here.account_id != other.account_id:
        yield FindingDraft(
            about=tuple(
                ObjectRef("account", each.account_id or "", _account(each)) for each in (other, here)
            ),
            evidence=f"Test is {_account(other)}, live is {_account(here)}.",
            cause="Prices and customers of one account do not exist in the other. Stripe's newer sandboxes "
            "have accounts of their own, so this may be meant.",
            fix="Compare the two ids; if one is not yours, save the right key in that mode.",
            page=CONNECTION,
            at=here.account_seen_at or here.key_saved_at,
        )


def connected(context: RuleContext) -> ConnectionFacts | None:
    """The connection of this side, where a Stripe key is saved."""
    connection = context.here.connection
    return connection if connection is not None and connection.connected else None


def named(connection: ConnectionFacts) -> ObjectRef:
    """The connection as something that a finding is about."""
    return ObjectRef("connection", connection.id, connection.key_masked or "Stripe connection")


def _account(connection: ConnectionFacts) -> str:
    return f"{connection.account_name or 'an account'} ({connection.account_id})"
