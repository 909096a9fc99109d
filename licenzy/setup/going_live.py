"""Going live: the checklist that the machine verifies, and what of test is not in live yet. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from licenzy.alignment.facts import ProductFacts, ProjectFacts
from licenzy.alignment.findings import Finding, Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules.catalog import differences, included_differences
from licenzy.setup.rules import Step, StepName, StepState

STALE = timedelta(hours=2)
"""Stripe is asked every hour; what was last asked longer ago is not watched any more."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the checklist: its state, what proves it and since when, and where to go about it."""

    code: str
    title: str
    state: StepState
    evidence: str
    at: datetime | None
    blocking: bool
    """Whether live does not work without it; the others are advice."""
    step: StepName | None = None
    """The step of the wizard that sees to it, on the side `mode`."""
    mode: Mode = Mode.LIVE

    @property
    def done(self) -> bool:
        return self.state is StepState.DONE


@dataclass(frozen=True, slots=True)
class Checklist:
    """The lines in the order in which they are seen to."""

    items: tuple[Item, ...]

    @property
    def blocking(self) -> list[Item]:
        return [item for item in self.items if item.blocking]

    @property
    def advisory(self) -> list[Item]:
        return [item for item in self.items if not item.blocking]

    @property
    def lacking(self) -> list[Item]:
        """What stops a first live purchase. What only waits for that very purchase does not."""
        needed = [
            item for item in self.blocking if item.step is not StepName.PURCHASE or item.mode is Mode.TEST
        ]
        return [item for item in needed if item.state not in {StepState.DONE, StepState.WAITING}]

    @property
    def ready(self) -> bool:
        """Whether the first live purchase can be made."""
        return not self.lacking

    @property
    def proven(self) -> bool:
        """Whether live works: everything blocking is done."""
        return all(item.done for item in self.blocking)


def checklist(
    project: ProjectFacts,
    *,
    test_steps: Sequence[Step],
    live_steps: Sequence[Step],
    found: Sequence[Finding],
    https: bool,
) -> Checklist:
    """The steps of both sides and what alignment `found` in live, read as what going live needs."""
    tried = test_steps[StepName.PURCHASE.number - 1]
    live = [step for step in live_steps if step.name is not StepName.GO_LIVE]
    return Checklist(
        (
            Item(
                "test_works",
                "A purchase works in test mode",
                tried.state,
                tried.evidence,
                tried.at,
                True,
                StepName.PURCHASE,
                Mode.TEST,
            ),
            *(
                Item(
                    f"live_{step.name.value}",
                    _LIVE_TITLES[step.name],
                    step.state,
                    _live_evidence(step, project),
                    step.at,
                    True,
                    step.name,
                )
                for step in live
            ),
            _same_catalog(project),
            _nothing_at_risk(project, found),
            _watched(project),
            _encrypted(project, https),
        )
    )


def _live_evidence(step: Step, project: ProjectFacts) -> str:
    """What proves a step of live; of the webhook also that what test does proves nothing for it."""
    tested = project.test.connection
    is_untried = step.name is StepName.WEBHOOK and not step.done
    if not is_untried or tested is None or tested.fetch is None or tested.proven:
        return step.evidence
    return (
        f"{step.evidence} In test mode events are fetched. Live mode needs a signed event that is delivered."
    )


_OF_THE_CATALOG = ("product_differs", "included_units_differ")
"""Findings that the checklist has an item of its own for."""

_LIVE_TITLES = {
    StepName.CONNECT: "The live Stripe account is connected and can charge",
    StepName.WEBHOOK: "Signed live events arrive from Stripe",
    StepName.PRODUCTS: "Products are mapped to live prices",
    StepName.API_KEY: "Your production backend calls with a live key",
    StepName.PURCHASE: "A live purchase was paid and recorded",
}


def _same_catalog(project: ProjectFacts) -> Item:
    apart = [pair.product_code for pair in catalog_pairs(project) if not pair.same]
    sold = len(project.live.products)
    if not sold:
        state, evidence = StepState.WAITING, "Live mode has no products yet."
    elif apart:
        state, evidence = StepState.NEEDS_ACTION, f"Different in test mode and live mode: {', '.join(apart)}."
    else:
        counted = "1 product" if sold == 1 else f"{sold} products"
        state, evidence = StepState.DONE, f"{counted}, the same in both modes"
    latest = max((product.checked_at for product in project.live.products), default=None)
    return Item("same_catalog", "Live mode sells what was tested", state, evidence, latest, False)


def _nothing_at_risk(project: ProjectFacts, found: Sequence[Finding]) -> Item:
    risks = [
        each for each in found if each.severity is not Severity.NOTES and each.code not in _OF_THE_CATALOG
    ]
    title, at = "No warnings in live mode", project.live.probed_at
    if at is None:
        return Item("nothing_at_risk", title, StepState.WAITING, "Not checked with Stripe yet.", None, False)
    if risks:
        more = f", and {len(risks) - 1} more" if len(risks) > 1 else ""
        evidence, seen = f"{risks[0].title}{more}.", risks[0].seen_at
        return Item("nothing_at_risk", title, StepState.NEEDS_ACTION, evidence, seen, False)
    return Item("nothing_at_risk", title, StepState.DONE, "Alignment shows no warnings", at, False)


def _watched(project: ProjectFacts) -> Item:
    title, at = "Live mode is checked with Stripe every hour", project.live.probed_at
    if at is None:
        return Item(
            "watched", title, StepState.WAITING, "The checks start when a live key is saved.", None, False
        )
    if project.now - at > STALE:
        evidence = "No check for hours. Check that `licenzy worker` runs and that Stripe can be reached."
        return Item("watched", title, StepState.DRIFTED, evidence, at, False)
    return Item("watched", title, StepState.DONE, "Checked with Stripe", at, False)


def _encrypted(project: ProjectFacts, https: bool) -> Item:
    title = "This installation is served over https"
    if https:
        return Item("https", title, StepState.DONE, "Its base URL begins with https://", project.now, False)
    evidence = (
        "Its base URL is http, so keys would be sent unencrypted. Stripe sends live events only to https."
    )
    return Item("https", title, StepState.NEEDS_ACTION, evidence, None, False)


@dataclass(frozen=True, slots=True)
class Pair:
    """One product code in both modes, and what differs: what, how in test, how in live."""

    product_code: str
    test: ProductFacts | None
    live: ProductFacts | None
    differing: tuple[tuple[str, str, str], ...]

    @property
    def same(self) -> bool:
        return self.test is not None and self.live is not None and not self.differing


def catalog_pairs(project: ProjectFacts) -> list[Pair]:
    """The products of both modes side by side, by code."""
    test = {product.product_code: product for product in project.test.products}
    live = {product.product_code: product for product in project.live.products}
    return [
        Pair(code, test.get(code), live.get(code), tuple(_differing(test.get(code), live.get(code))))
        for code in sorted({*test, *live})
    ]


def _differing(test: ProductFacts | None, live: ProductFacts | None) -> list[tuple[str, str, str]]:
    if test is None or live is None:
        return []
    found = list(differences(test, live))
    found += [(f"included {unit}", there, here) for unit, there, here in included_differences(test, live)]
    if _state(test) != _state(live):
        found.append(("in Stripe", _state(test), _state(live)))
    return found


def _state(product: ProductFacts) -> str:
    if product.kind == "free":
        return "no price"
    return "active" if all(price.sellable for price in product.selling_prices) else "archived"
