"""`licenzy doctor`: everything that alignment finds, in every project and mode, and how it is run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.plain import PlainCommand, as_json, json_option, warn_of_open_files
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.kit.clock import rfc3339

if TYPE_CHECKING:
    from licenzy.alignment.findings import Finding
    from licenzy.runtime import Runtime

_SIGN_INS_LOOKED_AT = timedelta(days=7)


@click.command(cls=PlainCommand)
@click.option(
    "--project", "project_id", help="Only this project (prj_…); without it all of them, and the installation."
)
@click.option(
    "--check", is_flag=True, help="Ask Stripe first, instead of telling what it said within the hour."
)
@json_option
@pass_wiring
def doctor(wiring: Wiring, project_id: str | None, check: bool, json_wanted: bool) -> None:
    """Tell what does not fit together and how to mend it.

    Leaves with 1 when anything was found, or when Stripe was to be asked and could not be.
    """
    runtime = wiring.migrated_runtime()
    warn_of_open_files(runtime.settings)
    found: list[dict[str, Any]] = []
    unasked = False
    for project in _projects(runtime, project_id):
        for sentence in _ask_stripe(runtime, project) if check else ():
            unasked = True
            click.echo(sentence, err=True)
        found += _told(runtime, project)
    if project_id is None:
        found += _of_the_installation(runtime)
    if json_wanted:
        as_json({"findings": found})
    else:
        click.echo(f"Instance folder: {runtime.settings.instance}")
        _tell(found)
    if found or unasked:
        raise SystemExit(1)


def _projects(runtime: Runtime, project_id: str | None) -> list[str]:
    from licenzy.errors import NotFound
    from licenzy.projects.queries import project_ids

    with runtime.database.read() as db:
        known = project_ids(db)
    if project_id is not None and project_id not in known:
        raise NotFound("There is no such project.", hint="Its id stands in the address of its pages.")
    return [project_id] if project_id is not None else known


def _ask_stripe(runtime: Runtime, project_id: str) -> Iterator[str]:
    """Gives a sentence for each side about which Stripe could not be asked."""
    from licenzy.alignment.modes import Mode
    from licenzy.errors import LicenzyError, StripeNotConnected
    from licenzy.projects.scope import Scope
    from licenzy.setup.stripe_probe import probe_side

    for mode in Mode:
        try:
            probe_side(
                runtime.database,
                runtime.gateway,
                runtime.secret_box,
                Scope(project_id, mode),
                clock=runtime.clock,
            )
        except StripeNotConnected:
            continue  # A finding says so, where it matters.
        except LicenzyError as error:
            yield f"Stripe could not be asked about {mode} of {project_id}: {error.message}"


def _told(runtime: Runtime, project_id: str) -> list[dict[str, Any]]:
    from licenzy.alignment.modes import Mode
    from licenzy.alignment.rules import findings
    from licenzy.setup.fact_collector import project_facts

    base_url = runtime.settings.base_url
    with runtime.database.read() as db:
        facts = project_facts(
            db, runtime.secret_box, project_id=project_id, base_url=base_url, now=runtime.clock()
        )
    return [
        _as_object(finding, f"{base_url}{finding.path(project_id)}")
        for mode in Mode
        for finding in findings(facts, mode)
    ]


def _of_the_installation(runtime: Runtime) -> list[dict[str, Any]]:
    """What is wrong with how everything is run, and so with no project or mode of its own."""
    found = _unheeded_proxy(runtime)
    return [found] if found else []


def _unheeded_proxy(runtime: Runtime) -> dict[str, Any] | None:
    """A proxy stands in front that no setting tells of: all its visitors seem to come from its address.

    Only sign-ins that succeeded are evidence. Strangers can send any header, and must not set off a finding.
    """
    from licenzy.kit.hosts import is_loopback
    from licenzy.workspace import queries

    settings, now = runtime.settings, runtime.clock()
    if settings.trusted_proxies:
        return None
    with runtime.database.read() as db:
        used = queries.addresses_used(db, since=now - _SIGN_INS_LOOKED_AT)
    public = not is_loopback(settings.base_host)
    for use in used:
        if use.unheeded_header is None and not (public and use.people > 1 and is_loopback(use.ip or "")):
            continue
        people = "One person" if use.people == 1 else f"{use.people} people"
        named = f", with an {use.unheeded_header} header" if use.unheeded_header else ""
        return {
            "code": "proxy_not_trusted",
            "severity": "warns",
            "mode": None,
            "about": [],
            "evidence": {
                "seen": f"{people} signed in from {use.ip or 'an unknown address'}{named}.",
                "at": rfc3339(use.last_at),
            },
            "cause": "A reverse proxy passes requests on, and LICENZY_TRUSTED_PROXIES is 0. "
            "Everybody seems to come from the proxy’s address, so they share its limit on sign-ins.",
            "fix": "Set LICENZY_TRUSTED_PROXIES to the number of proxies, and have the first of them set "
            "X-Forwarded-For.",
            "page": f"{settings.base_url}/docs/operations#behind-a-reverse-proxy",
        }
    return None


def _as_object(finding: Finding, page: str) -> dict[str, Any]:
    seen_at = finding.seen_at
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "mode": finding.mode.value,
        "about": [{"kind": each.kind, "id": each.id, "name": each.name} for each in finding.about],
        "evidence": {"seen": finding.evidence, "at": rfc3339(seen_at) if seen_at else None},
        "cause": finding.cause,
        "fix": finding.fix,
        "page": page,
    }


def _tell(found: list[dict[str, Any]]) -> None:
    if not found:
        click.echo("Everything fits together.")
    for each in found:
        names = ", ".join(about["name"] for about in each["about"])
        click.echo(
            f"\n{each['severity']:>6}  {each['code']}"
            f"{f' in {mode}' if (mode := each['mode']) else ''}{f': {names}' if names else ''}"
        )
        seen, at = each["evidence"]["seen"], each["evidence"]["at"]
        click.echo(f"        {seen}{f' ({at})' if at else ''}")
        click.echo(f"        {each['cause']}")
        click.echo(f"        {each['fix']} {each['page']}")
