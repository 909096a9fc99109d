"""Imports of every kind on a side: one that waits for a person, and one that was run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlmodel import Session

from licenzy.connections.models import Connection
from licenzy.imports.models import Import, ImportFile, ImportOutcome, ImportRow, ImportStep
from licenzy.kit.ids import new_id
from tests.support.clock import START

ROWS: tuple[dict[str, Any], ...] = (
    {"outcome": ImportOutcome.MATCHED, "matched_by": "customer_metadata"},
    {"outcome": ImportOutcome.AMBIGUOUS, "reason": "email_only"},
    {"outcome": ImportOutcome.AMBIGUOUS, "reason": "csv_disagrees", "several": True},
    {"outcome": ImportOutcome.UNMATCHED},
    {"outcome": ImportOutcome.UNMATCHED, "reason": "ref_not_valid"},
    {"outcome": ImportOutcome.PRICE_NOT_MAPPED},
    {"outcome": ImportOutcome.HERE_ALREADY},
    {"outcome": ImportOutcome.ENDED, "status": "canceled", "is_over": True},
    {"outcome": ImportOutcome.MATCHED, "matched_by": "person", "left_out": True},
)
RESULTS = ("imported", "no_longer_clear", "failed")


def make_imports(
    db: Session, connection: Connection, *, price: str, subject_ref: str, email: str
) -> list[str]:
    """The addresses below the side of an import that waits for a person, and of one that was run."""
    here: dict[str, Any] = {"project_id": connection.project_id, "mode": connection.mode}
    done = Import(
        id=new_id("imp"),
        connection_id=connection.id,
        step=ImportStep.DONE,
        rows=len(RESULTS),
        started_at=START - timedelta(days=1),
        run_at=START - timedelta(days=1),
        ended_at=START,
        **here,
    )
    waiting = Import(
        id=new_id("imp"),
        connection_id=connection.id,
        step=ImportStep.PREVIEW,
        rows=len(ROWS),
        metadata_keys=["user_id"],
        started_at=START,
        **here,
    )
    db.add_all([done, waiting])
    db.flush()
    for number, result in enumerate(RESULTS):
        matched = {
            "outcome": ImportOutcome.MATCHED,
            "matched_by": "customer_metadata",
            "subject_ref": subject_ref,
        }
        db.add(_row(done, number, price, email, result=result, applied_at=START, **matched))
    for number, columns in enumerate(ROWS):
        more = dict(columns)
        refs = [subject_ref, f"{subject_ref}2"] if more.pop("several", False) else [subject_ref]
        named = more["outcome"] in {ImportOutcome.MATCHED, ImportOutcome.HERE_ALREADY}
        more["subject_ref" if named else "candidates"] = subject_ref if named else refs
        unmapped = more["outcome"] is ImportOutcome.PRICE_NOT_MAPPED
        db.add(_row(waiting, number, f"price_{'x' * 40}" if unmapped else price, email, **more))
    for kind in ("map", "compare"):
        content = f"subject_ref\n{subject_ref}\n"
        db.add(ImportFile(import_id=waiting.id, kind=kind, name=f"{kind}.csv", content=content, **here))
    page = f"/imports/{waiting.id}"
    shown = ("", "ambiguous", "unmatched", "price_not_mapped", "left_out", "here_already")
    return [
        *(f"{page}?show={each}" for each in shown),
        f"{page}?search=nothing",
        f"{page}/differences",
        f"/imports/{done.id}",
        f"/imports/{done.id}?show=failed",
    ]


def _row(import_: Import, number: int, price: str, email: str, **columns: Any) -> ImportRow:
    return ImportRow(
        project_id=import_.project_id,
        mode=import_.mode,
        import_id=import_.id,
        key=f"sub_{number}{'a1' * 12}",
        number=number,
        made_at=START - timedelta(days=number),
        stripe_customer_id=f"cus_{number}{'b2' * 7}",
        email=email,
        found={"readings": [], "payments": [], "begun": True, "periods": []}
        if "result" not in columns
        else None,
        items=[{"price": price, "product": "prod_1", "quantity": number + 1}],
        **{"status": "active", **columns},
    )
