"""The six steps of the set-up wizard, each judged by evidence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from licenzy.alignment.facts import FETCH_IS_FRESH, FetchFacts
from licenzy.alignment.findings import Finding, Part, Severity
from licenzy.alignment.modes import Mode
from licenzy.connections.models import Provider
from licenzy.setup.facts import SetupFacts


class StepState(StrEnum):
    """Done with evidence, to be done, waiting for something to happen, or done once and no longer true."""

    DONE = "done"
    NEEDS_ACTION = "needs_action"
    WAITING = "waiting"
    DRIFTED = "drifted"


class StepName(StrEnum):
    """The steps in their order; the word stands in the page's address."""

    CONNECT = "connect"
    WEBHOOK = "webhook"
    PRODUCTS = "products"
    API_KEY = "api-key"
    PURCHASE = "purchase"
    GO_LIVE = "go-live"

    @property
    def number(self) -> int:
        return list(StepName).index(self) + 1

    @property
    def action(self) -> str:
        """What a person does in the step, as an instruction."""
        return _ACTIONS[self]


_ACTIONS = {
    StepName.CONNECT: "Connect Stripe",
    StepName.WEBHOOK: "Set up the webhook",
    StepName.PRODUCTS: "Add a product",
    StepName.API_KEY: "Create an API key",
    StepName.PURCHASE: "Make a purchase",
    StepName.GO_LIVE: "Go live",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it stands: its state, what proves it and since when, and what to do about it."""

    name: StepName
    title: str
    state: StepState
    evidence: str
    at: datetime | None = None

    @property
    def number(self) -> int:
        return self.name.number

    @property
    def done(self) -> bool:
        return self.state is StepState.DONE


def steps(facts: SetupFacts, found: Sequence[Finding]) -> list[Step]:
    """The six steps of one side, in order: what is there proves them, and what alignment found unproves."""
    first = [_connect(facts), _webhook(facts), _products(facts), _api_key(facts), _purchase(facts)]
    first = [_drifted(step, findings_of(step.name, found)) for step in first]
    return [*first, _go_live(facts, first)]


def findings_of(name: StepName, found: Sequence[Finding]) -> list[Finding]:
    """What was found about the things that a step sets up."""
    return [finding for finding in found if _SET_UP_BY.get(finding.part) is name]


def step_of(finding: Finding) -> StepName | None:
    """The step that sets up what the finding is about; None where no step does."""
    return _SET_UP_BY.get(finding.part)


def not_reached(finding: Finding, listed: Sequence[Step]) -> bool:
    """Whether a finding is only about a step that nobody has begun: it is what comes next, and no fault."""
    name = step_of(finding)
    return any(
        step.name is name and step.state is StepState.NEEDS_ACTION and step.at is None for step in listed
    )


_SET_UP_BY = {
    Part.CONNECTION: StepName.CONNECT,
    Part.ACCOUNT: StepName.CONNECT,
    Part.SECRET: StepName.WEBHOOK,
    Part.ENDPOINT: StepName.WEBHOOK,
    Part.PRODUCTS: StepName.PRODUCTS,
    Part.PRICES: StepName.PRODUCTS,
    Part.API_KEY: StepName.API_KEY,
}


def _drifted(step: Step, found: Sequence[Finding]) -> Step:
    blocking = next((finding for finding in found if finding.severity is Severity.BLOCKS), None)
    if blocking is None or step.state is StepState.NEEDS_ACTION:
        return step
    about = f" ({blocking.subject})" if blocking.subject else ""
    state = StepState.DRIFTED if step.done else StepState.NEEDS_ACTION
    return replace(step, state=state, evidence=f"{blocking.title}{about}.", at=blocking.seen_at)


def current(listed: list[Step]) -> Step:
    """The step to go on with: the first that needs somebody, else the first still waiting, else the last."""
    for wanted in ({StepState.NEEDS_ACTION, StepState.DRIFTED}, {StepState.WAITING}):
        for step in listed[:-1]:
            if step.state in wanted:
                return step
    return listed[-1]


def done_count(listed: list[Step]) -> int:
    """How many of the five steps before going live are done."""
    return sum(step.done for step in listed[:-1])


def _connect(facts: SetupFacts) -> Step:
    name, title = StepName.CONNECT, "Connect Stripe"
    connection = facts.connection
    if connection is None or not connection.connected:
        return Step(
            name, title, StepState.NEEDS_ACTION, f"No Stripe key is saved in {facts.mode.value} mode yet."
        )
    account = connection.account_name or connection.account_id or "an account that this key cannot read"
    where = "the built-in sandbox" if connection.provider is Provider.SANDBOX else "Stripe"
    return Step(name, title, StepState.DONE, f"{account}, accepted by {where}", connection.key_saved_at)


def _webhook(facts: SetupFacts) -> Step:
    name, title = StepName.WEBHOOK, "Webhook"
    connection = facts.connection
    if connection is not None and connection.fetch is not None and not connection.proven:
        return _fetched(title, connection.fetch, facts.now)
    if connection is None or connection.secret_saved_at is None:
        return Step(name, title, StepState.NEEDS_ACTION, "Stripe cannot report payments yet.")
    if not connection.proven:
        return Step(
            name,
            title,
            StepState.WAITING,
            "Set up. Your first purchase sends a signed event, which verifies it.",
            connection.secret_saved_at,
        )
    event = f" ({connection.last_event_id})" if connection.last_event_id else ""
    return Step(name, title, StepState.DONE, f"Signed event received{event}", connection.proven_at)


def _fetched(title: str, fetch: FetchFacts, now: datetime) -> Step:
    """The step where Stripe cannot reach this machine, and its events are fetched."""
    name, at = StepName.WEBHOOK, fetch.fetched_at
    if at is None:
        return Step(name, title, StepState.WAITING, fetch.problem or "Fetching events from Stripe.")
    if now - at > FETCH_IS_FRESH:
        said = fetch.problem or "No events have been fetched since then."
        return Step(name, title, StepState.WAITING, said, at)
    return Step(name, title, StepState.DONE, "Events are fetched, not delivered", at)


def _products(facts: SetupFacts) -> Step:
    name, title = StepName.PRODUCTS, "Products"
    sold = [product for product in facts.products if product.kind != "free"]
    if not sold:
        missing = "No product with a price yet." if facts.products else "No product yet."
        return Step(name, title, StepState.NEEDS_ACTION, missing)
    latest = max(product.checked_at for product in sold)
    codes = ", ".join(product.product_code for product in sold[:3])
    more = f" and {len(sold) - 3} more" if len(sold) > 3 else ""
    return Step(name, title, StepState.DONE, f"{codes}{more}, read from Stripe", latest)


def _api_key(facts: SetupFacts) -> Step:
    name, title = StepName.API_KEY, "API key"
    if not facts.keys:
        return Step(name, title, StepState.NEEDS_ACTION, "Your backend has no key to call Licenzy with yet.")
    used = [(key.last_used_at, key) for key in facts.keys if key.last_used_at is not None]
    if not used:
        newest = max(facts.keys, key=lambda key: key.created_at)
        return Step(
            name,
            title,
            StepState.WAITING,
            f"{newest.masked} is waiting for its first call.",
            newest.created_at,
        )
    at, key = max(used, key=lambda pair: pair[0])
    return Step(name, title, StepState.DONE, f"{key.masked} was used", at)


def _purchase(facts: SetupFacts) -> Step:
    name, title = StepName.PURCHASE, "First purchase"
    journey = facts.journey
    if journey is None:
        return Step(name, title, StepState.NEEDS_ACTION, "Nothing has been bought yet.")
    if journey.granted:
        return Step(
            name,
            title,
            StepState.DONE,
            f"{journey.subject_ref} bought {journey.bought}",
            journey.granted_at,
        )
    if journey.status.value == "failed":
        return Step(
            name, title, StepState.NEEDS_ACTION, "The last purchase was not completed.", journey.created_at
        )
    return Step(
        name,
        title,
        StepState.WAITING,
        f"{journey.subject_ref} is buying {journey.bought}.",
        journey.created_at,
    )


def _go_live(facts: SetupFacts, first: Sequence[Step]) -> Step:
    name, proven = StepName.GO_LIVE, first[-1].done
    if facts.mode is Mode.LIVE:
        broken = [step for step in first if step.state in {StepState.NEEDS_ACTION, StepState.DRIFTED}]
        if proven and broken:
            titles = ", ".join(step.title for step in broken)
            return Step(name, "Live", StepState.DRIFTED, f"It worked before. Fix: {titles}.")
        if proven:
            return Step(name, "Live", StepState.DONE, "A live purchase was paid and recorded.")
        return Step(name, "Live", StepState.WAITING, "The first live purchase verifies that live mode works.")
    if facts.other_side_connected:
        return Step(
            name,
            "Go live",
            StepState.WAITING,
            "Live mode is partly set up. Its checklist shows what is missing.",
        )
    if not proven:
        return Step(name, "Go live", StepState.WAITING, "Available once a test purchase has worked.")
    return Step(
        name, "Go live", StepState.NEEDS_ACTION, "Test mode works from end to end. Set up live mode next."
    )
