"""One outage: calls before, during and after it, and everything about their answers that is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.trouble import rows
from tests.trouble.clients import (
    HEALTHZ_SECONDS,
    ROUTE_CLIENTS,
    Call,
    Connection,
    Load,
    Repeating,
    RouteClient,
    ask,
    table,
    wait_for,
)
from tests.trouble.installation import BUYER, Installation, Web

HEAL_SECONDS = 5.0
"""How long after the end of the trouble a call may still be refused."""
_WARM_SECONDS = 30.0
"""How long the first calls may take: each thread connects, and each process compiles what it runs."""
_CALM_SECONDS = 1.0
_UNREADY_SECONDS = 2.0
"""How soon `/readyz` knows."""
_IN_A_ROW = 5
_MOST_REPORTED = 12


@dataclass
class Clients:
    """The clients of an installation, who remember over several outages what they were told."""

    installation: Installation
    route_clients: Sequence[RouteClient] = ()
    sent_again: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.route_clients = [client(self.installation) for client in ROUTE_CLIENTS]

    @property
    def repeating(self) -> list[Repeating]:
        return [client for client in self.route_clients if isinstance(client, Repeating)]


@dataclass
class Report:
    """What was seen, and what of it is wrong."""

    began: float
    """When the trouble began."""
    repaired: float = 0.0
    calls: list[Call] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def phase(self, call: Call) -> str:
        """When it was: what was under way while the trouble began was in trouble."""
        if call.began >= self.repaired:
            return "after"
        return "before" if call.began + call.seconds < self.began else "trouble"

    def of(self, phase: str) -> list[Call]:
        return [call for call in self.calls if self.phase(call) == phase]

    def when(self, call: Call) -> str:
        if self.phase(call) == "after":
            return f"{call.began - self.repaired:.1f} s after the trouble"
        return f"{call.began - self.began:.1f} s into the trouble"

    def __str__(self) -> str:
        more = len(self.wrong) - _MOST_REPORTED
        told = self.wrong[:_MOST_REPORTED] + ([f"… and {more} more"] if more > 0 else [])
        return "\n".join([*told, table((self.phase(call), call) for call in self.calls)])


def endure(
    web: Web,
    clients: Clients,
    trouble: AbstractContextManager[object],
    *,
    seconds: float,
    hurts: Sequence[str],
    spares: Sequence[str] = (),
    unready: bool = False,
    from_the_start: bool = False,
    heal_seconds: float = HEAL_SECONDS,
) -> Report:
    """Call all routes through some seconds of trouble.

    The routes named by `hurts` must be refused at least once, else the trouble was none; those of `spares`
    never. `unready` wants `/readyz` to say so soon after the trouble began. Trouble that was there
    `from_the_start` is only ended here.
    """
    processes = web.pids
    began = time.monotonic()
    load = Load(web, clients.route_clients)
    try:
        if not from_the_start:
            wait_for(lambda: _calm(load.calls, began), seconds=_WARM_SECONDS)
        report = Report(began=began if from_the_start else time.monotonic())
        with trouble:
            time.sleep(seconds)
            ending = time.monotonic()
        report.repaired = time.monotonic()
        wait_for(lambda: _calm(load.calls, report.repaired), seconds=heal_seconds + _CALM_SECONDS)
        time.sleep(_CALM_SECONDS)
    finally:
        load.stop()
    report.calls = sorted(load.calls, key=lambda call: call.began)
    report.wrong = [
        *_wrong_answers(report, heal_seconds),
        *_wrong_in_trouble(report, hurts, spares),
        *(_ready(report, ending) if unready else ()),
        *_missing(report, clients),
        *recounted(web, clients),
    ]
    if web.pids != processes:
        report.wrong.append(f"the processes {processes} were replaced by {web.pids}")
    return report


def _wrong_answers(report: Report, heal_seconds: float) -> Iterator[str]:
    for call in report.calls:
        if call.wrong:
            yield f"{call.route}, {report.when(call)}: {call.wrong}"
    for call in report.calls:
        if call.route == "healthz" and call.began >= report.began and call.seconds > HEALTHZ_SECONDS:
            yield f"healthz, {report.when(call)}: late: answered after {call.seconds:.1f} s"
    for call in report.of("before"):
        if call.status == 503:
            yield f"{call.route} was refused before any trouble"
    for call in report.of("after"):
        if not call.well and call.began > report.repaired + heal_seconds:
            yield f"{call.route} still refused {report.when(call)}"


def _wrong_in_trouble(report: Report, hurts: Sequence[str], spares: Sequence[str]) -> Iterator[str]:
    refused = {call.route for call in report.of("trouble") if not call.well}
    for route in hurts:
        if route not in refused:
            yield f"{route} was never refused: was there any trouble?"
    for route in spares:
        if route in refused:
            yield f"{route} was refused"


def _ready(report: Report, ending: float) -> Iterator[str]:
    for call in report.of("trouble"):
        inside = report.began + _UNREADY_SECONDS < call.began and call.began + call.seconds < ending
        if call.route == "readyz" and call.status == 200 and inside:
            yield f"readyz said ready, {report.when(call)}"


def _missing(report: Report, clients: Clients) -> Iterator[str]:
    called = {call.route for call in report.of("after")}
    for client in clients.route_clients:
        if client.name not in called:
            yield f"{client.name} was never called after the trouble"


def recounted(web: Web, clients: Clients) -> list[str]:
    """Send all again that is new since the last time, and hold answers and rows against what was told."""
    wrong = []
    line = Connection(web, 0)
    for client in clients.repeating:
        known = {each["key"]: each.get("body") for each in client.acknowledged}
        done = clients.sent_again.setdefault(client.name, set())
        for what in client.repeats():
            if what["key"] in done:
                continue
            call = ask(line, client, client.say(_as_sent(what)))
            told = client.answered[-1]
            if not call.well:
                wrong.append(f"{what['key']} sent again: {call.wrong or call.status}")
            elif known.get(what["key"], told["body"]) != told["body"]:
                wrong.append(f"{what['key']} was {known[what['key']]!r} and is {told['body']!r}")
            done.add(what["key"])
    line.close()
    answered = {client.name: client.answered for client in clients.repeating}
    return wrong + rows.problems(web.installation.settings.database_url, answered, buyer=BUYER)


def _as_sent(what: dict[str, object]) -> dict[str, object]:
    answered = {"status", "replayed", "body", "broken"}
    return {name: value for name, value in what.items() if name not in answered}


def _calm(calls: Sequence[Call], since: float) -> bool:
    """Whether the last calls to each route went well."""
    recent: dict[str, list[Call]] = {}
    for call in list(calls):
        recent.setdefault(call.route, []).append(call)
    return len(recent) == len(ROUTE_CLIENTS) and all(
        len(those) >= _IN_A_ROW and all(call.well and call.began > since for call in those[-_IN_A_ROW:])
        for those in recent.values()
    )
