"""`licenzy apply`: make products and webhook endpoints as a file describes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.projects import chosen_project, only_project_option, scope_of, test_mode_option
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.configuration.actions import AppliedChanges, Planned
    from licenzy.configuration.differences import (
        Differences,
        EndpointChange,
        KeyChange,
        PriceChange,
        ProductChange,
    )
    from licenzy.projects.scope import Scope

_NOTHING_TO_DO = "There is nothing to change."


@click.command(cls=LicenzyCommand)
@click.argument("file")
@only_project_option
@test_mode_option
@click.option("--dry-run", is_flag=True, help="Show the changes and make none.")
@click.option(
    "--prune",
    is_flag=True,
    help="Archive products, retire prices and disable endpoints that FILE does not have.",
)
@click.option(
    "--create-prices",
    is_flag=True,
    help="Create missing prices in Stripe in test mode. In the sandbox they are always created.",
)
@json_option
@pass_wiring
def apply(
    wiring: Wiring,
    file: str,
    project_id: str | None,
    mode: str,
    dry_run: bool,
    prune: bool,
    create_prices: bool,
    as_json: bool,
) -> None:
    """Make products and webhook endpoints as FILE describes them, and show each change first.

    FILE is TOML, and - is standard input. What FILE does not have is left alone without --prune.
    With --dry-run, exits with status 1 when there is a difference.
    """
    from licenzy.configuration.actions import apply_changes, plan_changes
    from licenzy.configuration.parsing import parse
    from licenzy.workspace.audit import Actor

    runtime = wiring.migrated_runtime()
    scope = scope_of(chosen_project(runtime.database, project_id), mode)
    private_allowed = runtime.settings.allow_private_webhooks
    source = "standard input" if file == "-" else file
    configuration = parse(_content(file), source=source, mode=scope.mode, private_allowed=private_allowed)
    parts = (runtime.database, runtime.gateway, runtime.secret_box, scope)
    planned = plan_changes(
        *parts,
        configuration=configuration,
        environ=os.environ,
        prune=prune,
        create_prices=create_prices,
        now=runtime.clock(),
    )
    if not as_json:
        _print_changes(scope, planned)
    if dry_run:
        if as_json:
            print_json(_report(scope, planned, planned.changes))
        else:
            click.echo("Nothing was changed." if planned.changes else _NOTHING_TO_DO)
        raise SystemExit(1 if planned.changes else 0)
    applied = apply_changes(
        *parts, planned=planned, private_allowed=private_allowed, actor=Actor(), now=runtime.clock()
    )
    if as_json:
        print_json(_report(scope, planned, applied.changes, applied))
    else:
        _print_applied(applied)


def _content(file: str) -> bytes:
    """The bytes of the file, or one more than a file may have of a larger one."""
    from licenzy.configuration.parsing import MAX_BYTES

    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{file}: The file cannot be read: {error.strerror}.") from None


def _print_changes(scope: Scope, planned: Planned) -> None:
    click.echo(f"Changes in {scope.mode.value} mode of {scope.project_id}:")
    lines = [line for each in planned.changes.products for line in _product_lines(each, planned.holders)]
    lines += [line for each in planned.changes.endpoints for line in _endpoint_lines(each)]
    for line in lines or ["  The file has no entries."]:
        click.echo(line)


def _product_lines(change: ProductChange, holders: Mapping[str, int]) -> Iterator[str]:
    yield f"  {change.act.value:<9} product {change.code}"
    yield from _field_lines(change)
    if change.code in holders:
        count = holders[change.code]
        yield f"              holders: {count:,} entitlement{'' if count == 1 else 's'} will change"
    for each in change.prices:
        yield f"              price {each.label}: {_price_text(each)}"


def _endpoint_lines(change: EndpointChange) -> Iterator[str]:
    yield f"  {change.act.value:<9} endpoint {change.url}"
    yield from _field_lines(change)
    if change.new_secret and change.entry is not None:
        yield f"              secret: from {change.entry.secret_env}"


def _field_lines(change: ProductChange | EndpointChange) -> Iterator[str]:
    from licenzy.configuration.differences import Act
    from licenzy.configuration.toml_text import value_as_toml

    for each in change.fields:
        before, after = (
            "not set" if value is None else value_as_toml(value) for value in (each.before, each.after)
        )
        yield f"              {each.key}: {after if change.act is Act.CREATE else f'{before} → {after}'}"


def _price_text(change: PriceChange) -> str:
    from licenzy.catalog.new_prices import price_text
    from licenzy.configuration.differences import PriceAct

    if change.act is PriceAct.RETIRE:
        return f"{change.stripe_price_id} is retired"
    if change.act is PriceAct.LABEL:
        return f"{change.stripe_price_id}, label {change.former_label} → {change.label}"
    after = str(change.stripe_price_id)
    if change.act is PriceAct.CREATE and change.entry is not None and change.entry.create is not None:
        after = f"created in Stripe, {price_text(change.entry.create)}"
    return f"{change.retires} → {after}, and {change.retires} is retired" if change.retires else after


def _print_applied(applied: AppliedChanges) -> None:
    for price in applied.created_prices:
        click.echo(f"Created in Stripe: {price.stripe_price_id} for {price.product_code}, {price.label}.")
    click.echo("The changes are made." if applied.changes else _NOTHING_TO_DO)
    for each in applied.secrets:
        click.echo(f"{each.secret}\n\nThis secret of {each.url} is shown only once.")


def _report(
    scope: Scope, planned: Planned, changes: Differences, applied: AppliedChanges | None = None
) -> dict[str, Any]:
    """What `--json` prints: the same for a dry run, after which nothing is applied."""
    return {
        "project_id": scope.project_id,
        "mode": scope.mode.value,
        "applied": applied is not None,
        "different": bool(changes),
        "products": [_product_json(each, planned.holders) for each in changes.products],
        "endpoints": list(map(_endpoint_json, changes.endpoints)),
        "created_prices": [
            {
                "product_code": each.product_code,
                "label": each.label,
                "lookup_key": each.lookup_key,
                "stripe_price_id": each.stripe_price_id,
            }
            for each in (applied.created_prices if applied is not None else ())
        ],
        "secrets": [
            {"endpoint_id": each.endpoint_id, "url": each.url, "secret": each.secret}
            for each in (applied.secrets if applied is not None else ())
        ],
    }


def _product_json(change: ProductChange, holders: Mapping[str, int]) -> dict[str, Any]:
    return {
        "action": change.act.value,
        "product_code": change.code,
        "fields": list(map(_field_json, change.fields)),
        "holders": holders.get(change.code) if change.for_holders else None,
        "prices": [
            {
                "action": each.act.value,
                "label": each.label,
                "stripe_price_id": each.stripe_price_id,
                "former_label": each.former_label,
                "retires": each.retires,
            }
            for each in change.prices
        ],
    }


def _endpoint_json(change: EndpointChange) -> dict[str, Any]:
    return {
        "action": change.act.value,
        "url": change.url,
        "endpoint_id": change.endpoint_id,
        "fields": list(map(_field_json, change.fields)),
        "secret_changes": change.new_secret,
    }


def _field_json(change: KeyChange) -> dict[str, Any]:
    return {"key": change.key, "before": change.before, "after": change.after}
