"""One customer as the pages show them: the decision, what they own, what led to it, what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Response, abort
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.checkout.queries import attempts_of
from licenzy.checkout.trials import trial_record
from licenzy.deliveries.queries import deliveries_to
from licenzy.entitlements.decision import (
    Standing,
    best_status,
    in_force,
    only_entitlements,
    remaining,
    standing,
)
from licenzy.entitlements.grants import allowed_actions
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.overrides import overrides_in_force, purchase_key
from licenzy.entitlements.queries import facts_behind
from licenzy.forgetting.checkouts import open_checkouts
from licenzy.forgetting.queries import erasure_of
from licenzy.portal.customers.forms import (
    AdjustForm,
    AdjustIncludedForm,
    ExtendForm,
    LiftForm,
    OperatorForm,
    OverrideForm,
    RemoveOverrideForm,
    RevokeForm,
    TrialForm,
)
from licenzy.portal.customers.history import TimelineEntry, history
from licenzy.portal.guards import Side
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.stripe_events.queries import events_of_subject
from licenzy.subjects.models import Subject
from licenzy.subjects.queries import subject_by_id
from licenzy.usage.access import Access, access_of
from licenzy.usage.default_units import grants_with_default
from licenzy.usage.grants import WindowGrant
from licenzy.usage.queries import usage_of
from licenzy.usage.recent_windows import recent_windows_of
from licenzy.usage.rules import balances
from licenzy.usage.window_history import MOST_SHOWN, UnitShown, units_shown
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of

_MOST_SHOWN = 20
_MOST_ENTRIES = 40
_MOST_CARDS = 25

ACT_FORMS: dict[str, type[OperatorForm]] = {
    "lift": LiftForm,
    "extend": ExtendForm,
    "adjust": AdjustForm,
    "adjust_included": AdjustIncludedForm,
    "revoke": RevokeForm,
}


@dataclass(frozen=True, slots=True)
class Holder:
    """A subject with what it holds, as of one instant."""

    subject: Subject
    owned: list[tuple[Entitlement, Standing, int]]
    """Each entitlement, what it is worth, and the units left of it."""
    access: Access[Entitlement]
    status: str

    @property
    def product_codes(self) -> list[str]:
        return list(dict.fromkeys(entitlement.product_code for entitlement, _standing, _left in self.owned))


@dataclass(frozen=True, slots=True)
class Card:
    """One entitlement with its history and the forms of what can be done to it."""

    entitlement: Entitlement
    standing: Standing
    left: int
    entries: list[TimelineEntry]
    earlier: int
    """How many entries are left out."""
    included: list[UnitShown] = field(default_factory=list)
    """The units that it includes, with their windows."""
    forms: dict[str, OperatorForm] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntitlementForm:
    """A form of one of an entitlement's actions, as it was sent."""

    entitlement_id: str
    act: str
    form: OperatorForm


@dataclass(frozen=True, slots=True)
class OverrideAct:
    """A form that sets an override, or takes this one away, as it was sent."""

    override_id: str | None
    form: OperatorForm

    @property
    def suffix(self) -> str:
        """What the ids of its inputs end in."""
        return f"remove-{self.override_id}" if self.override_id is not None else "override"


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """A feature or limit that is set, who set it and why, and the form that takes it away."""

    entitlement: Entitlement
    entry: TimelineEntry | None
    form: OperatorForm | None


def customer_page(
    side: Side,
    subject_id: str,
    fragment: str | None = None,
    *,
    status: int = 200,
    refused: EntitlementForm | None = None,
    refused_override: OverrideAct | None = None,
    whole: bool = False,
    trial_form: TrialForm | None = None,
) -> Response:
    """The page of one customer, or only the form that was refused.

    Only with `whole` all entitlements stand on it, and otherwise the first ones.
    """
    with runtime().database.read() as db:
        subject = subject_by_id(db, side.scope, subject_id=subject_id)
        if subject is None:
            abort(404)
        now = side.scope.now(runtime().clock)
        (holder,) = holders_of(db, side, [subject], now)
        windows = grants_with_default(db, side.scope, holder.access.owned, now=now)
        has_units = bool(windows) or any(
            each.kind is Kind.USAGE_PACK or each.included for each in holder.access.owned
        )
        usage = (
            usage_of(db, side.scope, now=now, limit=_MOST_SHOWN, subject_id=subject_id) if has_units else None
        )
        ordered = _in_order(holder, refused)
        cards = _cards(db, side, ordered if whole else ordered[:_MOST_CARDS])
        _add_windows(db, side, cards, windows, now)
        overrides = _overrides(db, side, subject, now, refused_override)
        entries = [entry for card in cards for entry in card.entries]
        entries += [row.entry for row in overrides if row.entry is not None]
        names = names_of(db, user_ids={entry.actor_id for entry in entries if entry.actor_id})
        attempts = attempts_of(db, side.scope, limit=_MOST_SHOWN, subject_id=subject_id)
        events = events_of_subject(db, side.scope, limit=_MOST_SHOWN, subject_id=subject_id)
        trials = trial_record(db, side.scope, subject=subject)
        deliveries = deliveries_to(db, side.scope, limit=_MOST_SHOWN, subject_id=subject_id)
        is_erased = subject.erased_at is not None
        erasure = erasure_of(db, side.scope, subject_id=subject_id) if is_erased else None
        still_open = open_checkouts(db, side.scope, subject_id=subject_id, now=now) if is_erased else []
    if side.may(Role.SUPPORT):
        _add_forms(side, subject, cards, refused)
    context: dict[str, Any] = {}
    if refused is not None:
        card = next((each for each in cards if each.entitlement.id == refused.entitlement_id), None)
        context = {"card": card, "act": refused.act, "form": refused.form}
    return show(
        "customers/page.html",
        fragment,
        status=status,
        subject=subject,
        holder=holder,
        cards=cards,
        counting=in_force(holder.access.owned, now, holder.access.default),
        overrides=overrides,
        override_form=_override_form(side, subject, refused_override),
        refused_override=refused_override,
        more_cards=len(ordered) - len(cards),
        names=names,
        refused=refused,
        attempts=attempts,
        events=events,
        usage=usage,
        balances=balances([*holder.access.owned, *windows], now),
        deliveries=deliveries,
        still_open=still_open,
        being_erased=erasure is not None and erasure.finished_at is None,
        trials=trials,
        trial_form=trial_form or _trial_form(),
        most_shown=_MOST_SHOWN,
        base_url=runtime().settings.base_url,
        **context,
    )


