"""Records of every kind, which name themselves, on six sides: three projects of two workspaces in both modes.

Whatever a merchant, a customer or Stripe names freely contains the mark of its side, so that an answer that
shows something of another side can be told by its bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKeyRefusal
from licenzy.catalog.models import Product
from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.models import Connection, Provider
from licenzy.db.tables import Table
from licenzy.deliveries.models import Delivery, DeliveryAttempt, OutboundEvent, WebhookEndpoint
from licenzy.entitlements.models import Entitlement, TermChange
from licenzy.imports.models import Import, ImportRow, ImportStep
from licenzy.kit.ids import new_id
from licenzy.projects.models import Project
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent, UntrackedCheckout
from licenzy.subjects.models import Subject
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.models import Invitation, Role, User
from licenzy.workspace.sessions import Device, open_session
from licenzy.workspace.sign_in_models import Passkey, SignInSession
from tests.portal.filled_side import Names, fill_side
from tests.portal.fixtures_events import make_event
from tests.support.cast import Cast, make_project, make_subject, make_user
from tests.support.clock import START
from tests.support.holders import make_term_change
from tests.support.purchases import make_entitlement

PAYLOAD = "zqpayload"
"""In every payload of every side: what viewers never see."""


@dataclass(frozen=True, order=True)
class Site:
    """One side: `ours`, `sibling` (of our workspace) or `theirs`, in a mode."""

    project: str
    mode: Mode

    @property
    def mark(self) -> str:
        """What the records of this side are named with, in lower case."""
        return f"zq{self.project}{self.mode}"


PROJECTS = ("ours", "sibling", "theirs")
SITES = tuple(Site(project, mode) for project in PROJECTS for mode in Mode)
WORKSPACE_OF = {"ours": "ours", "sibling": "ours", "theirs": "theirs"}


@dataclass(frozen=True)
class Records:
    """The ids of records by the names that paths and forms have for them."""

    sites: dict[Site, dict[str, str]]
    relatives: dict[Site, dict[str, str]]
    """Of the same side, but of another parent: another customer's entitlement, another product's price."""
    workspaces: dict[str, dict[str, str]]
    people: dict[str, dict[str, str]]
    """Of one person, by their e-mail address."""

    def kind_of(self, name: str) -> str:
        """Whether an id with this name belongs to a `site`, a `workspace` or a `person`."""
        for kind, owners in (("site", self.sites), ("workspace", self.workspaces), ("person", self.people)):
            if any(name in ids for ids in owners.values()):
                return kind
        raise AssertionError(f"access_records.py has no record for <{name}>")

    def missing(self, name: str) -> str:
        """An id of the same form that nothing has."""
        if name in _NOBODY:
            return _NOBODY[name]
        owners: dict[str, dict[Any, dict[str, str]]]
        owners = {"site": self.sites, "workspace": self.workspaces, "person": self.people}
        known = next(ids[name] for ids in owners[self.kind_of(name)].values() if name in ids)
        return f"{known.partition('_')[0]}_{'0' * 26}"


_NOBODY = {
    "event_id": "evt_zq_of_nobody",
    "object_id": "in_zq_of_nobody",
    "purchase_key": "sub_zq_of_nobody",
    "product_code": "ZQ_OF_NOBODY",
    "subject_ref": "zq_of_nobody",
}


def make_records(runtime: Runtime, cast: Cast) -> Records:
    """Fill all sides; of the cast, the owner's project is `ours` and the stranger's is `theirs`."""
    with runtime.database.write() as db:
        sibling = make_project(db, workspace_id=cast.owner.workspace_id)
        for email, role in (("support", Role.SUPPORT), ("admin", Role.ADMIN), ("disabled", Role.OWNER)):
            make_user(db, email=f"{email}@example.com", workspace_id=cast.owner.workspace_id, role=role)
    casts = {
        "ours": cast,
        "sibling": replace(cast, owner=replace(cast.owner, project_id=sibling)),
        "theirs": replace(cast, owner=cast.stranger),
    }
    sites, relatives = {}, {}
    for site in SITES:
        sites[site], relatives[site] = _fill(runtime, casts[site.project], site)
    with runtime.database.write() as db:
        workspaces = {
            name: _make_workspace_records(
                db, person.workspace_id, site=sites[Site(name, Mode.TEST)], mark=f"zq{name}"
            )
            for name, person in (("ours", cast.owner), ("theirs", cast.stranger))
        }
        for project in PROJECTS:
            db.get_one(Project, casts[project].project_id).name = f"zq{project}project"
        db.get_one(User, cast.stranger.user_id).name = "Zqtheirs Person"
    return Records(sites, relatives, workspaces, {})


def _fill(runtime: Runtime, cast: Cast, site: Site) -> tuple[dict[str, str], dict[str, str]]:
    mark = site.mark
    names = Names(
        product_code=mark.upper(),
        product_name=f"Product {mark}",
        subject_ref=f"user_{mark}",
        email=f"{mark}@example.com",
        key=f"key {mark}",
        account=f"Account {mark}",
        url=f"http://127.0.0.1:9999/{mark}",
        limit=f"{mark}_projects",
        unit=f"{mark}_songs",
    )
    fill_side(runtime, cast, mode=site.mode, names=names, free=True)
    here: dict[str, Any] = {"project_id": cast.project_id, "mode": site.mode}
    with runtime.database.write() as db:
        connection = _newest(db, Connection, here)
        # What asks Stripe asks the sandbox, which knows no such key: an answer, and no other machine.
        connection.provider = Provider.SANDBOX
        make_event(
            db,
            connection=connection,
            event_id=f"evt_{mark}",
            object_id=f"in_{mark}",
            status=EventStatus.FAILED,
            payload=json.dumps({"id": f"evt_{mark}", "object": "event", "secret": PAYLOAD}),
        )
        old = db.exec(_of_side(Product, here).where(Product.product_code == "OLD")).one()
        make_term_change(db, old, features=["api"])
        another = make_subject(db, subject_ref=f"another_{mark}", **here)
        make_entitlement(db, subject=another, product_code=mark.upper())
        for number, row in enumerate(db.exec(_of_side(ImportRow, here))):
            row.key = f"sub_{mark}_{number}" if row.number else row.key
        for event in db.exec(_of_side(OutboundEvent, here)):
            event.body = json.dumps({**json.loads(event.body), "secret": PAYLOAD})
        for tried in db.exec(select(DeliveryAttempt).where(DeliveryAttempt.project_id == cast.project_id)):
            if tried.answer:
                tried.answer = PAYLOAD
    with runtime.database.read() as db:
        return _ids(db, cast, here, mark)


def _ids(db: Session, cast: Cast, here: dict[str, Any], mark: str) -> tuple[dict[str, str], dict[str, str]]:
    """The ids of a side, then those that belong to another parent."""
    subject, another = (
        db.exec(_of_side(Subject, here).where(Subject.subject_ref == f"{kind}_{mark}")).one()
        for kind in ("user", "another")
    )
    product, old = (
        db.exec(_of_side(Product, here).where(Product.product_code == code)).one()
        for code in (mark.upper(), "OLD")
    )
    owned, theirs = (
        db.exec(
            _of_side(Entitlement, here)
            .where(Entitlement.subject_id == each.id, Entitlement.product_code == mark.upper())
            .order_by(col(Entitlement.id))
        ).first()
        for each in (subject, another)
    )
    override = db.exec(
        _of_side(Entitlement, here).where(
            Entitlement.subject_id == subject.id, Entitlement.product_code == ""
        )
    ).first()
    waiting = db.exec(_of_side(Import, here).where(Import.step == ImportStep.PREVIEW)).one()
    row = db.exec(
        _of_side(ImportRow, here).where(ImportRow.import_id == waiting.id, col(ImportRow.number) > 0)
    ).first()
    running = _of_side(TermChange, here).where(col(TermChange.ended_at).is_(None))
    change, older = (
        db.exec(running.where(TermChange.product_id == each.id)).one() for each in (product, old)
    )
    refusal = db.exec(_of_side(ApiKeyRefusal, here)).first()
    assert None not in (owned, theirs, override, row, refusal)
    simple: dict[str, type[Table]] = {
        "untracked_id": UntrackedCheckout,
        "endpoint_id": WebhookEndpoint,
        "delivery_id": Delivery,
        "received_id": StripeEvent,
        "attempt_id": CheckoutAttempt,
    }
    ids = {
        "project_id": cast.project_id,
        "subject_id": subject.id,
        "subject_ref": subject.subject_ref,
        "entitlement_id": owned.id,
        "override_id": override.id,
        "product_id": product.id,
        "product_code": product.product_code,
        "price_id": product.selling_prices[0].id,
        "change_id": change.id,
        "import_id": waiting.id,
        "purchase_key": row.key,
        "key_id": refusal.key_id,
        "request_id": refusal.request_id,
        "event_id": f"evt_{mark}",
        "object_id": f"in_{mark}",
        **{name: _newest(db, model, here).id for name, model in simple.items()},
    }
    return ids, {
        "entitlement_id": theirs.id,
        "override_id": theirs.id,
        "price_id": old.prices[0].id,
        "change_id": older.id,
    }


def _make_workspace_records(
    db: Session, workspace_id: str, *, site: dict[str, str], mark: str
) -> dict[str, str]:
    """A member to act on, an invitation, and what that member did."""
    user_id = make_user(db, email=f"{mark}_member@example.com", workspace_id=workspace_id, role=Role.VIEWER)
    invitation = Invitation(
        id=new_id("inv"),
        workspace_id=workspace_id,
        email=f"{mark}_invited@example.com",
        role=Role.VIEWER,
        token_hash=mark,
        created_at=START,
        expires_at=START + timedelta(days=7),
    )
    db.add(invitation)
    db.flush()
    record(
        db,
        actor=Actor(user_id),
        action="api_key.created",
        about=site["key_id"],
        workspace_id=workspace_id,
        project_id=site["project_id"],
        mode=Mode.TEST,
        after={"name": mark},
        now=START,
    )
    return {"workspace_id": workspace_id, "user_id": user_id, "invitation_id": invitation.id}


def make_personal_records(db: Session, *, user_id: str) -> dict[str, str]:
    """What belongs to one person alone: another session, a passkey."""
    open_session(db, user_id=user_id, device=Device(), now=START)
    db.flush()
    opened = db.exec(
        select(SignInSession).where(SignInSession.user_id == user_id, SignInSession.user_agent == "")
    ).one()
    passkey = Passkey(
        id=new_id("psk"),
        user_id=user_id,
        name="A passkey",
        credential_id=new_id("x"),
        public_key="",
        created_at=START,
    )
    db.add(passkey)
    db.flush()
    return {"session_id": opened.id, "passkey_id": passkey.id}


def _of_side(model: Any, here: dict[str, Any]) -> Any:
    return select(model).where(model.project_id == here["project_id"], model.mode == here["mode"])


def _newest(db: Session, model: Any, here: dict[str, Any]) -> Any:
    return db.exec(_of_side(model, here).order_by(col(model.id).desc())).first()
