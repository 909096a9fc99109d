"""What the factory gives the command line, which may not import the other doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from licenzy.kit.stopping import StopSignal
from licenzy.settings import Settings

if TYPE_CHECKING:
    from licenzy.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Wiring:
    """Callables that make the parts of this installation, each only when a command needs it."""

    settings: Callable[[], Settings]
    make_runtime: Callable[[Settings], Runtime]
    run_web: Callable[[Settings], None]
    """Serves the product; returns when stopped."""
    run_worker: Callable[[Settings], None]
    run_sandbox: Callable[[Settings], None]
    stop: StopSignal
    """What these three wait for. A command that runs until it is stopped calls its `listen` first."""

    def command_settings(self) -> Settings:
        """The settings of a command that links to the running product or calls it, with its address."""
        from licenzy.cli.running_instance import with_running_address

        return with_running_address(self.settings())

    def runtime(self) -> Runtime:
        """The wired parts for these settings."""
        return self.make_runtime(self.settings())

    def migrated_runtime(self) -> Runtime:
        """The runtime for a command that needs the schema, with the address of the running product.

        Raises DatabaseUnavailable, which says what to do, where it is another one.
        """
        from licenzy.db import schema

        runtime = self.make_runtime(self.command_settings())
        schema.require(schema.check(runtime.database.engine))
        return runtime

    def refuse_newer_schema(self) -> None:
        """Raise DatabaseUnavailable on a database that this version will never work with.

        For processes that wait otherwise: for a database that is away, or that is not migrated yet.
        """
        from licenzy.db import schema
        from licenzy.errors import DatabaseUnavailable

        engine = self.runtime().database.engine
        try:
            fit = schema.check(engine)
        except DatabaseUnavailable:
            return
        finally:
            engine.dispose()
        if fit is not schema.Fit.OUTDATED:
            schema.require(fit)


pass_wiring = click.make_pass_decorator(Wiring)