def _trial_form() -> TrialForm:
    form = TrialForm(formdata=None)
    form.set_ids("trial", required_word=None)
    return form


def holders_of(db: Session, side: Side, subjects: Sequence[Subject], now: datetime) -> list[Holder]:
    """What each of these owns, what that is worth at `now`, and the access check's answer."""
    refs = [subject.subject_ref for subject in subjects]
    answers = access_of(db, side.scope, subject_refs=refs, now=now, asked_at=runtime().clock())
    return [_holder(subject, answers[subject.subject_ref], now) for subject in subjects]


def _holder(subject: Subject, access: Access[Entitlement], now: datetime) -> Holder:
    return Holder(
        subject=subject,
        owned=[
            (entitlement, standing(entitlement, now), remaining(entitlement))
            for entitlement in only_entitlements(access.owned)
        ],
        access=access,
        status=best_status(access.owned, now),
    )


def _overrides(
    db: Session, side: Side, subject: Subject, now: datetime, refused: OverrideAct | None
) -> list[OverrideRow]:
    rows = overrides_in_force(db, side.scope, subject_id=subject.id, now=now)
    if not rows:
        return []
    key = purchase_key(subject.id)
    facts = facts_behind(db, side.scope, purchase_keys=[key])[key]
    shown: list[OverrideRow] = []
    for row in rows:
        form: OperatorForm | None = None
        if side.may(Role.SUPPORT):
            form = RemoveOverrideForm(formdata=None)
            form.set_ids(f"remove-{row.id}", required_word=required_word(side, subject))
            if refused is not None and refused.override_id == row.id:
                form = refused.form
        shown.append(OverrideRow(row, next(iter(history(facts, row.item_key)), None), form))
    return shown


def _override_form(side: Side, subject: Subject, refused: OverrideAct | None) -> OperatorForm | None:
    if not side.may(Role.SUPPORT) or subject.erased_at is not None:
        return None
    if refused is not None and refused.override_id is None:
        return refused.form
    form = OverrideForm(formdata=None)
    form.set_ids("override", required_word=required_word(side, subject))
    return form


def required_word(side: Side, subject: Subject) -> str | None:
    """What must be typed before something is taken from a customer: in live their ref."""
    return subject.subject_ref if side.mode.livemode else None


def _in_order(holder: Holder, refused: EntitlementForm | None) -> list[tuple[Entitlement, Standing, int]]:
    """What gives access first, and the newest first among the like; a refused form's is always in sight."""
    shown_first = refused.entitlement_id if refused is not None else None
    return sorted(holder.owned, key=lambda each: (each[0].id != shown_first, not each[1].available))


def _cards(db: Session, side: Side, owned: list[tuple[Entitlement, Standing, int]]) -> list[Card]:
    keys = list({entitlement.purchase_key for entitlement, _standing, _left in owned})
    facts = facts_behind(db, side.scope, purchase_keys=keys)
    cards: list[Card] = []
    for entitlement, worth, left in owned:
        entries = history(facts[entitlement.purchase_key], entitlement.item_key)
        earlier = max(0, len(entries) - _MOST_ENTRIES)
        cards.append(Card(entitlement, worth, left, entries[:_MOST_ENTRIES], earlier))
    return cards


def _add_windows(
    db: Session, side: Side, cards: list[Card], windows: Sequence[WindowGrant], now: datetime
) -> None:
    including = [card.entitlement for card in cards if card.entitlement.included]
    recent = recent_windows_of(db, side.scope, including, now=now, limit=MOST_SHOWN)
    for card in cards:
        card.included[:] = units_shown(card.entitlement, windows, recent, now)


def _add_forms(side: Side, subject: Subject, cards: list[Card], refused: EntitlementForm | None) -> None:
    for card in cards:
        for act in allowed_actions(card.entitlement):
            form = ACT_FORMS[act](formdata=None)
            form.set_ids(f"{act}-{card.entitlement.id}", required_word=required_word(side, subject))
            form.fill_choices(card.entitlement)
            card.forms[act] = form
        if refused is not None and refused.entitlement_id == card.entitlement.id:
            card.forms[refused.act] = refused.form
