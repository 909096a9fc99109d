import base64, hmac, json, time


def verify(body: bytes, headers: dict, secret: str) -> dict:
    """The event in a request of Licenzy's. Raises ValueError for anything else."""
    event_id = headers.get("webhook-id", "")
    sent_at = headers.get("webhook-timestamp", "")
    if abs(time.time() - int(sent_at)) > 300:
        raise ValueError("too old or too new")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    for signature in headers.get("webhook-signature", "").split(" "):
        if hmac.compare_digest(expected, signature.encode()):
            return json.loads(body)
    raise ValueError("no good signature")
