"""Opening an account at the embedded Stripe sandbox, over HTTP like everything else said to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from licenzy.errors import StripeError, StripeTimeout, StripeUnavailable

_TIMEOUT = httpx.Timeout(5.0, connect=2.0)
# Plain HTTP needs no certificate authorities, and reading them would take longer than the call.
_NO_AUTHORITY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_NOT_RUNNING = "Start it with `make run` or `licenzy serve`. See LICENZY_SANDBOX."


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account of the sandbox, with the secret key issued for it."""

    account_id: str
    secret_key: str = field(repr=False)
    console_url: str


@dataclass(frozen=True, slots=True)
class _Sample:
    """A price that a new account of the sandbox has, so that there is something to map and buy."""

    lookup_key: str
    title: str
    unit_amount: int
    interval: str | None = None


_SAMPLES = (
    _Sample("licenzy_demo_pro_monthly", "Pro, monthly", 1200, "month"),
    _Sample("licenzy_demo_pro_yearly", "Pro, yearly", 12_000, "year"),
    _Sample("licenzy_demo_day_pass", "Day pass", 300),
    _Sample("licenzy_demo_credits_1000", "1000 credits", 900),
)
_SAMPLES_SOLD_BEFORE = (
    _Sample("licenzy_demo_team_monthly", "Team, monthly", 4900, "month"),
    _Sample("licenzy_demo_extra_storage", "Extra storage, monthly", 500, "month"),
    _Sample("licenzy_demo_classic_monthly", "Classic, monthly", 700, "month"),
)


def open_sandbox_account(base: str, *, control_token: str, name: str, reference: str) -> SandboxAccount:
    """The test account known by `reference`, made if it is new.

    Raises StripeUnavailable when the sandbox is not running, StripeTimeout when it does not answer in
    time and StripeError when it refuses.
    """
    with worded_failures(), sandbox_client(base) as client:
        answer = client.post(
            "/_sandbox/accounts",
            headers={"Authorization": f"Bearer {control_token}"},
            json={"name": name, "livemode": False, "reference": reference},
        )
        body = answer.raise_for_status().json()
        return SandboxAccount(body["account"], body["secret_key"], body["console_url"])


def stock_sandbox_account(base: str, *, api_key: str, sold_before: bool = False) -> dict[str, str]:
    """Give the account its sample prices, as one makes prices at Stripe; those it has already stay.

    With `sold_before` also those that only existing customers have. Returns the ids of the prices by lookup
    key. Raises like `open_sandbox_account`.
    """
    samples = _SAMPLES + _SAMPLES_SOLD_BEFORE if sold_before else _SAMPLES
    with worded_failures(), sandbox_client(base, api_key) as client:
        wanted = {f"lookup_keys[{n}]": sample.lookup_key for n, sample in enumerate(samples)}
        listed = client.get("/v1/prices", params={**wanted, "limit": "100"}).raise_for_status().json()
        there = {price["lookup_key"]: price["id"] for price in listed["data"]}
        for sample in samples:
            if sample.lookup_key not in there:
                there[sample.lookup_key] = _make_price(client, sample)
    return there


def _make_price(client: httpx.Client, sample: _Sample) -> str:
    product = client.post("/v1/products", data={"name": sample.title}).raise_for_status().json()
    price = {
        "product": product["id"],
        "currency": "usd",
        "unit_amount": str(sample.unit_amount),
        "lookup_key": sample.lookup_key,
    }
    if sample.interval:
        price["recurring[interval]"] = sample.interval
    return str(client.post("/v1/prices", data=price).raise_for_status().json()["id"])


def sandbox_client(base: str, api_key: str | None = None) -> httpx.Client:
    """Calls to the sandbox; with an `api_key` as its account, else as the installation itself."""
    # The environment's proxies are of no use for an address on this machine.
    auth = (api_key, "") if api_key else None
    return httpx.Client(base_url=base, auth=auth, timeout=_TIMEOUT, trust_env=False, verify=_NO_AUTHORITY)


@contextmanager
def worded_failures() -> Iterator[None]:
    """Raises what goes wrong on the way as StripeUnavailable, StripeTimeout or StripeError."""
    try:
        yield
    except httpx.TimeoutException:
        raise StripeTimeout("The built-in sandbox did not answer in time.", hint=_NOT_RUNNING) from None
    except httpx.HTTPStatusError as refused:
        raise _refused(refused.response.status_code) from None
    except httpx.HTTPError:
        raise StripeUnavailable("The built-in sandbox is not running.", hint=_NOT_RUNNING) from None
    except (ValueError, KeyError, TypeError):
        raise _refused(200) from None


def _refused(status: int) -> StripeError:
    return StripeError(
        f"The built-in sandbox refused the call (status {status}).",
        hint="Check that the process at its address is the sandbox of this installation.",
    )
