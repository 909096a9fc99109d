"""The way to Stripe's customer portal, where a subject manages its own subscriptions."""

from __future__ import annotations

from licenzy.checkout.preparation import Seller
from licenzy.checkout.rules import redirect_problem
from licenzy.connections.actions import access
from licenzy.connections.queries import connection_of
from licenzy.errors import CustomerNotFound, InvalidRedirectUrl, StripeNotConnected
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.translate import StripeObjectMissing
from licenzy.subjects.actions import forget_customer
from licenzy.subjects.queries import subject_by_ref


def open_billing_portal(
    seller: Seller, scope: Scope, *, subject_ref: str, return_url: str | None = None
) -> str:
    """The address of a page of Stripe's where the subject may cancel, resume or change what it pays for.

    It is good for a short while and for this customer alone. Without a `return_url`, Stripe shows the one of
    its own settings. Raises InvalidRedirectUrl, CustomerNotFound, StripeNotConnected and Stripe's errors; a
    customer that Stripe no longer knows is forgotten.
    """
    with seller.database.read() as db:
        side = db.get(ProjectSide, (scope.project_id, scope.mode))
        subject = subject_by_ref(db, scope, subject_ref=subject_ref)
        connection = connection_of(db, scope)
    hosts = side.redirect_hosts if side else []
    problem = redirect_problem(return_url, mode=scope.mode, hosts=hosts) if return_url is not None else None
    if problem:
        raise InvalidRedirectUrl(f"return_url {problem}.", fields={"return_url": problem})
    if subject is None or subject.stripe_customer_id is None:
        raise CustomerNotFound
    if connection is None or connection.key_sealed is None:
        page = f"{seller.base_url}/projects/{scope.project_id}/{scope.mode}/connection"
        raise StripeNotConnected(hint=f"Connect Stripe for {scope.mode} mode at {page}.")
    stripe = access(seller.gateway, seller.secret_box, connection)
    try:
        return seller.gateway.create_portal_session(
            stripe, customer_id=subject.stripe_customer_id, return_url=return_url
        )
    except StripeObjectMissing as missing:
        if "customer" not in missing.message:
            raise
    with seller.database.write() as db:
        forget_customer(db, scope, subject_id=subject.id)
    raise CustomerNotFound("The subject's Stripe customer was deleted in Stripe.")
