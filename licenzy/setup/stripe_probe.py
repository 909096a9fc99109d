"""Looking at Stripe: what it says of a side's key, account, endpoints and prices, kept with its time."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Classified, Credential, classify
from licenzy.catalog import queries as catalog
from licenzy.catalog.prices import note_prices, price_in_other_mode
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.actions import access, note_account
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import is_address_of, is_shared_address
from licenzy.db.leases import is_free, take_lease
from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError, StripeNotConnected
from licenzy.kit.clock import Clock
from licenzy.kit.lease import Lease
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import PROBE_EVERY, begin_looks, keep_answers, probe_soon
from licenzy.observations.models import StripeProbe
from licenzy.projects.queries import is_worked_on
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import AccountFacts, PriceFacts, StripeAccess, StripeGateway
from licenzy.stripe_gateway.permissions import TRIALS
from licenzy.stripe_gateway.translate import (
    StripeKeyRejected,
    StripeObjectMissing,
    StripePermissionMissing,
)

LEASE = Lease(timedelta(minutes=5))
_UNHEARD_AFTER = timedelta(minutes=2)
"""How long an event may be on its way before a paid session without one is worth saying."""
_PROBE_WINDOW = timedelta(days=7)
_MOST_SINGLE_PRICES = 50


def probe_side(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope, *, clock: Clock
) -> None:
    """Ask Stripe about one side now; what it refuses becomes an answer.

    Raises StripeNotConnected, and what says why Stripe could not be asked: the earlier answers stand then.
    """
    with database.read() as db:
        connection = connection_of(db, scope)
    if connection is None or connection.key_sealed is None:
        raise StripeNotConnected
    with database.write() as db:
        probe_soon(db, scope, connection_id=connection.id, now=clock())
    problem = probe_stripe(database, gateway, secret_box, connection=connection, clock=clock)
    if problem is not None:
        raise problem


def probe_stripe(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, *, connection: Connection, clock: Clock
) -> LicenzyError | None:
    """Ask Stripe about one connection, then keep the answers; why it could not be asked, if it could not.

    What cannot be asked because Stripe is away, or our own encryption key is, leaves the earlier answers.
    """
    began = clock()
    asking = _Asking(database, gateway, secret_box, connection, began)
    problem: LicenzyError | None = None
    try:
        asking.all()
    except StripeKeyRejected:
        asking.answers = {"key_accepted": False}
    except LicenzyError as failed:
        problem = failed
    with database.write() as db:
        now_saved = connection_of(db, connection.scope)
        if now_saved is None or now_saved.key_sealed != connection.key_sealed:
            return None  # The key was replaced meanwhile: that look is due on its own.
        if problem is None:
            asking.keep(db)
        keep_answers(
            db,
            connection_id=connection.id,
            began=began,
            answers=asking.answers if problem is None else None,
            problem=problem.message if problem else None,
        )
    return problem


def claim_due_probe(db: Session, *, now: datetime) -> Connection | None:
    """The connection whose look is due longest, of any project, under a lease; for the worker."""
    first_due = (
        col(Connection.created_at) <= now - PROBE_EVERY
    )  # Where nothing was ever saved since it is kept.
    found = db.exec(
        select(Connection)
        .outerjoin(StripeProbe, col(StripeProbe.connection_id) == Connection.id)
        .where(
            col(Connection.key_sealed).is_not(None),
            is_worked_on(Connection.project_id),
            or_(col(StripeProbe.due_at) <= now, and_(col(StripeProbe.due_at).is_(None), first_due)),
            is_free(col(StripeProbe.leased_until), now),
        )
        .order_by(func.coalesce(col(StripeProbe.due_at), Connection.created_at))
        .limit(1)
    ).first()
    if found is None:
        return None
    begin_looks(db, Scope.of(found), connection_id=found.id, now=now)
    # Where another worker was quicker the lease is its own.
    return found if take_lease(db, StripeProbe, {"connection_id": found.id}, LEASE, now=now) else None


class _Asking:
    """One look at one connection: the answers as they come in."""

    def __init__(
        self,
        database: Database,
        gateway: StripeGateway,
        secret_box: SecretBox,
        connection: Connection,
        began: datetime,
    ) -> None:
        self.database, self.gateway, self.secret_box = database, gateway, secret_box
        self.connection, self.began = connection, began
        self.answers: dict[str, Any] = {}
        self.account: AccountFacts | None = None
        self.prices: dict[str, PriceFacts] = {}

    def all(self) -> None:
        """Raises StripeKeyRejected, and what says that Stripe cannot be asked at all."""
        at = access(self.gateway, self.secret_box, self.connection)
        self.account = self.gateway.account(at)
        self.answers["key_accepted"] = True
        self._permissions(at)
        for ask in (self._endpoints, self._prices, self._unheard):
            try:
                ask(at)
            except StripePermissionMissing:
                continue  # Said by the permission's own trial; what it would have told stays unknown.

    def keep(self, db: Session) -> None:
        """Write what belongs to the connection and the products themselves."""
        if self.account is not None:
            note_account(db, connection_id=self.connection.id, account=self.account, now=self.began)
        note_prices(db, self.connection.scope, prices=self.prices, now=self.began)

    def _permissions(self, at: StripeAccess) -> None:
        if classify(at.api_key) != Classified(Credential.RESTRICTED_KEY, self.connection.mode):
            self.answers["missing_permissions"] = []
            return
        missing = (self.gateway.lacking(at, trial) for trial in TRIALS)
        self.answers["missing_permissions"] = sorted({name for name in missing if name is not None})

    def _endpoints(self, at: StripeAccess) -> None:
        self.answers["endpoints"] = [
            {**asdict(endpoint), "secret": None}
            for endpoint in self.gateway.webhook_endpoints(at)
            if is_address_of(endpoint.url, self.connection.id) or is_shared_address(endpoint.url)
        ]

    def _prices(self, at: StripeAccess) -> None:
        with self.database.read() as db:
            wanted = {
                price.stripe_price_id
                for product in catalog.products(db, self.connection.scope)
                for price in product.selling_prices
            }
        if not wanted:
            return
        listed = {price.id: price for price in self.gateway.prices(at)}
        self.prices = {price_id: listed[price_id] for price_id in wanted & listed.keys()}
        missing: dict[str, bool | None] = {}
        for price_id in sorted(wanted - listed.keys())[:_MOST_SINGLE_PRICES]:
            try:
                self.prices[price_id] = self.gateway.price(at, price_id)
            except StripeObjectMissing:
                missing[price_id] = price_in_other_mode(
                    self.database, self.gateway, self.secret_box, self.connection.scope, price_id=price_id
                )
        self.answers["missing_prices"] = missing

    def _unheard(self, at: StripeAccess) -> None:
        waiting = self._waiting_attempts()
        unheard: list[str] = []
        if waiting:
            ahead = timedelta(seconds=self.connection.clock_offset_seconds)
            oldest = min(attempt.created_at for attempt in waiting) + ahead - _UNHEARD_AFTER
            paid = {
                session["id"]
                for page in self.gateway.sessions(at, created_from=int(oldest.timestamp()))
                for session in page.entries
                if session.get("payment_status") in {"paid", "no_payment_required"}
                and session.get("status") == "complete"
            }
            unheard = [each.id for each in waiting if each.stripe_checkout_session_id in paid]
        self.answers["unheard"] = unheard

    def _waiting_attempts(self) -> list[CheckoutAttempt]:
        attempt = CheckoutAttempt
        with self.database.read() as db:
            return list(
                db.exec(
                    select(attempt).where(
                        attempt.project_id == self.connection.project_id,
                        attempt.mode == self.connection.mode,
                        attempt.connection_id == self.connection.id,
                        col(attempt.status).in_([AttemptStatus.OPEN, AttemptStatus.PROCESSING]),
                        col(attempt.stripe_checkout_session_id).is_not(None),
                        attempt.created_at <= self.began - _UNHEARD_AFTER,
                        attempt.created_at > self.began - _PROBE_WINDOW,
                    )
                )
            )
