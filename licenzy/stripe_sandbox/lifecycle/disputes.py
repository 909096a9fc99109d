"""Disputes and the inquiries that may come before them. An inquiry moves no money."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.shapes import payments as shapes
from licenzy.stripe_sandbox.version import Json

CLOSED = ("won", "lost", "warning_closed")


def open_dispute(
    session: AccountStore, charge: Json, *, inquiry: bool = False, reason: str = "fraudulent"
) -> Json:
    """The bank takes the money of a payment back, or only inquires about it (`inquiry`)."""
    if charge["status"] != "succeeded":
        raise RequestRefused(f"The charge {charge['id']} has not succeeded, so there is nothing to dispute.")
    before = {d["status"] for d in session.select("dispute", where("charge", charge["id"]))}
    if "lost" in before:
        raise RequestRefused(f"The charge {charge['id']} was charged back: the money is gone already.")
    if before - {*CLOSED}:
        raise RequestRefused(f"The charge {charge['id']} is under dispute already.")
    dispute = session.insert(shapes.dispute(session, charge, inquiry=inquiry, reason=reason))
    if not inquiry:
        session.change(charge, disputed=True)
    session.emit("charge.dispute.created", dispute)
    if not inquiry:
        session.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def submit_evidence(session: AccountStore, dispute: Json) -> None:
    """The merchant answers, and the bank thinks about it."""
    _require_open(dispute)
    inquiry = _is_inquiry(dispute)
    details = {
        **dispute["evidence_details"],
        "has_evidence": True,
        "submission_count": 1,
        "submission_method": "manual",
    }
    status = "warning_under_review" if inquiry else "under_review"
    previous = session.change(dispute, status=status, evidence_details=details)
    session.emit("charge.dispute.updated", dispute, previous)


def escalate(session: AccountStore, dispute: Json) -> None:
    """An inquiry turns into a dispute: now the money is withdrawn."""
    _require_open(dispute)
    if not _is_inquiry(dispute):
        raise RequestRefused(f"The dispute {dispute['id']} is not an inquiry.")
    charge = session.get("charge", dispute["charge"], param="charge")
    card = {**dispute["payment_method_details"]["card"], "case_type": "chargeback"}
    previous = session.change(
        dispute,
        status="needs_response",
        is_charge_refundable=False,
        payment_method_details={**dispute["payment_method_details"], "card": card},
    )
    session.change(charge, disputed=True)
    session.emit("charge.dispute.updated", dispute, previous)
    session.emit("charge.dispute.funds_withdrawn", dispute)


def close(session: AccountStore, dispute: Json, *, won: bool) -> None:
    """The bank decides. An inquiry can only be closed in the merchant's favour: to be lost it must first
    escalate."""
    _require_open(dispute)
    inquiry = _is_inquiry(dispute)
    if inquiry and not won:
        raise RequestRefused(f"The inquiry {dispute['id']} must escalate to a dispute before it can be lost.")
    session.change(dispute, status="warning_closed" if inquiry else "won" if won else "lost")
    session.emit("charge.dispute.closed", dispute)
    if won and not inquiry:
        session.emit("charge.dispute.funds_reinstated", dispute)


def _is_inquiry(dispute: Json) -> bool:
    return bool(dispute["status"].startswith("warning_"))


def _require_open(dispute: Json) -> None:
    if dispute["status"] in CLOSED:
        raise RequestRefused(f"The dispute {dispute['id']} is closed ({dispute['status']}).")
