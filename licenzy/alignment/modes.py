"""The mode as a value, and how to tell it from what people paste."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """`test` or `live`. Every key, connection, product, customer and entitlement has exactly one."""

    TEST = "test"
    LIVE = "live"

    @property
    def other(self) -> Mode:
        return Mode.LIVE if self is Mode.TEST else Mode.TEST

    @property
    def livemode(self) -> bool:
        """Stripe's flag for the same thing."""
        return self is Mode.LIVE

    @classmethod
    def of_livemode(cls, livemode: bool) -> Mode:
        return cls.LIVE if livemode else cls.TEST


class Credential(StrEnum):
    """What a pasted Stripe credential turns out to be."""

    SECRET_KEY = "secret_key"
    RESTRICTED_KEY = "restricted_key"
    PUBLISHABLE_KEY = "publishable_key"
    ORGANIZATION_KEY = "organization_key"
    WEBHOOK_SECRET = "webhook_secret"
    PRICE_ID = "price_id"
    PRODUCT_ID = "product_id"
    LICENZY_KEY = "licenzy_key"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Classified:
    """A credential's kind and, where the text tells it, its mode."""

    credential: Credential
    mode: Mode | None = None

    @property
    def usable_as_stripe_key(self) -> bool:
        return self.credential in {Credential.SECRET_KEY, Credential.RESTRICTED_KEY} and self.mode is not None


_PREFIXES: tuple[tuple[str, Classified], ...] = (
    ("sk_test_", Classified(Credential.SECRET_KEY, Mode.TEST)),
    ("sk_live_", Classified(Credential.SECRET_KEY, Mode.LIVE)),
    ("rk_test_", Classified(Credential.RESTRICTED_KEY, Mode.TEST)),
    ("rk_live_", Classified(Credential.RESTRICTED_KEY, Mode.LIVE)),
    ("pk_test_", Classified(Credential.PUBLISHABLE_KEY, Mode.TEST)),
    ("pk_live_", Classified(Credential.PUBLISHABLE_KEY, Mode.LIVE)),
    ("sk_org_test_", Classified(Credential.ORGANIZATION_KEY, Mode.TEST)),
    ("sk_org_live_", Classified(Credential.ORGANIZATION_KEY, Mode.LIVE)),
    ("sk_org_", Classified(Credential.ORGANIZATION_KEY)),
    ("whsec_", Classified(Credential.WEBHOOK_SECRET)),
    ("price_", Classified(Credential.PRICE_ID)),
    ("plan_", Classified(Credential.PRICE_ID)),
    ("prod_", Classified(Credential.PRODUCT_ID)),
    ("lz_test_", Classified(Credential.LICENZY_KEY, Mode.TEST)),
    ("lz_live_", Classified(Credential.LICENZY_KEY, Mode.LIVE)),
)


def classify(text: str) -> Classified:
    """What a pasted credential is, judged by its prefix alone."""
    for prefix, classified in _PREFIXES:
        if text.startswith(prefix):
            return classified
    return Classified(Credential.UNKNOWN)
