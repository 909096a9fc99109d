"""Opening an account at the embedded Stripe sandbox, over HTTP like everything else said to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from licenzy.errors import StripeError, StripeTimeout, StripeUnavailable

_TIMEOUT = httpx.Timeout(5.0, connect=2.0)
_NOT_RUNNING = "`make run` and `licenzy serve` start it beside Licenzy; see LICENZY_SANDBOX."


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account of the sandbox, with the secret key issued for it."""

    account_id: str
    secret_key: str = field(repr=False)
    console_url: str


def open_sandbox_account(base: str, *, control_token: str, name: str, reference: str) -> SandboxAccount:
    """The test account known by `reference`, made if it is new.

    Raises StripeUnavailable when the sandbox is not running, StripeTimeout when it does not answer in
    time and StripeError when it refuses.
    """
    try:
        # The environment's proxies are of no use for an address on this machine.
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
            answer = client.post(
                f"{base}/_sandbox/accounts",
                headers={"Authorization": f"Bearer {control_token}"},
                json={"name": name, "livemode": False, "reference": reference},
            )
    except httpx.TimeoutException:
        raise StripeTimeout("The built-in sandbox did not answer in time.", hint=_NOT_RUNNING) from None
    except httpx.HTTPError:
        raise StripeUnavailable("The built-in sandbox is not running.", hint=_NOT_RUNNING) from None
    return _account(answer)


def _account(answer: httpx.Response) -> SandboxAccount:
    try:
        body = answer.raise_for_status().json()
        return SandboxAccount(body["account"], body["secret_key"], body["console_url"])
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        raise StripeError(
            f"The built-in sandbox refused to open an account (status {answer.status_code}).",
            hint="Is the process at its address the sandbox of this same installation?",
        ) from None
