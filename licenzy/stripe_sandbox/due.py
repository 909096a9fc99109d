"""When an object next does something by itself, read from the object alone."""

from __future__ import annotations

from licenzy.stripe_sandbox.version import Json

INCOMPLETE_EXPIRY_SECONDS = 23 * 3600
TRIAL_WARNING_SECONDS = 3 * 86400

LIVE = ("trialing", "active", "past_due")
KINDS = ("checkout.session", "subscription", "invoice", "payment_intent")
"""The kinds of objects that do something by themselves."""


def next_due(body: Json) -> int | None:
    """In seconds since 1970; None while it waits for nobody but the merchant or the buyer."""
    times = _TIMES.get(body["object"])
    return min(times(body), default=None) if times else None


def next_renewal(subscription: Json) -> int:
    """When the first of its items' periods ends, in seconds since 1970."""
    return int(min(item["current_period_end"] for item in subscription["items"]["data"]))


def _session(body: Json) -> list[int]:
    return [body["expires_at"]] if body["status"] == "open" else []


def _subscription(body: Json) -> list[int]:
    status, times = body["status"], []
    if status in ("canceled", "incomplete_expired"):
        return []
    if body["cancel_at"] is not None:
        times.append(body["cancel_at"])
    if (resumes_at := collection_resumes_at(body)) is not None:
        times.append(resumes_at)
    if status == "paused" and (resumption := body.get("_resumption")):
        times.append(resumption["expires_at"])
    if status == "incomplete":
        times.append(body["created"] + INCOMPLETE_EXPIRY_SECONDS)
    if status == "trialing" and not body.get("_trial_warned"):
        times.append(trial_warning(body))
    if status in LIVE:
        times.append(next_renewal(body))
    return times


def collection_resumes_at(subscription: Json) -> int | None:
    """When a pause of its collection is over by itself, in seconds since 1970."""
    resumes_at: int | None = (subscription.get("pause_collection") or {}).get("resumes_at")
    return resumes_at


def trial_warning(subscription: Json) -> int:
    """When the end of a trial is announced, in seconds since 1970."""
    return int(max(subscription["trial_end"] - TRIAL_WARNING_SECONDS, subscription["created"]))


def _invoice(body: Json) -> list[int]:
    if body["status"] == "draft":
        finalizes_at = body["automatically_finalizes_at"]
        return [finalizes_at] if body["auto_advance"] and finalizes_at is not None else []
    if body["status"] != "open":
        return []
    times = [body["next_payment_attempt"]]
    if not body.get("_overdue"):
        times.append(body["due_date"])
    return [at for at in times if at is not None]


def _intent(body: Json) -> list[int]:
    settles_at = body.get("_settles_at")
    return [settles_at] if body["status"] == "processing" and settles_at is not None else []


_TIMES = {
    "checkout.session": _session,
    "subscription": _subscription,
    "invoice": _invoice,
    "payment_intent": _intent,
}
