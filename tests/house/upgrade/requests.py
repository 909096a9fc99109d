"""The requests that both versions answer: those of the stored installation, about many copies of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from tests.house.upgrade.answer import Answer, Request
from tests.house.upgrade.multiply import marked, of_copy, ref_of_copy
from tests.support.purchases import signed
from tests.support.stored_installation import FOLDER, Call, SentEvent, StoredInstallation

STORED = StoredInstallation(FOLDER / "0016")
LIVELY = 31
"""Customers of every so many copies have consumed and reserved shortly before the upgrade."""
_TTLS = (20, 60, 75, 120, 3_000, 40_000, 86_400)
"""Of reservations made then, in seconds: some are over when the new version begins, and some about to be."""
AFTER = timedelta(seconds=60)
"""How long after that the recorded requests begin, at the very end of some reservations."""


@dataclass
class Requests:
    """Requests in the order in which they arrive."""

    at: datetime
    made: list[Request] = field(default_factory=list)

    def send(
        self,
        side: str | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        reserved_by: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Add a request with the key of one side; its place. A text as body is sent as it stands."""
        headers = dict(headers or {})
        if side is not None:
            headers["Authorization"] = f"Bearer {STORED.facts['api_keys'][side]}"
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, str) else json.dumps(body)
        self.made.append(Request(self.at, method, path, headers, body, reserved_by))
        return len(self.made) - 1

    def repeat(self, call: Call, copy: int) -> None:
        """A stored call, about the same customers of one copy."""
        key = f"{call.key}-{copy}" if call.key and copy else call.key
        self.send(call.side, call.method, _path(call.path, copy), _body(call.body, copy), key=key)

    def deliver(self, sent: SentEvent, copy: int) -> None:
        """An event of Stripe's about one copy."""
        event = json.loads(_text(json.dumps(sent.event, ensure_ascii=False), copy))
        subject = event["data"]["object"]
        for holder, name in (
            (subject, "client_reference_id"),
            (subject.get("metadata"), "licenzy_subject_ref"),
        ):
            if holder and holder.get(name):
                holder[name] = ref_of_copy(holder[name], copy)
        body, headers = signed(event, STORED.facts["webhook_secrets"][sent.connection_id], at=self.at)
        path = f"/v1/webhooks/stripe/{sent.connection_id}"
        self.made.append(Request(self.at, "POST", path, headers, body.decode(), None))

    def read_customer(self, side: str, ref: str) -> None:
        """All that can be read of one customer."""
        quoted = quote(ref, safe="")
        self.send(side, "GET", f"/v1/customer/access/{quoted}")
        self.send(side, "GET", f"/v1/entitlements/{quoted}?limit=100")
        self.send(side, "POST", "/v1/access/check?explain=true", {"subject_ref": ref})
        self.send(side, "POST", "/v1/access/check", {"subject_ref": ref, "feature": "export"})
        self.send(side, "POST", "/v1/access/check", {"subject_ref": ref, "product_code": "PRO_MONTHLY"})


def _text(written: str, copy: int) -> str:
    return of_copy(marked(written), copy) if copy else written


def _path(path: str, copy: int) -> str:
    head, query, parameters = path.partition("?")
    for prefix in ("/v1/customer/access/", "/v1/entitlements/"):
        if head.startswith(prefix):
            head = prefix + quote(ref_of_copy(unquote(head.removeprefix(prefix)), copy), safe="")
    return _text(head + query + parameters, copy)


def _body(body: dict[str, Any] | None, copy: int) -> dict[str, Any] | None:
    if body is None:
        return None
    changed = dict(body)
    if isinstance(body.get("subject_ref"), str):
        changed["subject_ref"] = ref_of_copy(body["subject_ref"], copy)
    if "subject_refs" in body:
        changed["subject_refs"] = [ref_of_copy(ref, copy) for ref in body["subject_refs"]]
    return changed


