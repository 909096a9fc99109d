"""The sandbox as one WSGI application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from licenzy.stripe_sandbox.advances import ClockAdvancer
from licenzy.stripe_sandbox.api import OPERATIONS, dispatch
from licenzy.stripe_sandbox.api.table import ApiOperation
from licenzy.stripe_sandbox.console import console_blueprint
from licenzy.stripe_sandbox.control import control_blueprint
from licenzy.stripe_sandbox.errors import NoSuchAddress, StripeRefusal
from licenzy.stripe_sandbox.hosted import hosted_blueprint
from licenzy.stripe_sandbox.pages import set_security_headers
from licenzy.stripe_sandbox.scheduler import Scheduler
from licenzy.stripe_sandbox.sender import RETRY_SECONDS, EventSender
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.store import Store

LARGEST_BODY_BYTES = 1024 * 1024
_PACKAGE = Path(__file__).parent


class Sandbox(Flask):
    """The application, with what runs behind it. `close` stops posting and closes the storage,
    within four seconds."""

    services: Services
    scheduler: Scheduler

    def start(self) -> None:
        """Begin to post, and to keep up with real time."""
        self.services.sender.start()
        self.services.advancer.start()
        self.scheduler.start()

    def close(self) -> None:
        advancer_stopped = self.services.advancer.stop()
        scheduler_stopped = self.scheduler.stop()
        if self.services.sender.stop() and scheduler_stopped and advancer_stopped:
            self.services.store.close()
        # Else a thread still uses it, which the end of the process cuts off; the file outlives that.


def create_sandbox(
    storage: Path,
    *,
    control_token: str,
    public_url: str,
    lab_url: str | None = None,
    allow_live: bool = False,
    retry_seconds: tuple[float, ...] = RETRY_SECONDS,
    start: bool = True,
) -> Sandbox:
    """An embedded stand-in for Stripe, remembering everything in the SQLite file `storage`.

    `control_token` guards what is not Stripe's API; `public_url` is the address that browsers reach it at;
    `lab_url` is where the merchant's own page about an account stands, with `{reference}` in it;
    `allow_live` lets it open live accounts, which only tests want. Run it in one process: its sender assumes
    to be alone."""
    if not control_token:
        raise ValueError("an empty control token would let everybody in")
    app = Sandbox("licenzy.stripe_sandbox", root_path=str(_PACKAGE), static_url_path="/sandbox-static")
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    store = Store(storage)
    sender = EventSender(store, retry_seconds=retry_seconds)
    public_url = public_url.rstrip("/")
    advancer = ClockAdvancer(store, sender, public_url)
    app.services = Services(store, sender, advancer, public_url, control_token, allow_live, lab_url)
    app.scheduler = Scheduler(app.services)
    _mount_api(app)
    for make_blueprint in (control_blueprint, hosted_blueprint, console_blueprint):
        app.register_blueprint(make_blueprint(app.services))
    app.after_request(set_security_headers)
    if start:
        app.start()
    return app


def _mount_api(app: Sandbox) -> None:
    for operation in OPERATIONS:
        app.add_url_rule(
            # Ids of old plans may hold a slash, which WSGI servers decode before the rules see it.
            operation.rule.replace("<price_id>", "<path:price_id>"),
            operation.name,
            _view(app, operation),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    app.register_error_handler(HTTPException, _unmatched)


def _view(app: Sandbox, operation: ApiOperation) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        return dispatch.handle(app.services, operation, ids)

    return view


def _unmatched(problem: HTTPException) -> Response | HTTPException:
    """Under `/v1` every answer has Stripe's shape, those that meet no operation included."""
    if not request.path.startswith("/v1"):
        return problem
    if problem.code in (404, 405):
        return dispatch.refuse(
            NoSuchAddress(
                f"Unrecognized request URL ({request.method}: {request.path}). The sandbox knows a part of "
                f"Stripe's API; "
                "if this is one of Stripe's addresses, it is not among them."
            )
        )
    refusal = StripeRefusal(problem.description or "The request could not be read.")
    refusal.status = problem.code or 400
    return dispatch.refuse(refusal)
