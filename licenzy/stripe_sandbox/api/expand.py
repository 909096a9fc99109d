"""`expand[]`: references replaced by the objects they name, and lists that Stripe sends only on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore, Condition, public, where
from licenzy.stripe_sandbox.api.table import list_response, page_of
from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.shapes.account import account
from licenzy.stripe_sandbox.version import Json

_DEEPEST = 4
_REFERENCES = {
    "charge": {"customer", "payment_intent"},
    "checkout.session": {"customer", "invoice", "payment_intent", "subscription"},
    "dispute": {"charge", "payment_intent"},
    "invoice": {"customer"},
    "invoice_payment": {"invoice"},
    "invoiceitem": {"customer", "invoice"},
    "payment_intent": {"customer", "latest_charge"},
    "price": {"product"},
    "product": {"default_price"},
    "refund": {"charge", "payment_intent"},
    "subscription": {"customer", "latest_invoice"},
}
_REFERENCES_OF_PARTS = {"payment_intent", "subscription", "price", "product"}


def expand(account_store: AccountStore, body: Json, paths: list[str]) -> Json:
    """The body with each path expanded; a path that leads nowhere is refused as Stripe refuses it."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > _DEEPEST:
            raise InvalidParameter(f"You cannot expand more than {_DEEPEST} levels of a property ({path}).")
        _walk(account_store, body, steps, path)
    return body


def _walk(account_store: AccountStore, node: Any, steps: list[str], path: str) -> None:
    if isinstance(node, list):
        for each in node:
            _walk(account_store, each, steps, path)
        return
    if not steps or node is None:
        return
    if not isinstance(node, dict):
        raise _cannot(path)
    step, rest = steps[0], steps[1:]
    listed = _LISTS.get((node.get("object", ""), step))
    if listed is not None and step not in node:
        node[step] = listed(account_store, node)
    elif isinstance(node.get(step), str):
        node[step] = _referred(account_store, node, step, path)
    elif step not in node or not (isinstance(node[step], dict | list) or node[step] is None):
        raise _cannot(path)
    _walk(account_store, node[step], rest, path)


def _referred(account_store: AccountStore, node: Json, step: str, path: str) -> Any:
    known = _REFERENCES.get(node["object"], set()) if "object" in node else _REFERENCES_OF_PARTS
    if step not in known:
        raise _cannot(path)
    if node[step] == account_store.account.id:
        return account(account_store.account)
    found = account_store.find_any(node[step])
    return public(found) if found else node[step]


def _cannot(path: str) -> InvalidParameter:
    return InvalidParameter(
        f"This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' if this is "
        f"a list."
    )


def line_items(account_store: AccountStore, session: Json) -> list[Json]:
    """The session's lines with their prices as they are now."""
    stored = account_store.get("checkout.session", session["id"], param="session")
    lines = []
    for line in stored["_lines"]:
        price = account_store.find("price", line["price"]["id"]) or line["price"]
        lines.append({**line, "price": public(price)})
    return lines


def _session_lines(account_store: AccountStore, session: Json) -> Json:
    """The first ten, as Stripe embeds them; `/line_items` lists the rest."""
    page = page_of(line_items(account_store, session), {})
    return list_response(page, f"/v1/checkout/sessions/{session['id']}/line_items")


def _refunds(account_store: AccountStore, charge: Json) -> Json:
    found = account_store.select("refund", where("charge", charge["id"]))
    return list_response(([public(r) for r in found], False), f"/v1/charges/{charge['id']}/refunds")


def _payments(account_store: AccountStore, invoice: Json) -> Json:
    found = account_store.select("invoice_payment", where("invoice", invoice["id"]))
    return list_response(([public(p) for p in found], False), f"/v1/invoice_payments?invoice={invoice['id']}")


def _subscriptions(account_store: AccountStore, customer: Json) -> Json:
    not_ended: Condition = ("json_extract(body, '$.status') NOT IN ('canceled', 'incomplete_expired')", [])
    found = account_store.select("subscription", where("customer", customer["id"]), not_ended)
    return list_response(([public(s) for s in found], False), f"/v1/customers/{customer['id']}/subscriptions")


def _tiers(account_store: AccountStore, price: Json) -> Json | list[Json]:
    stored = account_store.get("price", price["id"], param="price")
    tiers: list[Json] = stored["_tiers"]
    return tiers


_LISTS: dict[tuple[str, str], Callable[[AccountStore, Json], Any]] = {
    ("checkout.session", "line_items"): _session_lines,
    ("charge", "refunds"): _refunds,
    ("invoice", "payments"): _payments,
    ("customer", "subscriptions"): _subscriptions,
    ("price", "tiers"): _tiers,
}
