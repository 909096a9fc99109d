"""Commands whose failures are one plain sentence instead of a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from licenzy.errors import DatabaseUnavailable, LicenzyError
from licenzy.kit.private_files import is_private
from licenzy.settings import Settings, SettingsError


class LicenzyCommand(click.Command):
    """A command that leaves with status 1 and a sentence when the installation refuses something."""

    def invoke(self, ctx: click.Context) -> object:
        with _click_errors():
            return super().invoke(ctx)


class LicenzyGroup(click.Group):
    """A group of such commands."""

    command_class = LicenzyCommand
    group_class = type

    def invoke(self, ctx: click.Context) -> object:
        with _click_errors():
            return super().invoke(ctx)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object for a program to read."""
    click.echo(json.dumps(value, ensure_ascii=False))


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, worded the same everywhere."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def warn_about_open_files(settings: Settings) -> None:
    """Tell of what other users of the machine may open and Licenzy could not take from them."""
    for path in settings.private_paths:
        if not is_private(path):
            click.echo(
                f"WARNING: Other users of this machine may open {path}: run `chmod go= {path}` as its owner.",
                err=True,
            )


@contextmanager
def _click_errors() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    except DatabaseUnavailable as error:
        if error.hint == DatabaseUnavailable.hint:  # Which is for who calls the API.
            error.hint = "Check LICENZY_DATABASE_URL, and that the database runs."
        raise click.ClickException(_error_text(error)) from error
    except LicenzyError as error:
        raise click.ClickException(_error_text(error)) from error


def _error_text(error: LicenzyError) -> str:
    fields = " ".join(f"{field}: {problem}" for field, problem in error.fields.items())
    return " ".join(part for part in (error.message, fields or error.hint) if part)
