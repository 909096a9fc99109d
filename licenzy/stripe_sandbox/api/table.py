"""The table of operations: what can be called, with which parameters, and which permission a restricted key
needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from licenzy.stripe_sandbox.params import Check
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


def list_of(page: tuple[list[Json], bool], url: str) -> Json:
    found, more = page
    return {"object": "list", "data": found, "has_more": more, "url": url}
