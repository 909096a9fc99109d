"""What the parts of one sandbox application share."""

from __future__ import annotations

from dataclasses import dataclass, field

from licenzy.stripe_sandbox.advances import ClockAdvancer
from licenzy.stripe_sandbox.call_log import CallLog
from licenzy.stripe_sandbox.fault_injection import RateLimit
from licenzy.stripe_sandbox.sender import EventSender
from licenzy.stripe_sandbox.store import Store


@dataclass(frozen=True)
class Services:
    store: Store
    sender: EventSender
    advancer: ClockAdvancer
    public_url: str
    control_token: str
    allow_live: bool
    lab_url: str | None = None
    call_log: CallLog = field(default_factory=CallLog)
    rate_limit: RateLimit = field(default_factory=RateLimit)
