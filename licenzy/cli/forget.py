"""`licenzy forget`: erase a customer."""

from __future__ import annotations

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.projects import scope_of
from licenzy.cli.wiring import Wiring, pass_wiring


@click.command(cls=LicenzyCommand)
@click.argument("subject_ref")
@click.option("--project", "project_id", required=True, help="The customer's project (prj_…).")
@click.option("--mode", type=click.Choice(["test", "live"]), required=True, help="The customer's mode.")
@click.option("--yes", is_flag=True, help="Erase without confirmation.")
@json_option
@pass_wiring
def forget(wiring: Wiring, subject_ref: str, project_id: str, mode: str, yes: bool, as_json: bool) -> None:
    """Erase a customer: remove everything stored that names this person. This cannot be undone.

    Entitlements, units and amounts stay, under a hash. Refuses while a subscription is live. A second pass
    a minute later, by the worker or by this command, removes what was being written meanwhile.
    """
    from licenzy.forgetting.actions import forget_now
    from licenzy.kit.clock import rfc3339
    from licenzy.workspace.audit import Actor

    runtime = wiring.migrated_runtime()
    if not yes:
        click.confirm(f"Erase {subject_ref} in {mode} mode? This cannot be undone.", abort=True, err=True)
    done = forget_now(
        runtime.database,
        runtime.gateway,
        runtime.secret_box,
        scope_of(project_id, mode),
        subject_ref=subject_ref,
        actor=Actor(),
        clock=runtime.clock,
    )
    erased, still_open = done.customer, done.open_checkouts
    erased_at = rfc3339(erased.erased_at)
    if as_json:
        about = {"subject_id": erased.subject_id, "erased_at": erased_at, "already_erased": erased.was_before}
        print_json({**about, "remaining": done.remaining.value, "open_checkouts": still_open})
        return
    if erased.was_before:
        click.echo(f"This customer was already erased, at {erased_at} ({erased.subject_id}).")
    else:
        click.echo(f"The customer was erased. Licenzy knows it as {erased.subject_id} only.")
    click.echo(_SENTENCES[done.remaining.value])
    if still_open:
        click.echo(f"Stripe did not expire these checkouts: {', '.join(still_open)}. Expire them in Stripe.")


_SENTENCES = {
    "nothing": "Nothing is left to remove.",
    "second_round": "A second pass is due after a minute. The worker does it, or this command.",
    "first_round": "The removal is not finished. The worker continues it, or this command.",
}