def customers() -> list[tuple[str, str]]:
    """Every customer of the stored installation that somebody has a key for: the side, and the ref."""
    found = {
        (call.side, call.body["subject_ref"])
        for call in STORED.calls
        if call.body and "subject_ref" in call.body
    }
    return sorted(each for each in found if each[0] not in {"revoked", "expired"})


def with_packs() -> list[tuple[str, str]]:
    """Those who hold a usage pack, or held one."""
    packs = {row["subject_id"] for row in STORED.rows("entitlements") if row["kind"] == "usage_pack"}
    refs = {row["subject_ref"] for row in STORED.rows("subjects") if row["id"] in packs}
    return [each for each in customers() if each[1] in refs]


def before_the_upgrade(copies: int) -> list[Request]:
    """What customers did shortly before: units consumed, and reserved for a while."""
    requests, ttls, units = Requests(STORED.now), itertools.cycle(_TTLS), itertools.cycle((1, 2, 7))
    for copy in range(1, copies, LIVELY):
        for side, ref in with_packs():
            body = {"subject_ref": ref_of_copy(ref, copy), "units": next(units)}
            requests.send(side, "POST", "/v1/usage/consume", body, key=f"before-{copy}-{ref}")
            for again in range(2):
                wanted = {**body, "ttl_seconds": next(ttls)}
                requests.send(side, "POST", "/v1/usage/reserve", wanted, key=f"before-{copy}-{ref}-{again}")
    return requests.made


def reads(copies: int) -> Requests:
    """Every read that was stored, asked of the original and of a few copies, lively ones among them."""
    requests = Requests(STORED.now + AFTER)
    reading = [call for call in STORED.calls if call.method == "GET" or call.path.startswith("/v1/access/")]
    for number in range(5):
        for place, call in enumerate(reading):
            requests.repeat(call, (number * (1 + place % 9 * LIVELY) if number < 4 else place * 7) % copies)
    for copy in range(1, copies, LIVELY):
        for side, ref in with_packs():
            requests.send(side, "GET", f"/v1/customer/access/{quote(ref_of_copy(ref, copy), safe='')}")
    return requests


