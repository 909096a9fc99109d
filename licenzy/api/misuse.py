"""What callers do wrong, counted beside their requests; and the hint that knows this installation."""

from __future__ import annotations

from licenzy import errors
from licenzy.alignment.facts import KeyFacts, ProjectFacts, SideFacts, TrafficFacts
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.api.caller import Caller
from licenzy.catalog.queries import product_by_price
from licenzy.observations.models import Noticed
from licenzy.observations.noticing import Noticing
from licenzy.runtime import Runtime
from licenzy.setup.fact_collector import untracked_purchases

_ABOUT_THE_KEY: dict[type[errors.LicenzyError], Noticed] = {
    errors.ApiKeyRevoked: Noticed.REVOKED_KEY_CALL,
    errors.ApiKeyExpired: Noticed.REVOKED_KEY_CALL,
    errors.StripePriceIdNotAllowed: Noticed.PRICE_ID_SENT,
}


class MisuseRecorder:
    """Notes what alignment's rules about keys and traffic want to know, off the hot path."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._noticing = Noticing(runtime.database, runtime.clock)

    def browser(self, caller: Caller, origin: str) -> None:
        """A call with a good key had an `Origin` header."""
        self._note(caller, Noticed.BROWSER_CALL, caller.key_id, origin)

    def refusal(self, caller: Caller, error: errors.LicenzyError) -> None:
        """A known caller is about to be refused: count it, and word the hint for this very project."""
        kind = _ABOUT_THE_KEY.get(type(error))
        if kind is not None:
            self._note(caller, kind, caller.key_id, error.sent or "")
        elif isinstance(error, errors.ProductModeMismatch) and error.sent:
            self._note(caller, Noticed.OTHER_MODE_PRODUCT, error.sent, error.sent)
        if isinstance(error, errors.StripePriceIdNotAllowed):
            error.hint = self._hint_for_price(caller, error.sent or "")

    def hint_for_nothing_owned(self, caller: Caller) -> str | None:
        """What to do when somebody seems to have bought nothing, while checkouts go past Licenzy."""
        now = self._runtime.clock()
        with self._runtime.database.read() as db:
            seen = untracked_purchases(db, caller.scope, now=now)
        key = KeyFacts(caller.key_id, "", "", now, now)
        here = SideFacts(caller.mode, keys=(key,), traffic=TrafficFacts(untracked=seen))
        sides = {caller.mode.other: SideFacts(caller.mode.other), caller.mode: here}
        for finding in findings(ProjectFacts(now, sides[Mode.TEST], sides[Mode.LIVE]), caller.mode):
            if finding.code == "untracked_checkout":
                page = f"{self._runtime.settings.base_url}{finding.path(caller.project_id)}"
                return f"{finding.evidence} {finding.fix} See {page}."
        return None

    def _note(self, caller: Caller, kind: Noticed, about: str, detail: str) -> None:
        self._noticing.note(caller.scope, kind=kind, about=about, detail=detail)

    def _hint_for_price(self, caller: Caller, price_id: str) -> str:
        with self._runtime.database.read() as db:
            product = product_by_price(db, caller.scope, price_id=price_id)
        page = f"{self._runtime.settings.base_url}/projects/{caller.project_id}/{caller.mode}/products"
        if product is not None:
            return f"Send {product.product_code} as product_code. The products are listed at {page}."
        return f"Map the price to a product at {page}, and send that product's code."
