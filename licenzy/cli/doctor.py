"""`licenzy doctor`: the findings of every project and mode, and of the installation as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json, warn_about_open_files
from licenzy.cli.projects import require_project
from licenzy.cli.running_instance import address_status
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.kit.clock import rfc3339

if TYPE_CHECKING:
    from licenzy.alignment.findings import Finding
    from licenzy.runtime import Runtime

_SIGN_IN_WINDOW = timedelta(days=7)


@click.command(cls=LicenzyCommand)
@click.option(
    "--project",
    "project_id",
    help="Check only this project (prj_…). Default: all projects and the installation.",
)
@click.option(
    "--check", is_flag=True, help="Check with Stripe first, instead of using answers of the last hour."
)
@json_option
@pass_wiring
def doctor(wiring: Wiring, project_id: str | None, check: bool, as_json: bool) -> None:
    """List what is not set up correctly, and how to fix it.

    Exits with status 1 when there are findings, or when Stripe could not be checked.
    """
    runtime = wiring.migrated_runtime()
    warn_about_open_files(runtime.settings)
    found: list[dict[str, Any]] = []
    stripe_unchecked = False
    for project in _projects(runtime, project_id):
        for sentence in _check_stripe(runtime, project) if check else ():
            stripe_unchecked = True
            click.echo(sentence, err=True)
        found += _project_findings(runtime, project)
    if project_id is None:
        found += _installation_findings(runtime)
    if as_json:
        print_json({"findings": found})
    else:
        click.echo(f"Instance folder: {runtime.settings.instance}")
        click.echo(address_status(runtime.settings))
        _print_findings(found)
    if found or stripe_unchecked:
        raise SystemExit(1)


def _projects(runtime: Runtime, project_id: str | None) -> list[str]:
    from licenzy.projects.queries import project_ids

    with runtime.database.read() as db:
        if project_id is None:
            return project_ids(db)
        require_project(db, project_id, archived_too=True)
    return [project_id]


def _check_stripe(runtime: Runtime, project_id: str) -> Iterator[str]:
    """Yield a sentence for each mode that could not be checked with Stripe."""
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
            yield f"Stripe could not be checked for {mode} mode of {project_id}. {error.message}"


def _project_findings(runtime: Runtime, project_id: str) -> list[dict[str, Any]]:
    from licenzy.alignment.modes import Mode
    from licenzy.alignment.rules import findings
    from licenzy.setup.fact_collector import project_facts

    base_url = runtime.settings.base_url
    with runtime.database.read() as db:
        facts = project_facts(
            db, runtime.secret_box, project_id=project_id, base_url=base_url, now=runtime.clock()
        )
    return [
        _finding_json(finding, f"{base_url}{finding.path(project_id)}")
        for mode in Mode
        for finding in findings(facts, mode)
    ]


def _installation_findings(runtime: Runtime) -> list[dict[str, Any]]:
    """Findings about the installation as a whole, which belong to no project or mode."""
    found = _untrusted_proxy(runtime)
    return [found] if found else []


def _untrusted_proxy(runtime: Runtime) -> dict[str, Any] | None:
    """A reverse proxy that LICENZY_TRUSTED_PROXIES does not count: all visitors seem to have its address.

    Only sign-ins that succeeded are evidence. Strangers can send any header, and must not set off a finding.
    """
    from licenzy.kit.hosts import is_loopback
    from licenzy.workspace import queries

    settings, now = runtime.settings, runtime.clock()
    if settings.trusted_proxies:
        return None
    with runtime.database.read() as db:
        used = queries.addresses_used(db, since=now - _SIGN_IN_WINDOW)
    public = not is_loopback(settings.base_host)
    for use in used:
        if use.unheeded_header is None and not (public and use.people > 1 and is_loopback(use.ip or "")):
            continue
        people = "One person" if use.people == 1 else f"{use.people} people"
        header = f", with an {use.unheeded_header} header" if use.unheeded_header else ""
        return {
            "code": "proxy_not_trusted",
            "severity": "warns",
            "mode": None,
            "about": [],
            "evidence": {
                "seen": f"{people} signed in from {use.ip or 'an unknown address'}{header}.",
                "at": rfc3339(use.last_at),
            },
            "cause": "A reverse proxy forwards requests, but LICENZY_TRUSTED_PROXIES is 0. "
            "All visitors seem to have the proxy’s address and share one sign-in limit.",
            "fix": "Set LICENZY_TRUSTED_PROXIES to the number of proxies. Configure the first of them to set "
            "X-Forwarded-For.",
            "page": f"{settings.base_url}/docs/operations#behind-a-reverse-proxy",
        }
    return None


def _finding_json(finding: Finding, page: str) -> dict[str, Any]:
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


def _print_findings(found: list[dict[str, Any]]) -> None:
    if not found:
        click.echo("There are no findings.")
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
