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
    "rak_checkout_session_write": "create checkout sessions",
    "rak_checkout_session_read": "compare open checkouts with Stripe",
    "rak_plan_read": "read the prices of products",
    "rak_product_read": "read the Stripe products of prices",
    "rak_subscription_read": "read the state of subscriptions",
    "rak_invoice_read": "check whether a period was paid",
    "rak_charge_read": "find the purchase of a refund or dispute",
    "rak_event_read": "read events that Stripe could not deliver",
    "rak_webhook_read": "check the webhook endpoint",
    "rak_webhook_write": "set up the webhook endpoint",
}


@rule("connection_missing", "Stripe not connected", _BLOCKS, Part.CONNECTION)
def connection_missing(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.connection is None or not context.here.connection.connected:
        yield FindingDraft(
            about=(),
            evidence=f"No Stripe key is saved in {context.here.mode} mode.",
            cause="Nothing can be sold in a mode without its Stripe key.",
            fix=f"Save a Stripe key that begins with sk_{context.here.mode}_ or rk_{context.here.mode}_.",
            page=CONNECTION,
        )


@rule(
    "credential_refused",
    "Wrong Stripe credential pasted",
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
            evidence=f"{_PASTED.get(seen.about, 'Another value')} was pasted. It was not saved.",
            cause="The pasted value is not the credential that the field takes.",
            fix=f"Paste the credential that begins with {wanted}.",
            page=CONNECTION,
            at=seen.last_at,
        )


_PASTED = {
    "key_of_other_mode": "A Stripe key from the other mode",
    "publishable_key_as_key": "A publishable key",
    "organization_key_as_key": "An organization key",
    "webhook_secret_as_key": "A webhook signing secret, in the Stripe key field,",
    "price_id_as_key": "A price ID",
    "product_id_as_key": "A product ID",
    "licenzy_key_as_key": "A Licenzy API key",
    "key_rejected": "A key that Stripe does not accept",
    "key_malformed": "An incomplete Stripe key",
    "secret_key_as_secret": "A Stripe secret key, in the signing secret field,",
    "restricted_key_as_secret": "A restricted key, in the signing secret field,",
    "publishable_key_as_secret": "A publishable key, in the signing secret field,",
    "secret_of_other_mode": "The webhook signing secret from the other mode",
    "endpoint_id_pasted": "An endpoint ID, in the signing secret field,",
    "address_pasted": "A URL, in the signing secret field,",
    "secret_malformed": "An incomplete signing secret",
}


@rule("stripe_key_of_other_mode", "Stripe key from the other mode", _BLOCKS, Part.CONNECTION)
def stripe_key_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None:
        return
    mode = classify(connection.key_masked or "").mode
    if mode is not None and mode is not context.here.mode:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"The saved key is {connection.key_masked}.",
            cause=f"A {mode} mode key is saved in {context.here.mode} mode.",
            fix=f"Save the key that begins with sk_{context.here.mode}_ or rk_{context.here.mode}_.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("stripe_key_unusable", "Not a Stripe secret key", _BLOCKS, Part.CONNECTION)
def stripe_key_unusable(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and not classify(connection.key_masked or "").usable_as_stripe_key:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"The saved key begins with {(connection.key_masked or '')[:8]}.",
            cause="Only a secret or restricted key can call Stripe from a server.",
            fix=f"Save the secret key that begins with sk_{context.here.mode}_.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("credentials_locked", "Stored credentials cannot be decrypted", _BLOCKS, Part.CONNECTION)
def credentials_locked(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    if connection is not None and connection.locked_out:
        yield FindingDraft(
            about=(named(connection),),
            evidence="None of this installation's encryption keys decrypts the stored credentials.",
            cause="The encryption keys were lost or replaced after the credentials were saved.",
            fix="Restore LICENZY_ENCRYPTION_KEYS, or save the Stripe key and the signing secret again.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("stripe_key_rejected", "Stripe key rejected", _BLOCKS, Part.CONNECTION)
def stripe_key_rejected(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.key_accepted and not connection.key_accepted.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"Stripe rejected {connection.key_masked}.",
            cause="The key was rolled or deleted in Stripe after it was saved here.",
            fix="Save the current key from the API keys page in Stripe.",
            page=CONNECTION,
            at=connection.key_accepted.at,
        )


@rule("stripe_permission_missing", "Restricted key permission missing", _WARNS, Part.CONNECTION)
def stripe_permission_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.missing_permissions is None:
        return
    for name in connection.missing_permissions.value:
        if name == READS_ACCOUNT:
            continue
        yield FindingDraft(
            about=(named(connection), ObjectRef("permission", name, name)),
            evidence=f"Stripe refused a trial call with {connection.key_masked}: {name} is missing.",
            cause=f"The restricted key cannot {_NEEDED_FOR.get(name, 'do everything that Licenzy needs')}.",
            fix=f"Add the permission {name} to the key in Stripe. The key does not have to be saved again.",
            page=CONNECTION,
            at=connection.missing_permissions.at,
            severity=_BLOCKS if name in NEEDED_TO_SELL else None,
        )


@rule("stripe_account_unreadable", "Stripe account not readable", _NOTES, Part.ACCOUNT)
def stripe_account_unreadable(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    missing = connection.missing_permissions if connection else None
    if connection is not None and missing is not None and READS_ACCOUNT in missing.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"Stripe refused to show its account to {connection.key_masked}.",
            cause="The restricted key cannot read the account's name and state. Selling works.",
            fix=f"Add the permission {READS_ACCOUNT} to the key in Stripe, or leave it as it is.",
            page=CONNECTION,
            at=missing.at,
        )


@rule("account_cannot_charge", "Stripe account not activated", _NOTES, Part.ACCOUNT)
def account_cannot_charge(context: RuleContext) -> Iterator[FindingDraft]:
    """Stripe takes test payments before that, so in test it is only a note."""
    connection, live = connected(context), context.here.mode is Mode.LIVE
    if connection is not None and connection.charges_enabled is False:
        yield FindingDraft(
            about=(
                ObjectRef("account", connection.account_id or "", connection.account_name or "the account"),
            ),
            evidence=f"Stripe reports that {connection.account_id or 'the account'} cannot charge yet.",
            cause="The account's activation in Stripe is not finished, so buyers cannot pay."
            if live
            else "Test payments work. Live payments need an activated account.",
            fix="Finish the account's activation in Stripe, then press “Check now”.",
            page=CONNECTION,
            at=connection.account_seen_at or connection.key_saved_at,
            severity=_BLOCKS if live else None,
        )


@rule("accounts_differ", "Different Stripe accounts in the two modes", _NOTES, Part.ACCOUNT, compares=True)
def accounts_differ(context: RuleContext) -> Iterator[FindingDraft]:
    here, other = connected(context), context.other.connection
    if context.here.mode is Mode.TEST or here is None or other is None or not other.connected:
        return
    if here.account_id and other.account_id and here.account_id != other.account_id:
        yield FindingDraft(
            about=tuple(
                ObjectRef("account", each.account_id or "", _account(each)) for each in (other, here)
            ),
            evidence=f"Test mode uses {_account(other)}, live mode uses {_account(here)}.",
            cause="Prices and customers of one account do not exist in the other. Stripe's newer sandboxes "
            "have accounts of their own, so this can be intended.",
            fix="Compare the two account IDs. If one is not yours, save the right key in that mode.",
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
