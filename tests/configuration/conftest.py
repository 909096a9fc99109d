"""A side of a project that files are applied to, by the command line, connected to the sandbox over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from licenzy.alignment.modes import Mode
from licenzy.catalog import queries
from licenzy.catalog.models import Product
from licenzy.cli import make_command_line
from licenzy.cli.wiring import Wiring
from licenzy.connections import actions as connections
from licenzy.deliveries.models import WebhookEndpoint
from licenzy.deliveries.queries import endpoints
from licenzy.kit.stopping import StopSignal
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_sandbox import create_sandbox
from licenzy.workspace.audit import Actor
from tests.conftest import Sandbox
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock
from tests.support.servers import served


def not_here(_settings: Settings) -> None:
    raise AssertionError("a test of commands starts no server")


def command_line(
    runtime: Runtime, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Result:
    """What `licenzy` does with these arguments."""
    wiring = Wiring(
        settings=lambda: runtime.settings,
        make_runtime=lambda settings: replace(runtime, settings=settings),
        run_web=not_here,
        run_worker=not_here,
        run_sandbox=not_here,
        stop=StopSignal(),
    )
    return CliRunner().invoke(make_command_line(wiring), arguments, env=env, input=stdin)


class Shop:
    """One side of a project, and the merchant with files and a terminal."""

    def __init__(self, runtime: Runtime, cast: Cast, clock: StandingClock, folder: Path) -> None:
        self.runtime, self.cast, self.clock, self.folder = runtime, cast, clock, folder
        self.side = Scope(cast.project_id, Mode.TEST)
        self.actor = Actor(cast.owner.user_id)
        self.parts = (runtime.database, runtime.gateway, runtime.secret_box)
        self.sandbox_url = self.key = ""

    def connect(self, sandbox: Sandbox) -> None:
        connection = connections.connect_sandbox(
            *self.parts,
            self.runtime.settings,
            project_id=self.cast.project_id,
            project_name="Our project",
            actor=self.actor,
            now=self.clock(),
        )
        self.sandbox_url = sandbox.url
        self.key = connections.stripe_key(self.runtime.secret_box, connection)

    def connect_live(self) -> None:
        """Go on in live mode, connected to a live account."""
        opened = httpx.post(
            f"{self.sandbox_url}/_sandbox/accounts",
            headers={"Authorization": f"Bearer {self.runtime.settings.derived_secret('sandbox control')}"},
            json={"name": "Live", "livemode": True, "reference": "live"},
            trust_env=False,
        )
        self.key = opened.raise_for_status().json()["secret_key"]
        self.side = Scope(self.side.project_id, Mode.LIVE)
        with self.runtime.database.write() as db:
            make_connection(
                db,
                project_id=self.side.project_id,
                secret_box=self.runtime.secret_box,
                mode=Mode.LIVE,
                stripe_key=self.key,
            )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Result:
        return command_line(self.runtime, *arguments, env=env, stdin=stdin)

    def file(self, content: str | bytes, name: str = "shop.toml") -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def apply(self, content: str | bytes, *options: str, env: Mapping[str, str] | None = None) -> Result:
        path = self.file(content)
        side = ("--project", self.side.project_id, "--mode", self.side.mode.value)
        result = self.run("apply", path, *side, *options, env=env)
        assert "Traceback" not in result.output, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def applied(self, content: str, *options: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The report of a file that can be applied."""
        result = self.apply(content, "--json", *options, env=env)
        assert result.exit_code == 0, result.output
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def refused(self, content: str | bytes, *options: str, env: Mapping[str, str] | None = None) -> str:
        """The sentence with which a file is refused, without the folder that it is in."""
        result = self.apply(content, *options, env=env)
        assert result.exit_code == 1, result.output
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr.removeprefix("Error: ").replace(f"{self.folder}/", "").strip()

    def exported(self, *options: str) -> str:
        side = ("--project", self.side.project_id, "--mode", self.side.mode.value)
        result = self.run("export", *side, *options)
        assert result.exit_code == 0, result.output
        return result.stdout

    def differs(self, content: str, *options: str) -> bool:
        result = self.apply(content, "--dry-run", *options)
        assert result.stderr == "", result.stderr
        return result.exit_code == 1

    def product(self, code: str) -> Product:
        with self.runtime.database.read() as db:
            found = queries.product_by_code(db, self.side, product_code=code)
        assert found is not None
        return found

    def selling(self, code: str) -> dict[str, str]:
        return {each.label: each.stripe_price_id for each in self.product(code).selling_prices}

    def codes(self) -> list[str]:
        with self.runtime.database.read() as db:
            return [each.product_code for each in queries.products(db, self.side)]

    def endpoints(self) -> list[WebhookEndpoint]:
        with self.runtime.database.read() as db:
            return sorted(endpoints(db, self.side), key=lambda each: each.id)

    def stripe(self, path: str, **data: str) -> dict[str, Any]:
        """A call of the merchant's own to their account."""
        answer = httpx.post(f"{self.sandbox_url}/v1{path}", data=data, auth=(self.key, ""), trust_env=False)
        body: dict[str, Any] = answer.raise_for_status().json()
        return body

    def at_stripe(self, lookup_key: str) -> list[dict[str, Any]]:
        """The prices with a lookup key."""
        answer = httpx.get(
            f"{self.sandbox_url}/v1/prices",
            params={"lookup_keys[0]": lookup_key},
            auth=(self.key, ""),
            trust_env=False,
        )
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
        return found

    def price(self, lookup_key: str) -> str:
        return str(self.at_stripe(lookup_key)[0]["id"])


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """An installation whose Stripe is the sandbox, so that connections to Stripe itself can be tested."""
    return replace(settings, stripe_api_base=settings.sandbox_url)


@pytest.fixture
def sandbox(settings: Settings) -> Iterator[Sandbox]:
    """The sandbox, with live accounts."""
    token = settings.derived_secret("sandbox control")
    application = create_sandbox(
        settings.instance / "sandbox.sqlite3",
        control_token=token,
        public_url=settings.sandbox_url,
        allow_live=True,
        start=False,
    )
    with served(application, port=settings.port + 1) as url:
        yield Sandbox(application, url, token)
    application.services.store.close()


@pytest.fixture
def unconnected(runtime: Runtime, cast: Cast, clock: StandingClock, tmp_path: Path) -> Shop:
    """A side without a Stripe key."""
    folder = tmp_path / "files"
    folder.mkdir()
    return Shop(runtime, cast, clock, folder)


@pytest.fixture
def shop(unconnected: Shop, sandbox: Sandbox) -> Shop:
    unconnected.connect(sandbox)
    return unconnected
