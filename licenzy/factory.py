"""Wires settings, database, gateway, doors and the command line; the only file that sees everything.

What is heavy is imported where it is used: `licenzy serve` watches its children for the life of an
installation and should not weigh as much as they do.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from licenzy.kit.clock import Clock, utc_now
from licenzy.kit.resources import content_digest, resource_dir
from licenzy.kit.stopping import StopSignal
from licenzy.settings import Settings, load_settings

if TYPE_CHECKING:
    from click import Group
    from flask import Flask

    from licenzy.cli.wiring import Wiring
    from licenzy.runtime import Runtime
    from licenzy.stripe_sandbox import Sandbox

_STATIC_SECONDS = 3600
_REQUEST_HEAD = 32 * 1024


def create_app(settings: Settings | None = None, *, clock: Clock = utc_now) -> Flask:
    """The product as a Flask application; without settings they are read from the environment."""
    from flask import Flask
    from jinja2 import StrictUndefined
    from whitenoise import WhiteNoise

    from licenzy import api, hooks, portal
    from licenzy.cli import attach
    from licenzy.server.http_hardening import Hardening
    from licenzy.server.limits import ROUTES, route_of
    from licenzy.server.wsgi import RequestDeadline

    settings = settings or load_settings()
    runtime = make_runtime(settings, clock)
    static = resource_dir("static")
    app = Flask(
        "licenzy",
        instance_path=str(settings.instance),
        static_folder=str(static),
        static_url_path="/static",
        template_folder=str(resource_dir("templates")),
    )
    app.config.update(
        SECRET_KEY=settings.secret_key,
        TESTING=settings.testing,
        MAX_CONTENT_LENGTH=max(route.most_bytes for route in ROUTES),
        MAX_FORM_MEMORY_SIZE=route_of("/").most_bytes,
        MAX_FORM_PARTS=200,
    )
    app.jinja_env.undefined = StrictUndefined
    # A subject_ref in a path may hold `//` and end in `/`: neither may turn into a redirect.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.extensions["licenzy"] = runtime
    for_good = f"static/{content_digest('static')}/"
    files = WhiteNoise(
        app.wsgi_app,
        root=str(static),
        prefix="static/",
        max_age=_STATIC_SECONDS,
        immutable_file_test=lambda _path, url: url.startswith(f"/{for_good}"),
    )
    files.add_files(str(static), prefix=for_good)
    app.wsgi_app = files  # type: ignore[method-assign]
    for door in (api, hooks, portal):
        door.register(app)
    # Around static files as well.
    app.wsgi_app = Hardening(app, base_host=settings.base_host, https=settings.https)  # type: ignore[method-assign]
    attach(app.cli, _wiring(settings, runtime, StopSignal()))
    if settings.trusted_proxies:
        _trust_proxies(app, settings.trusted_proxies)
    app.wsgi_app = RequestDeadline(app.wsgi_app)  # type: ignore[method-assign]
    return app


def make_runtime(settings: Settings, clock: Clock = utc_now) -> Runtime:
    """The wired parts without any door: what the worker, the command line and the tests use."""
    from licenzy.db.engine import make_engine
    from licenzy.db.unit_of_work import Database
    from licenzy.kit.secret_box import SecretBox
    from licenzy.runtime import Runtime
    from licenzy.stripe_gateway.client import StripeGateway

    load_models()
    return Runtime(
        settings=settings,
        database=Database(
            make_engine(
                settings.database_url,
                pool_size=settings.threads + 2,
                prepares=settings.prepared_statements,
            ),
            name_key=settings.derived_secret("erased subjects"),
        ),
        gateway=StripeGateway(
            stripe_base=settings.stripe_api_base,
            sandbox_base=settings.sandbox_url if settings.sandbox else None,
            # Half of the threads are never held by a Stripe that hangs.
            concurrent_calls=max(1, settings.threads // 2),
        ),
        secret_box=SecretBox(settings.encryption_keys),
        clock=clock,
    )


def load_models() -> None:
    """Import every table, so that the metadata and the foreign keys are whole."""
    import licenzy.alerts.models
    import licenzy.api_keys.models
    import licenzy.catalog.models
    import licenzy.checkout.models
    import licenzy.connections.models
    import licenzy.deliveries.models
    import licenzy.entitlements.models
    import licenzy.idempotency.models
    import licenzy.imports.models
    import licenzy.lab.models
    import licenzy.mail.models
    import licenzy.observations.models
    import licenzy.projects.models
    import licenzy.reconciliation.models
    import licenzy.stripe_events.models
    import licenzy.subjects.models
    import licenzy.usage.models
    import licenzy.workspace.models
    import licenzy.workspace.sign_in_models  # noqa: F401


def sandbox_app(settings: Settings) -> Sandbox:
    """The Stripe sandbox as an application of its own, with a storage of its own."""
    from licenzy.stripe_sandbox import create_sandbox

    return create_sandbox(
        settings.instance / "sandbox.sqlite3",
        control_token=settings.derived_secret("sandbox control"),
        public_url=settings.sandbox_url,
        lab_url=f"{settings.base_url}/projects/{{reference}}/test/lab",
    )


def command_line(stop: StopSignal) -> Group:
    """The `licenzy` command, which reads its settings from the environment when a command needs them."""
    from licenzy.cli import make_command_line

    return make_command_line(_wiring(None, None, stop))


def _wiring(settings: Settings | None, runtime: Runtime | None, stop: StopSignal) -> Wiring:
    """What the command line is handed, because it must not import what stands beside or above it."""
    from licenzy.cli.wiring import Wiring

    return Wiring(
        settings=lambda: settings or load_settings(),
        make_runtime=lambda wanted: runtime if runtime and wanted is settings else _begun_with(wanted),
        run_web=lambda wanted: _run_web(wanted, stop),
        run_worker=lambda wanted: _run_worker(wanted, stop),
        run_sandbox=lambda wanted: _run_sandbox(wanted, stop),
        stop=stop,
    )


@contextmanager
def _beginning() -> Iterator[None]:
    """For importing and making what lasts as long as the process.

    It is not looked through for garbage meanwhile, which took a seventh of the start, nor ever after.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _begun_with(settings: Settings) -> Runtime:
    """The runtime of a process that has just begun."""
    with _beginning():
        return make_runtime(settings)


