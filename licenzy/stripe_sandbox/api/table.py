"""The table of operations: what can be called, with which parameters, and which permission a restricted key
needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore, Condition, where
from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.params import PAGE, Check, fields
from licenzy.stripe_sandbox.version import Json

Handler = Callable[..., Json]


@dataclass(frozen=True)
class ApiOperation:
    """`rule` is Flask's; `path` the rule's first words, for permission names; handlers take the
    account session, the parameters and the ids."""

    method: str
    rule: str
    permission: str
    params: Check
    handler: Handler

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def name(self) -> str:
        return f"{self.method} {self.rule}"


OPERATIONS: list[ApiOperation] = []


def operation(method: str, rule: str, *, permission: str, params: Check) -> Callable[[Handler], Handler]:
    """Enter the handler into the table. `permission` is the resource's: `rak_<permission>_read` or `_write`
    is asked."""

    def enter(handler: Handler) -> Handler:
        right = "read" if method == "GET" else "write"
        OPERATIONS.append(ApiOperation(method, rule, f"rak_{permission}_{right}", params, handler))
        return handler

    return enter


def deleted(body: Json) -> Json:
    """What Stripe answers to a deletion."""
    return {"id": body["id"], "object": body["object"], "deleted": True}


def list_response(page: tuple[list[Json], bool], url: str) -> Json:
    """Stripe's list object: the objects of one page, and whether more follow."""
    found, more = page
    return {"object": "list", "data": found, "has_more": more, "url": url}


def page_of(objects: list[Json], params: Json) -> tuple[list[Json], bool]:
    """One page of a list that is in memory, as Stripe's cursors cut it, and whether more lies beyond it."""
    limit, ids = params.get("limit", 10), [each["id"] for each in objects]
    for cursor in ("starting_after", "ending_before"):
        if cursor in params and params[cursor] not in ids:
            raise InvalidParameter(f"No such item: '{params[cursor]}'", code="resource_missing", param=cursor)
    if "starting_after" in params:
        objects = objects[ids.index(params["starting_after"]) + 1 :]
    elif "ending_before" in params:
        before = objects[: ids.index(params["ending_before"])]
        return before[-limit:], len(before) > limit
    return objects[:limit], len(objects) > limit


def list_endpoint(
    rule: str,
    kind: str,
    *,
    permission: str,
    filters: Mapping[str, Check] = MappingProxyType({}),
    compared_with: Mapping[str, str] = MappingProxyType({}),
    other_filters: Mapping[str, Check] = MappingProxyType({}),
    other_conditions: Callable[[Json], list[Condition]] | None = None,
) -> None:
    """Enter `GET rule` into the table: it lists the objects of one kind by pages, newest first.

    A filter compares the field of its own name, or the one that `compared_with` names, nested fields with
    dots. A list of values means any of them; a map compares nested fields. Filters that work otherwise are
    `other_filters`, which `other_conditions` makes conditions of.
    """

    @operation("GET", rule, permission=permission, params=fields({**PAGE, **filters, **other_filters}))
    def list_objects(session: AccountStore, params: Json) -> Json:
        conditions = other_conditions(params) if other_conditions else []
        for name in filters:
            if name in params:
                conditions += _matching(compared_with.get(name, name), params[name])
        return list_response(session.page(kind, params, *conditions), rule)


def _matching(field: str, value: Any) -> list[Condition]:
    if isinstance(value, dict):
        return [where(f"{field}.{name}", inner) for name, inner in value.items()]
    if isinstance(value, list):
        marks = ", ".join("?" * len(value))
        return [(f"json_extract(body, '$.{field}') IN ({marks})", value)]
    return [where(field, value)]
