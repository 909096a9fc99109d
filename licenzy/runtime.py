"""What every door is handed: the wired parts of one running installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from licenzy.db.unit_of_work import Database
from licenzy.kit.clock import Clock
from licenzy.kit.secret_box import SecretBox
from licenzy.settings import Settings
from licenzy.stripe_gateway.client import StripeGateway


@dataclass(frozen=True, slots=True)
class Runtime:
    """Settings and the parts made from them; one per process, shared by all threads."""

    settings: Settings
    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    clock: Clock


def runtime() -> Runtime:
    """The runtime of the application that handles the current request or command."""
    from flask import current_app  # The worker, which has no requests, does without Flask's 5 MB.

    return cast(Runtime, current_app.extensions["licenzy"])
