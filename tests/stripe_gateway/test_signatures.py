"""Webhook signatures: what is right agrees with Stripe's library, what is wrong is refused in two words."""

from __future__ import annotations

import hashlib
import hmac
import random
import time
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.errors import SignatureInvalid, TimestampOutOfTolerance
from licenzy.stripe_gateway.signatures import _NO_SECRET, verify
from tests.support.clock import START

OLD, NEW = "whsec_old", "whsec_new"
BODY = b'{"id":"evt_1","object":"event"}'
STAMP = int(START.timestamp())


def signature(body: bytes, secret: str, stamp: int | str = STAMP) -> str:
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


def header(body: bytes = BODY, *secrets: str, stamp: int = STAMP) -> str:
    return ",".join([f"t={stamp}", *(f"v1={signature(body, secret, stamp)}" for secret in secrets or (OLD,))])


RIGHT = header()
V1 = signature(BODY, OLD)


@settings(database=None, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-290, 290))
def test_what_stripes_library_takes_we_take(body: str, skew: int) -> None:
    raw, now = body.encode(), int(time.time())
    given_header = header(raw, NEW, stamp=now - abs(skew))
    assert stripe.WebhookSignature.verify_header(raw.decode(), given_header, NEW, tolerance=300)
    assert verify(raw, given_header, [OLD, NEW], now=datetime.fromtimestamp(now, UTC)) == NEW
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(raw.decode(), given_header, OLD, tolerance=300)
    with pytest.raises(SignatureInvalid):
        verify(raw, given_header, [OLD], now=datetime.fromtimestamp(now, UTC))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"[" * 60_000, b"null", b"\r\n"])
def test_the_raw_bytes_are_what_is_signed(body: bytes) -> None:
    assert verify(body, header(body), [OLD], now=START) == OLD


@pytest.mark.parametrize(
    "given_header",
    [
        RIGHT,
        f"t={STAMP}, v1={V1}",
        f"v1={V1},t={STAMP}",
        f"t={STAMP},v0=abc,v1={V1}",
        f"t={STAMP},v1={'0' * 64},v1={V1}",
        f"t={STAMP},v1=,v1={V1},v2=x,nonsense,",
        header(BODY, NEW, OLD),
    ],
)
def test_headers_that_hold_a_right_signature(given_header: str) -> None:
    assert verify(BODY, given_header, [OLD], now=START) == OLD


@pytest.mark.parametrize(
    "given_header",
    [
        "",
        ",",
        "=",
        "t",
        f"t={STAMP}",
        f"v1={V1}",
        f"t=,v1={V1}",
        f"t=x,v1={V1}",
        f"t=-{STAMP},v1={V1}",
        f"t=+{STAMP},v1={V1}",
        f"t={STAMP}.0,v1={V1}",
        f"t={STAMP} 0,v1={V1}",
        f"t={STAMP + 1},v1={V1}",
        f"t={'9' * 5000},v1={V1}",
        f"t={STAMP},t={STAMP},v1={V1}",
        f"t={STAMP},v1={V1},t={STAMP + 1}",
        f"t={STAMP + 1},t={STAMP},v1={V1}",
        f"t={STAMP},v1={V1},t=x",
        f"t={STAMP},v1={V1},t",
        f"t=x,t={STAMP},v1={V1}",
        f"t={STAMP},v0={V1}",
        f"t={STAMP},V1={V1}",
        f"t={STAMP},v1={V1.upper()}",
        f"t={STAMP},v1={V1[:-1]}",
        f"t={STAMP},v1={V1}0",
        f"t={STAMP},v1=",
        f"t={STAMP};v1={V1}",
        f"t={STAMP},v1={V1}\x80",
        f"t={STAMP},v1=ÿ",
        f"t=٣{STAMP},v1={V1}",
        f"t={STAMP}," + ",".join(["v1=0"] * 5000) + f",v1={V1}",
        f"t={STAMP},v1={V1}," + "x" * 5000,
        header(BODY, NEW),
        header(BODY + b" ", OLD),
    ],
)
def test_headers_that_are_refused(given_header: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify(BODY, given_header, [OLD], now=START)


def test_each_flipped_bit_is_noticed() -> None:
    choose = random.Random(4)
    for _ in range(200):
        flipped = bytearray(BODY)
        flipped[choose.randrange(len(BODY))] ^= 1 << choose.randrange(8)
        with pytest.raises(SignatureInvalid):
            verify(bytes(flipped), RIGHT, [OLD], now=START)


@pytest.mark.parametrize(
    ("seconds", "fine"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_the_timestamp_counts_in_both_directions(seconds: int, fine: bool) -> None:
    now = START + timedelta(seconds=seconds)
    if fine:
        assert verify(BODY, RIGHT, [OLD], now=now) == OLD
        return
    with pytest.raises(TimestampOutOfTolerance):
        verify(BODY, RIGHT, [OLD], now=now)
    with pytest.raises(SignatureInvalid):
        verify(BODY, RIGHT, [NEW], now=now)


def test_during_a_rotation_either_secret_is_told_apart() -> None:
    assert verify(BODY, header(BODY, OLD), [NEW, OLD], now=START) == OLD
    assert verify(BODY, header(BODY, NEW), [NEW, OLD], now=START) == NEW
    assert verify(BODY, header(BODY, OLD, NEW), [NEW], now=START) == NEW


def test_nobody_can_sign_for_a_connection_without_a_secret() -> None:
    for secret in (OLD, "", _NO_SECRET):
        with pytest.raises(SignatureInvalid):
            verify(BODY, header(BODY, secret), [], now=START)


def test_twenty_thousand_headers() -> None:
    choose = random.Random(20_000)
    pieces = [
        "t=",
        "v1=",
        "v0=",
        ",",
        "=",
        " ",
        str(STAMP),
        V1,
        "9" * 300,
        "\x00",
        "\t",
        "t",
        "-1",
        "é",
        RIGHT,
    ]
    latin = [bytes([code]).decode("latin-1") for code in range(256)]
    outcomes = set()
    for number in range(20_000):
        if number % 2:
            made = "".join(choose.choices(pieces, k=choose.randrange(8)))
        else:
            at = choose.randrange(len(RIGHT))
            made = RIGHT[:at] + choose.choice(latin) + RIGHT[at + choose.randrange(2) :]
        try:
            outcomes.add(verify(BODY, made, [OLD, NEW], now=START))
        except (SignatureInvalid, TimestampOutOfTolerance) as refusal:
            outcomes.add(refusal.code)
    assert outcomes == {OLD, "signature_invalid"}
