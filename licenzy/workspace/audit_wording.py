"""What the audit log's actions are in words: one line for each, by group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from licenzy.workspace.audit_log import COMMAND_LINE, STRANGER
from licenzy.workspace.models import AuditEntry

LICENZY = "licenzy"
"""Who did what nobody asked for at that moment."""

_ACTIONS = {
    "Signing in": {
        "sign_in.succeeded": "Signed in",
        "sign_in.failed": "Failed to sign in",
        "sign_in.throttled": "Was refused after too many failed sign-ins",
        "sign_in.confirmed": "Confirmed the password",
        "sign_in.ended": "Signed out",
        "session.ended": "Ended a session",
        "password.changed": "Changed the password",
        "password.reset": "Reset a password",
        "password.wrong": "Gave a wrong password while signed in",
        "password.throttled": "Was refused after too many wrong passwords",
        "password.reset_issued": "Issued a link to reset a password",
        "password.reset_refused": "Asked for a password reset of an unknown address",
        "password.reset_throttled": "Was refused after too many password resets",
        "sign_in.password_accepted": "Gave the password, and was asked for a second factor",
        "sign_in.identity_accepted": "Signed in at the provider, and was asked for a second factor",
        "sessions.ended": "Ended all other sessions",
        "second_factor.enabled": "Turned on an authenticator app",
        "second_factor.disabled": "Turned off an authenticator app",
        "second_factor.given": "Gave a second factor",
        "second_factor.failed": "Gave a wrong code",
        "second_factor.throttled": "Was refused after too many wrong codes",
        "second_factor.reset": "Removed all second factors of a person",
        "recovery_codes.created": "Created recovery codes",
        "recovery_code.used": "Used a recovery code",
        "passkey.created": "Created a passkey",
        "passkey.removed": "Removed a passkey",
        "provider_identity.linked": "Linked an account at the provider",
        "provider_identity.unlinked": "Unlinked an account at the provider",
    },
    "People": {
        "installation.claimed": "Claimed the installation",
        "member.added": "Added a member",
        "member.invited": "Invited somebody",
        "member.role_changed": "Changed a role",
        "member.removed": "Removed a member",
        "member.left": "Left the workspace",
        "member.alerts_changed": "Changed their notifications",
        "invitation.accepted": "Accepted an invitation",
        "invitation.revoked": "Revoked an invitation",
        "user.disabled": "Disabled a person",
        "user.enabled": "Enabled a person",
        "role.refused": "Was refused a page for a higher role",
    },
    "Credentials": {
        "api_key.created": "Created an API key",
        "api_key.rotated": "Rotated an API key",
        "api_key.revoked": "Revoked an API key",
        "stripe_key.saved": "Saved a Stripe key",
        "stripe_connection.removed": "Removed the Stripe connection",
        "webhook_secret.saved": "Saved the Stripe webhook secret",
        "webhook_secret.overlap_ended": "Ended the overlap of two webhook secrets",
        "webhook_endpoint.secret_rotated": "Rotated the secret of a webhook endpoint",
    },
    "Products": {
        "product.created": "Created a product",
        "product.changed": "Changed a product",
        "product.archived": "Archived a product",
        "product.restored": "Restored a product",
        "product.price_added": "Added a price to a product",
        "product.price_retired": "Retired a price of a product",
        "product.price_labelled": "Labelled a price of a product",
        "product.price_removed": "Removed a price from a product",
        "product.terms_for_holders": "Gave holders new terms of a product",
        "product.terms_for_holders_stopped": "Stopped giving holders new terms",
        "price.created": "Created a price in the sandbox",
    },
    "Customers": {
        "entitlement.grant": "Granted a product",
        "entitlement.revoke": "Revoked an entitlement",
        "entitlement.adjust": "Adjusted units",
        "entitlement.adjust_window": "Adjusted included units",
        "entitlement.extend": "Extended an entitlement",
        "entitlement.lift": "Restored access",
        "entitlement.override": "Set a feature or limit of a customer",
        "entitlement.remove_override": "Removed a feature or limit of a customer",
        "trial.allowed": "Allowed another trial",
        "checkout.adopt": "Adopted a checkout",
        "subscription.adopt": "Adopted a subscription",
        "subject.resync": "Synced a customer with Stripe",
        "customer.forgotten": "Erased a customer",
    },
    "Stripe data": {
        "event.replay": "Replayed a Stripe event",
        "event.replay_parked": "Replayed all events that failed permanently",
        "event.parked": "Stopped retrying a Stripe event",
        "reconciliation.ask": "Started a sync with Stripe",
        "webhook_endpoint.repaired": "Set up the Stripe webhook endpoint",
        "webhook.signature_refused": "Sent a webhook with an invalid signature",
        "import.start": "Started an import",
        "import.run": "Ran an import",
        "import.stop": "Stopped an import",
        "import.exported": "Exported an import",
    },
    "Webhooks": {
        "webhook_endpoint.created": "Created a webhook endpoint",
        "webhook_endpoint.changed": "Changed a webhook endpoint",
        "webhook_endpoint.paused": "Paused a webhook endpoint",
        "webhook_endpoint.resumed": "Resumed a webhook endpoint",
        "webhook_endpoint.disabled": "Disabled a webhook endpoint",
        "webhook_endpoint.deleted": "Deleted a webhook endpoint",
        "webhook_endpoint.tested": "Sent a test to a webhook endpoint",
        "delivery.requeued": "Resent a webhook",
    },
    "Projects": {
        "project.created": "Created a project",
        "project.renamed": "Renamed a project",
        "project.archived": "Archived a project",
        "project.unarchived": "Restored an archived project",
        "project.deleted": "Deleted a project",
        "project.known_customers_changed": "Changed how subscriptions of known customers count",
        "project.returns_changed": "Changed the return addresses of checkouts",
        "project.default_unit_changed": "Changed the default unit",
        "finding.marked_mended": "Marked a finding as resolved",
    },
    "Workspaces": {
        "workspace.created": "Created a workspace",
        "workspace.renamed": "Renamed the workspace",
        "workspace.settings_changed": "Changed the settings of the workspace",
        "workspace.deleted": "Deleted a workspace",
    },
    "Audit log": {"audit.exported": "Exported the audit log"},
}

WORDING = {action: sentence for actions in _ACTIONS.values() for action, sentence in actions.items()}
GROUPS = {group: tuple(actions) for group, actions in _ACTIONS.items()}

_BY_ITSELF = {"event.parked"}


_INITIALS = {"api", "id", "ip", "url", "utc"}


@dataclass(frozen=True, slots=True)
class ChangedField:
    """One thing that an entry says was, and is."""

    field: str
    before: str | None
    after: str | None


def in_words(action: str) -> str:
    """What was done. A version that knows more actions may have written one that has no words here."""
    return WORDING.get(action, action)


def who(entry: AuditEntry, names: Mapping[str, str]) -> str:
    """Who did it; `names` has those of people by their ids."""
    if entry.actor_user_id is not None:
        return names.get(entry.actor_user_id, "A former user")
    return {COMMAND_LINE: "Command line", STRANGER: "Stranger", LICENZY: "Licenzy"}[kind_of_actor(entry)]


def kind_of_actor(entry: AuditEntry) -> str:
    """`user`, or which of the others: COMMAND_LINE, STRANGER or LICENZY."""
    if entry.actor_user_id is not None:
        return "user"
    if entry.action in _BY_ITSELF or "by" in (entry.after or {}):
        return LICENZY
    return COMMAND_LINE if entry.ip is None else STRANGER


def differences(entry: AuditEntry) -> list[ChangedField]:
    """What the entry says of before and after, field by field, without what stayed the same."""
    before, after = entry.before or {}, entry.after or {}
    fields = [*before, *(each for each in after if each not in before)]
    both = entry.before is not None and entry.after is not None
    changed = (
        ChangedField(_named(field), _text(before.get(field)), _text(after.get(field)))
        for field in fields
        if not (both and before.get(field) == after.get(field))
    )
    return [each for each in changed if each.before is not None or each.after is not None]


def _named(field: str) -> str:
    words = [word.upper() if word in _INITIALS else word for word in field.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _text(value: Any) -> str | None:
    if value is None or value in ([], {}, ""):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return _joined(f"{key}: {_text(each) or '—'}" for key, each in value.items())
    if isinstance(value, list):
        return _joined(_text(each) or "—" for each in value)
    return str(value)


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
