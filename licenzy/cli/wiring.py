"""What the factory hands the command line, which may not import the other doors."""

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
    """Callables that give the parts of this installation, each made only when it is asked for."""

    settings: Callable[[], Settings]
    make_runtime: Callable[[Settings], Runtime]
    run_web: Callable[[Settings], None]
    """Serves the product; returns when told to stop."""
    run_worker: Callable[[Settings], None]
    run_sandbox: Callable[[Settings], None]
    stop: StopSignal
    """What these three wait for. A command that runs until told to stop has it listen first of all."""

    def runtime(self) -> Runtime:
        """The wired parts for these settings."""
        return self.make_runtime(self.settings())

    def migrated_runtime(self) -> Runtime:
        """The runtime for a command that needs the schema. Raises ClickException when it is another."""
        from licenzy.db import migrate

        runtime = self.runtime()
        if not migrate.is_current(runtime.database.engine):
            raise click.ClickException(
                "The database does not have the schema of this version: run `licenzy db upgrade`."
            )
        return runtime


pass_wiring = click.make_pass_decorator(Wiring)