def add_writes(requests: Requests, before: Sequence[Request], answers: Sequence[Answer], copies: int) -> None:
    """What comes next: repeats of what was done before, new calls, and events of Stripe's."""
    requests.at += timedelta(milliseconds=500)
    _repeats(requests, before)
    _closings(requests, before, answers)
    for copy in range(3, copies, 5 * LIVELY):
        for side, ref in with_packs():
            _uses(requests, side, ref_of_copy(ref, copy), f"after-{copy}-{ref}")
    for copy in (0, *range(5, copies, copies // 12)):
        for call in STORED.calls:
            if call.path.startswith(("/v1/usage/", "/v1/checkout/")) and (
                copy == 0 or "checkout" not in call.path
            ):
                requests.repeat(call, copy)
        for continuation in STORED.continuations:
            for step in continuation.steps:
                requests.deliver(step, copy) if isinstance(step, SentEvent) else requests.repeat(step, copy)
            for call in continuation.answers:
                requests.repeat(call, copy)


def _repeats(requests: Requests, before: Sequence[Request]) -> None:
    """Calls with an Idempotency-Key that is known: every other as it was, every fifth with other contents."""
    for place, request in enumerate(before):
        if place % 2:
            requests.made.append(
                Request(requests.at, request.method, request.path, request.headers, request.body)
            )
        if place % 5 == 0:
            other = json.dumps(json.loads(request.body or "{}") | {"units": 8})
            requests.made.append(Request(requests.at, request.method, request.path, request.headers, other))


def _closings(requests: Requests, before: Sequence[Request], answers: Sequence[Answer]) -> None:
    """Reservations that were open before, closed in every way, each twice; a third stays open."""
    reserved = [
        (request, answer.body)
        for request, answer in zip(before, answers, strict=True)
        if answer.status == 201 and "reservation_id" in answer.body
    ]
    for place, (request, made) in enumerate(reserved):
        address = f"/v1/usage/reservations/{made['reservation_id']}"
        authorized = {name: request.headers[name] for name in ("Authorization",)}
        ways: list[tuple[str, dict[str, int]]] = [
            ("commit", {"units": made["reserved"]}),
            ("commit", {"units": 1}),
            ("release", {}),
            ("commit", {"units": made["reserved"] + 1}),
        ]
        way, body = ways[place % 4]
        if place % 3:
            for _ in range(2):
                requests.send(None, "POST", f"{address}/{way}", body, headers=authorized)
            requests.send(None, "POST", f"{address}/release", {}, headers=authorized)


def _uses(requests: Requests, side: str, ref: str, key: str) -> None:
    """Units consumed, reserved and committed with keys that are new, more than there are among them."""
    for number, units in enumerate((1, 3, 10**6)):
        for _ in range(2):
            body = {"subject_ref": ref, "units": units}
            requests.send(side, "POST", "/v1/usage/consume", body, key=f"{key}-{number}")
    body = {"subject_ref": ref, "units": 2, "ttl_seconds": 600}
    place = requests.send(side, "POST", "/v1/usage/reserve", body, key=f"{key}-r")
    if ref.startswith(("pack_fresh", "pack_two", "pack_adjusted")):
        path = "/v1/usage/reservations/{}/"
        requests.send(side, "POST", path + "commit", {"units": 1}, reserved_by=place)
        requests.send(side, "POST", path + "release", {}, reserved_by=place)
    requests.read_customer(side, ref)


def add_later(requests: Requests, copies: int) -> None:
    """Everybody's state while time passes, and units consumed then."""
    for number, hours in enumerate((0.02, 1, 26, 24 * 5, 24 * 45)):
        requests.at = STORED.now + AFTER + timedelta(hours=hours)
        for place, (side, ref) in enumerate(customers()):
            used = 1 + place % 9 * LIVELY if place % 2 else 3 + 5 * LIVELY
            for copy in (used, place * 13 + number):
                requests.read_customer(side, ref_of_copy(ref, copy % copies))
        for side, ref in with_packs():
            name = ref_of_copy(ref, 1 + LIVELY)
            body = {"subject_ref": name, "units": 1}
            requests.send(side, "POST", "/v1/usage/consume", body, key=f"later-{number}-{ref}")
            requests.read_customer(side, name)


def add_refused(requests: Requests) -> None:
    """Calls that are refused, whatever is wrong with them."""
    check, consume, side = "/v1/access/check", "/v1/usage/consume", "first test"
    ok = {"subject_ref": "pack_fresh", "units": 1}
    reserve = ok | {"ttl_seconds": 60}
    for sent in _wrong_bodies():
        requests.send(side, "POST", check, sent)
        # By now these calls take a product, too.
        if not (isinstance(sent, dict) and "product_code" in sent):
            requests.send(side, "POST", consume, sent, key="wrong")
    for wrong in (
        {"units": 0},
        {"units": -1},
        {"units": 1.5},
        {"units": "1"},
        {"units": 10**10},
        {"meter": "a"},
    ):
        requests.send(side, "POST", consume, ok | wrong, key="wrong")
        requests.send(side, "POST", "/v1/usage/reserve", reserve | wrong, key="wrong")
    for ttl in (0, -1, 86_401, None, "60"):
        requests.send(side, "POST", "/v1/usage/reserve", ok | {"ttl_seconds": ttl}, key="wrong")
    for path in (consume, "/v1/usage/reserve", "/v1/checkout/session"):
        requests.send(side, "POST", path, reserve)
        requests.send(side, "POST", path, reserve, key="")
        requests.send(side, "POST", path, reserve, key="k" * 300)
    for path in (check, consume, "/v1/customer/access/a", "/v1/entitlements/a", "/v1/checkout/session"):
        method = "GET" if path.endswith("/a") else "POST"
        sent = None if method == "GET" else ok
        for authorization in (
            "",
            "Bearer",
            "Bearer lz_test_nobody",
            "Basic abc",
            "Bearer sk_test_1234567890",
        ):
            requests.send(None, method, path, sent, key="wrong", headers={"Authorization": authorization})
        requests.send(None, method, path, sent)
        requests.send("revoked", method, path, sent, key="wrong")
        requests.send("expired", method, path, sent, key="wrong")
        requests.send(side, "PUT", path, sent)
    for query in ("limit=0", "limit=101", "limit=a", "limit=1&limit=2", "starting_after=ent_nobody"):
        requests.send(side, "GET", f"/v1/entitlements/many_things?{query}")
    for refs in ([], ["a"] * 101, "a", [1], [""]):
        requests.send(side, "POST", "/v1/access/check-batch", {"subject_refs": refs})
    requests.send(side, "POST", check, ok, headers={"Content-Type": "text/plain"})
    for query in ("explain=1", "explain=", "explain=true&explain=false"):
        requests.send(side, "POST", f"{check}?{query}", {"subject_ref": "sub_active"})
    for reservation in ("rsv_nobody", "rsv_01m83hhqj00acd3c7ca7f88200", "rsv_01m83hhqj00acd3c7ca7f88299"):
        requests.send(side, "POST", f"/v1/usage/reservations/{reservation}/commit", {"units": 1})
        requests.send(side, "POST", f"/v1/usage/reservations/{reservation}/release", {})
    _refused_sales(requests, side)


def _wrong_bodies() -> Iterable[Any]:
    ref = {"subject_ref": "pack_fresh"}
    yield from ("", "{", "[]", "null", '"a"', '{"subject_ref":"a","subject_ref":"b"}', "\ufeff{}")
    yield from (
        {},
        {"subject_ref": 1},
        {"subject_ref": ""},
        {"subject_ref": "a" * 201},
        {"subject_ref": "a\n"},
    )
    for name in ("mode", "livemode", "price_id", "price", "amount", "currency", "meter", "colour"):
        yield ref | {name: "a"}
    for code in ("price_1abcdefghijklmnop", "prod_1abcdefghijklmnop", "a b", "", None, 3, "c" * 65):
        yield ref | {"product_code": code}
    for feature in ("a b", "", None, 3, "f" * 65):
        yield ref | {"feature": feature}


def _refused_sales(requests: Requests, side: str) -> None:
    ref = {"subject_ref": "somebody_new"}
    for number, sent in enumerate(
        (
            ref,
            ref | {"product_code": "NOT_THERE"},
            ref | {"product_code": "OLD_PLAN"},
            ref | {"product_code": "PRO_MONTHLY", "price_label": "nobody"},
            ref | {"product_code": "PRO_MONTHLY", "quantity": 0},
            ref | {"product_code": "PRO_MONTHLY", "quantity": 10**7},
            ref | {"product_code": "PRO_MONTHLY", "customer_email": "nobody"},
            ref | {"product_code": "PRO_MONTHLY", "success_url": "http://elsewhere.example.com"},
            ref | {"product_code": "PRO_MONTHLY", "line_items": []},
            ref | {"product_code": "price_1abcdefghijklmnop"},
        )
    ):
        for which in (side, "first live", "second test", "elsewhere live"):
            requests.send(which, "POST", "/v1/checkout/session", sent, key=f"sale-{number}")
    for sent in ({}, ref, {"subject_ref": "pack_fresh", "return_url": "a"}, ref | {"mode": "live"}):
        requests.send(side, "POST", "/v1/billing/portal-session", sent)
    connection = next(iter(STORED.facts["webhook_secrets"]))
    for path in (f"/v1/webhooks/stripe/{connection}", "/v1/webhooks/stripe/con_nobody", "/v1/nothing"):
        requests.send(None, "POST", path, {"id": "evt_1"}, headers={"Stripe-Signature": "t=1,v1=0"})
        requests.send(None, "POST", path, {"id": "evt_1"})
