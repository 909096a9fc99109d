"""An account at the sandbox that sold before Licenzy came, and imports of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement
from licenzy.imports import actions, queries
from licenzy.imports.csv_files import checked_csv
from licenzy.imports.models import UNDER_WAY, Import, ImportRow, ImportStep
from licenzy.imports.progress import Importer, claim_import, go_on
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor
from tests.checkout.conftest import Shop

Json = dict[str, Any]


@dataclass
class Account:
    """The account behind a shop's connection: who bought there, and what an import makes of it."""

    shop: Shop

    # --- at Stripe --------------------------------------------------------------------------------

    def price(self, amount: int = 1200, *, interval: str | None = "month", **more: Any) -> str:
        params: Any = {"unit_amount": amount, "currency": "usd", "product_data": {"name": "Old"}, **more}
        if interval is not None:
            params["recurring"] = {"interval": interval}
        return self.shop.stripe.v1.prices.create(params).id

    def customer(self, **params: Any) -> str:
        return self.shop.stripe.v1.customers.create(params).id  # type: ignore[arg-type]

    def subscribe(self, customer: str, *items: Any, **params: Any) -> str:
        lines = [each if isinstance(each, dict) else {"price": each} for each in items]
        asked: Any = {"customer": customer, "items": lines, **params}
        return self.shop.stripe.v1.subscriptions.create(asked).id

    def act(self, action: str, **named: Any) -> None:
        self.control("actions", {"action": action, **named})

    def control(self, what: str, body: Json | None = None, method: str = "POST", timeout: float = 120) -> Any:
        answer = httpx.request(
            method,
            f"{self.shop.sandbox.url}/_sandbox/accounts/{self.shop.account}/{what}",
            json=body,
            headers={"Authorization": f"Bearer {self.shop.sandbox.control_token}"},
            timeout=timeout,
        )
        assert answer.status_code < 300, answer.text
        return answer.json()

    def calls(self) -> Json:
        found: Json = self.control("calls", method="GET")
        return found

    # --- importing --------------------------------------------------------------------------------

    @property
    def scope(self) -> Scope:
        return Scope(self.shop.project_id, Mode.TEST)

    @property
    def importer(self) -> Importer:
        parts = self.shop.runtime
        return Importer(parts.database, parts.gateway, parts.secret_box, parts.clock, random.random)

    def read(self, *, map_csv: str | None = None, keys: Sequence[str] = ("user",), **more: Any) -> str:
        """Start an import and let it come to its preview; its id."""
        with self.shop.runtime.database.write() as db:
            started = actions.start_import(
                db,
                self.scope,
                actor=Actor(),
                now=self.shop.runtime.clock(),
                metadata_keys=keys,
                map_csv=checked_csv("map", "map.csv", map_csv.encode()) if map_csv is not None else None,
                **more,
            )
            import_id = started.id
        self.carry_on(import_id)
        assert self.import_(import_id).step is ImportStep.PREVIEW
        return import_id

    def write(self, import_id: str) -> dict[str, int]:
        """Let an import write, to its end; how many purchases ended with each result."""
        database = self.shop.runtime.database
        with database.write() as db:
            actions.run_import(
                db, self.scope, import_id=import_id, actor=Actor(), now=self.shop.runtime.clock()
            )
        self.carry_on(import_id)
        assert self.import_(import_id).step is ImportStep.DONE
        with database.read() as db:
            return queries.results_of(db, self.scope, import_id=import_id)

    def carry_on(self, import_id: str) -> None:
        database, clock = self.shop.runtime.database, self.shop.runtime.clock
        for _ in range(1000):
            found = self.import_(import_id)
            if found.step not in UNDER_WAY or found.ended_at is not None:
                return
            claimed = database.retrying(
                lambda db: claim_import(db, self.scope, import_id=import_id, now=clock())
            )
            assert claimed is not None
            go_on(self.importer, claimed)
            assert self.import_(import_id).problem is None, self.import_(import_id).problem
        raise AssertionError("the import does not come to an end")

    def import_(self, import_id: str) -> Import:
        with self.shop.runtime.database.read() as db:
            found = queries.import_by_id(db, self.scope, import_id=import_id)
        assert found is not None
        return found

    # --- what is here -----------------------------------------------------------------------------

    def rows(self, import_id: str) -> dict[str, ImportRow]:
        with self.shop.runtime.database.read() as db:
            found = db.exec(select(ImportRow).where(ImportRow.import_id == import_id))
            return {row.key: row for row in found}

    def entitlements(self) -> dict[str, list[Entitlement]]:
        """By subject ref."""
        with self.shop.runtime.database.read() as db:
            mine = Subject.project_id == self.shop.project_id
            found = db.exec(select(Subject.subject_ref, Entitlement).join(Entitlement).where(mine)).all()
        by_ref: dict[str, list[Entitlement]] = {}
        for ref, row in found:
            if row.source not in NO_ENTITLEMENT:
                by_ref.setdefault(ref, []).append(row)
        return by_ref

    def standings(self, now: datetime | None = None) -> dict[str, list[str]]:
        """`PRODUCT status` of all that each subject has, with ` ×` and the quantity where it is not one."""
        at = now or self.shop.runtime.clock()
        return {
            ref: sorted(
                f"{row.product_code} {standing(row, at).status}"
                + (f" ×{row.quantity}" if row.quantity != 1 else "")
                for row in rows
            )
            for ref, rows in self.entitlements().items()
        }