def run_granian(settings: Settings, target: str, loader: Callable[[str], Flask], stop: StopSignal) -> None:
    """Serve what `loader` gives for `target` with Granian, on the settings' address, until told to stop.

    HTTP/1.1 alone: the limits here and in the product are made for it, and by HTTP/2 they are passed.
    """
    from granian.constants import HTTPModes, Interfaces, Loops, TaskImpl
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    from licenzy.server.front import Front
    from licenzy.server.limits import IDLE_SECONDS
    from licenzy.server.processes import KILL_SECONDS, WebServer, connections_that_fit

    stop.listen()
    WebServer(
        target,
        interface=Interfaces.RSGI,
        address=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop=Loops.uvloop,
        task_impl=TaskImpl.asyncio,
        backpressure=connections_that_fit(settings.connections),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            max_buffer_size=_REQUEST_HEAD, header_read_timeout=int(IDLE_SECONDS * 1000)
        ),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=KILL_SECONDS,
        log_level=LogLevels.warning,
        stop=stop,
    ).run(lambda wanted: Front(loader(wanted), settings))


def _run_web(settings: Settings, stop: StopSignal) -> None:
    """Serve the product until told to stop.

    What its processes need is imported before they are forked: one that takes the place of another answers
    at once, and all of them share the memory.
    """
    with _beginning():
        _import_what_answers()
    run_granian(settings, "licenzy:create_app", load_in_web_process, stop)


def _import_what_answers() -> None:
    import whitenoise  # noqa: F401

    import licenzy.api
    import licenzy.hooks
    import licenzy.portal
    import licenzy.server.front  # noqa: F401

    load_models()


def load_in_web_process(_target: str) -> Flask:
    """The application of one of Granian's processes, which ends with the process that began them all."""
    from multiprocessing.util import Finalize

    from licenzy.cli.parent_watch import watch_parent_in_fork

    watch_parent_in_fork()
    with _beginning():
        app = create_app()
    # Writes what requests have noted. Such a process ends without the handlers of `atexit`.
    Finalize(None, app.extensions["licenzy"].database.close, exitpriority=1)
    return app


def _run_worker(settings: Settings, stop: StopSignal) -> None:
    """Run the worker's loop until told to stop."""
    with _beginning():
        from licenzy.worker import run_worker

        runtime = make_runtime(settings)
    run_worker(runtime, stop=stop)
    runtime.database.close()


def _run_sandbox(settings: Settings, stop: StopSignal) -> None:
    """Serve the Stripe sandbox on its own port until told to stop."""
    with _beginning():
        from licenzy.stripe_sandbox.serving import serve

        sandbox = sandbox_app(settings)
    serve(sandbox, host=settings.sandbox_host, port=settings.port + 1, stop=stop)


def _trust_proxies(app: Flask, hops: int) -> None:
    from werkzeug.middleware.proxy_fix import ProxyFix

    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops, x_prefix=0
    )
