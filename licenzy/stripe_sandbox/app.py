"""The sandbox as one WSGI application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from licenzy.stripe_sandbox.api import OPERATIONS, gate
from licenzy.stripe_sandbox.api.table import Operation
from licenzy.stripe_sandbox.console import console_doors
from licenzy.stripe_sandbox.control import control_doors
from licenzy.stripe_sandbox.errors import NoSuchAddress, StripeRefusal
from licenzy.stripe_sandbox.hosted import hosted_doors
from licenzy.stripe_sandbox.keeper import Keeper
from licenzy.stripe_sandbox.pages import dress
from licenzy.stripe_sandbox.running import Running
from licenzy.stripe_sandbox.sender import RETRY_SECONDS, Sender
from licenzy.stripe_sandbox.store import Store

LARGEST_BODY_BYTES = 1024 * 1024
_ROOM = Path(__file__).parent


class Sandbox(Flask):
    """The application, with what runs behind it. `close` stops posting and closes the storage,
    within three seconds."""

    running: Running
    keeper: Keeper

    def start(self) -> None:
        """Begin to post, and to keep up with real time."""
        self.running.sender.start()
        self.keeper.start()

    def close(self) -> None:
        kept = self.keeper.stop()
        if self.running.sender.stop() and kept:
            self.running.store.close()
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
    app = Sandbox("licenzy.stripe_sandbox", root_path=str(_ROOM), static_url_path="/sandbox-static")
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    store = Store(storage)
    sender = Sender(store, retry_seconds=retry_seconds)
    app.running = Running(store, sender, public_url.rstrip("/"), control_token, allow_live, lab_url)
    app.keeper = Keeper(app.running)
    _mount_api(app)
    for doors in (control_doors, hosted_doors, console_doors):
        app.register_blueprint(doors(app.running))
    app.after_request(dress)
    if start:
        app.start()
    return app


def _mount_api(app: Sandbox) -> None:
    for operation in OPERATIONS:
        app.add_url_rule(
            operation.rule,
            operation.name,
            _view(app, operation),
            methods=[operation.method],
            provide_automatic_options=False,
        )
    app.register_error_handler(HTTPException, _unmet)


def _view(app: Sandbox, operation: Operation) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        return gate.call(app.running, operation, ids)

    return view


def _unmet(problem: HTTPException) -> Response | HTTPException:
    """Under `/v1` every answer has Stripe's shape, those that meet no operation included."""
    if not request.path.startswith("/v1"):
        return problem
    if problem.code in (404, 405):
        return gate.refuse(
            NoSuchAddress(
                f"Unrecognized request URL ({request.method}: {request.path}). The sandbox knows a part of "
                f"Stripe's API; "
                "if this is one of Stripe's addresses, it is not among them."
            )
        )
    refusal = StripeRefusal(problem.description or "The request could not be read.")
    refusal.status = problem.code or 400
    return gate.refuse(refusal)
