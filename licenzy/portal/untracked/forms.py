"""The form that adopts an untracked checkout."""

from __future__ import annotations

from licenzy.errors import DatabaseUnavailable, LicenzyError, StripeError, StripeTimeout, StripeUnavailable
from licenzy.portal.customers.forms import CustomerForm
from licenzy.stripe_gateway.translate import StripeKeyRejected, StripeObjectMissing, StripePermissionMissing

_TRY_LATER = "Nothing was changed. Try again in a moment."
_PASSING = (DatabaseUnavailable, StripeError, StripeTimeout, StripeUnavailable)
_LASTING = (StripeKeyRejected, StripeObjectMissing, StripePermissionMissing)


def advice(error: LicenzyError) -> str | None:
    """What to do about a refusal. The hint of one that passes is for programs, so people get another."""
    passes = isinstance(error, _PASSING) and not isinstance(error, _LASTING)
    return _TRY_LATER if passes else error.hint


class AdoptForm(CustomerForm):
    def refuse(self, error: LicenzyError) -> None:
        error.hint = advice(error)
        super().refuse(error)
