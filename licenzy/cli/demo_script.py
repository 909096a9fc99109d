"""Purchases from start to finish in the terminal: each call as curl, with its answer."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from licenzy.cli.seeding import Seeded, SeededProduct

_WEBHOOK_SECONDS = 30.0

_DESCRIPTIONS = {
    "subscription": "a subscription: access while it is paid",
    "time_pass": "a time pass: access for one day",
    "usage_pack": "a usage pack: 1000 units",
}


def run_demo(seeded: Seeded) -> bool:
    """Sell each product to a new customer and print how access changes; true if all of it worked."""
    console = Console()
    console.print(Panel(_opening(seeded), title="Licenzy, start to finish", expand=False))
    with httpx.Client(timeout=20, trust_env=False) as client:
        runner = _DemoRunner(console, client, seeded)
        successes = [runner.sell(product) for product in seeded.products]
    if all(successes):
        console.print("[green]All three customers had no access before they paid, and have access now.")
    else:
        console.print("[red]The demo failed. Check the answers above and the log of Licenzy.")
    return all(successes)


def _opening(seeded: Seeded) -> str:
    return (
        f"Licenzy runs at {seeded.base_url}.\n"
        f"The Stripe sandbox runs at {seeded.sandbox_url}. No money moves.\n"
        f"The demo project {seeded.project_id} is connected to it in test mode and sells three products."
    )


class _DemoRunner:
    """Makes calls, and prints each as curl."""

    def __init__(self, console: Console, client: httpx.Client, seeded: Seeded) -> None:
        self._console, self._client, self._seeded = console, client, seeded
        self._bash = Syntax("", "bash", background_color="default")
        self._key_printed = False

    def sell(self, product: SeededProduct) -> bool:
        """One purchase, from no access to access; whether it worked."""
        subject = f"demo_{secrets.token_hex(4)}"
        code = product.product_code
        self._console.rule(f"[bold]{code}[/bold], {_DESCRIPTIONS[product.kind]}")
        self._print_step(f"Does {subject} have access? Nothing is bought yet.")
        before = self._api("/v1/access/check", {"subject_ref": subject, "product_code": code})
        self._print_step("Your backend creates a checkout session.")
        session = self._api(
            "/v1/checkout/session", {"subject_ref": subject, "product_code": code}, idempotent=True
        )
        if "checkout_url" not in session:
            return False
        self._print_step("The customer pays at checkout_url. In the sandbox, a call can do that.")
        self._pay(session["checkout_url"])
        self._print_step(
            "The payment alone grants nothing. Access starts when Stripe's signed webhook arrives:"
        )
        after, seconds = self._wait_for_access(subject, code)
        self._print_answer(after)
        state = "has" if after.get("allowed") else "still has no"
        self._print_step(f"{subject} {state} access after {seconds:.1f} s. The details:")
        self._api(f"/v1/customer/access/{subject}")
        return before.get("allowed") is False and after.get("allowed") is True

    def _api(
        self, path: str, body: dict[str, Any] | None = None, *, idempotent: bool = False
    ) -> dict[str, Any]:
        url = f"{self._seeded.base_url}{path}"
        headers = {"Authorization": f"Bearer {self._seeded.api_key}"}
        if idempotent:
            headers["Idempotency-Key"] = secrets.token_hex(16)
        self._curl(url, headers, body)
        response = self._client.request("POST" if body else "GET", url, headers=headers, json=body)
        answer: dict[str, Any] = response.json()
        self._print_answer(answer)
        return answer

    def _pay(self, checkout_url: str) -> None:
        self._print_shell(f"curl -s -o /dev/null -d action=pay \\\n  '{checkout_url}'")
        self._client.post(checkout_url, data={"action": "pay"})

    def _wait_for_access(self, subject: str, code: str) -> tuple[dict[str, Any], float]:
        started = time.monotonic()
        url = f"{self._seeded.base_url}/v1/access/check"
        headers = {"Authorization": f"Bearer {self._seeded.api_key}"}
        body = {"subject_ref": subject, "product_code": code}
        self._curl(url, headers, body)
        while True:
            answer: dict[str, Any] = self._client.post(url, headers=headers, json=body).json()
            seconds = time.monotonic() - started
            if answer.get("allowed") or seconds > _WEBHOOK_SECONDS:
                return answer, seconds
            time.sleep(0.1)

    def _curl(self, url: str, headers: dict[str, str], body: dict[str, Any] | None) -> None:
        if not self._key_printed:
            self._key_printed = True
            self._print_shell(f"LICENZY_API_KEY={self._seeded.api_key}")
        lines = [f"curl -s {url}"]
        for name, value in headers.items():
            shown = "Bearer $LICENZY_API_KEY" if name == "Authorization" else value
            lines.append(f'  -H "{name}: {shown}"')
        if body is not None:
            lines.append("  -H 'Content-Type: application/json'")
            lines.append(f"  -d '{json.dumps(body)}'")
        self._print_shell(" \\\n".join(lines))

    def _print_shell(self, text: str) -> None:
        # Soft wrapping leaves lines whole, so that what is copied out of the terminal runs as it stands.
        self._console.print(self._bash.highlight(text), soft_wrap=True, end="")

    def _print_answer(self, answer: dict[str, Any]) -> None:
        self._console.print_json(data=answer)

    def _print_step(self, sentence: str) -> None:
        self._console.print(f"\n[bold cyan]{sentence}")
