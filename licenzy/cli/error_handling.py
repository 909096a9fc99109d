"""Commands that print an error as a sentence instead of a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from licenzy.errors import DatabaseUnavailable, LicenzyError
from licenzy.kit.private_files import is_private
from licenzy.settings import Settings, SettingsError


class LicenzyCommand(click.Command):
    """A command that exits with status 1 and a sentence on an error of Licenzy's."""

    def invoke(self, ctx: click.Context) -> object:
        with _click_errors():
            self._refuse_broken_text(ctx)
            return super().invoke(ctx)

    def _refuse_broken_text(self, ctx: click.Context) -> None:
        """Raise BadParameter for bytes that are no UTF-8: only paths may have such."""
        for param in self.params:
            if isinstance(param.type, (click.Path, click.File)):
                continue
            value = ctx.params.get(param.name or "")
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, str) and _SURROGATE.search(each) for each in texts):
                raise click.BadParameter("This is not valid UTF-8.", ctx=ctx, param=param)


_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes on the command line that are no UTF-8."""


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
    """`--json`, the same for every command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def warn_about_open_files(settings: Settings) -> None:
    """Warn about files that other users of the machine can open and Licenzy could not protect."""
    for path in settings.private_paths:
        if not is_private(path):
            click.echo(
                f"WARNING: Other users of this machine can open {path}. Run `chmod go= {path}` as its owner.",
                err=True,
            )


@contextmanager
def _click_errors() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    except DatabaseUnavailable as error:
        if error.hint == DatabaseUnavailable.hint:  # That one is for callers of the API.
            error.hint = "Check LICENZY_DATABASE_URL, and that the database is running."
        raise click.ClickException(_error_text(error)) from error
    except LicenzyError as error:
        raise click.ClickException(_error_text(error)) from error


def _error_text(error: LicenzyError) -> str:
    fields = " ".join(f"{field}: {problem}" for field, problem in error.fields.items())
    return " ".join(part for part in (error.message, fields or error.hint) if part)
