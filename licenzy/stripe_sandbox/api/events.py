"""What happened, for those whose webhooks failed them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, Condition
from licenzy.stripe_sandbox.api.table import list_response, operation
from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.params import EXPAND, PAGE, array, boolean, fields, text
from licenzy.stripe_sandbox.version import Json

KEPT_SECONDS = 30 * 86400


@operation("GET", "/v1/events/<event_id>", permission="event", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, event_id: str) -> Json:
    del params
    return _shown(session, session.get("event", event_id, param="id", in_address=True))


@operation(
    "GET",
    "/v1/events",
    permission="event",
    params=fields(
        {**PAGE, "delivery_success": boolean(), "type": text(100), "types": array(text(100), maximum=20)}
    ),
)
def list_(session: AccountStore, params: Json) -> Json:
    """The last thirty days of the account's time, newest first."""
    if "type" in params and "types" in params:
        raise InvalidParameter("You may only specify one of these parameters: type, types.", param="type")
    conditions: list[Condition] = [("created > ?", [session.now - KEPT_SECONDS])]
    if "type" in params:
        conditions.append(_type_condition(params["type"]))
    if "types" in params:
        pieces = [_type_condition(t) for t in params["types"]]
        conditions.append(
            (f"({' OR '.join(p for p, _ in pieces)})", [v for _, values in pieces for v in values])
        )
    if "delivery_success" in params:
        undelivered = "EXISTS (SELECT 1 FROM posts WHERE posts.event = objects.id AND posts.status <> 'sent')"
        conditions.append((f"NOT {undelivered}" if params["delivery_success"] else undelivered, []))
    found, more = session.page("event", params, *conditions)
    return list_response(([_shown(session, event) for event in found], more), "/v1/events")


def _type_condition(type_: str) -> Condition:
    """A type, or a group of them such as `charge.*`."""
    if type_.endswith("*"):
        return ("json_extract(body, '$.type') GLOB ?", [type_.replace("[", "[[]").replace("?", "[?]")])
    return ("json_extract(body, '$.type') = ?", [type_])


def _shown(session: AccountStore, event: Json) -> Json:
    return {**event, "pending_webhooks": session.undelivered(event["id"])}
