"""Settings, read once from the environment into one frozen object."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from cryptography.fernet import Fernet

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class SettingsError(Exception):
    """A setting cannot be used; the message is one plain sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an installation can choose. Defaults suit a first run on one machine."""

    instance: Path
    database_url: str = field(repr=False)
    base_url: str
    host: str
    port: int
    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)
    stripe_api_base: str | None
    sandbox: bool
    workers: int
    threads: int
    trusted_proxies: int
    rate_limit: int
    """Requests a second that one API key may make of one worker; bursts of twice that pass."""
    smtp_url: str | None = field(default=None, repr=False)
    metrics_token: str | None = field(default=None, repr=False)
    allow_private_webhooks: bool = False
    prepared_statements: bool = True
    """Whether Postgres keeps statements for a connection; off behind a pooler that loses them."""
    testing: bool = False
    """Cheap password hashes and the like; set by the tests alone, never from the environment."""

    @property
    def https(self) -> bool:
        """Whether the public address is https: cookies, HSTS and the refusal of http follow it."""
        return self.base_url.startswith("https://")

    @property
    def sandbox_url(self) -> str:
        """Where the embedded Stripe sandbox answers: the port above the product's own."""
        return f"http://{_bracketed(self.host)}:{self.port + 1}"

    def derived_secret(self, purpose: str) -> str:
        """A secret for one purpose, the same in every process that shares the secret key."""
        digest = hmac.digest(self.secret_key.encode(), purpose.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @property
    def base_host(self) -> str:
        """The host name of the public address."""
        return urlsplit(self.base_url).hostname or ""


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the `LICENZY_…` variables; make the instance folder and its secrets on a first run.

    Raises SettingsError with one plain sentence when a value cannot be used.
    """
    env = os.environ if environ is None else environ
    instance = Path(env.get("LICENZY_INSTANCE") or "instance").expanduser().resolve()
    try:
        instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"LICENZY_INSTANCE cannot be used as a folder: {error.strerror}.") from error
    host = env.get("LICENZY_HOST", "127.0.0.1")
    port = _number(env, "LICENZY_PORT", 8000, low=1, high=65534)
    base_url = _base_url(env.get("LICENZY_BASE_URL") or f"http://{_bracketed(host)}:{port}")
    loopback = (urlsplit(base_url).hostname or "") in _LOOPBACK
    return Settings(
        instance=instance,
        database_url=_database_url(env, instance),
        base_url=base_url,
        host=host,
        port=port,
        secret_key=_secret_key(env, instance),
        encryption_keys=_encryption_keys(env, instance),
        stripe_api_base=_stripe_api_base(env),
        sandbox=_flag(env, "LICENZY_SANDBOX", default=loopback),
        workers=_number(env, "LICENZY_WORKERS", min(os.cpu_count() or 1, 4), low=1, high=64),
        threads=_number(env, "LICENZY_THREADS", 4, low=3, high=64),
        trusted_proxies=_number(env, "LICENZY_TRUSTED_PROXIES", 0, low=0, high=10),
        rate_limit=_number(env, "LICENZY_RATE_LIMIT", 1000, low=1, high=1_000_000),
        smtp_url=env.get("LICENZY_SMTP_URL") or None,
        metrics_token=env.get("LICENZY_METRICS_TOKEN") or None,
        allow_private_webhooks=_flag(env, "LICENZY_ALLOW_PRIVATE_WEBHOOKS", default=False),
        prepared_statements=_flag(env, "LICENZY_PREPARED_STATEMENTS", default=True),
    )


def _base_url(text: str) -> str:
    address = _web_address(text)
    if address is None:
        raise SettingsError("LICENZY_BASE_URL must be http(s)://host[:port] without a path.")
    return address


def _stripe_api_base(env: Mapping[str, str]) -> str | None:
    text = env.get("LICENZY_STRIPE_API_BASE")
    if not text:
        return None
    address = _web_address(text)
    if address is None:
        raise SettingsError("LICENZY_STRIPE_API_BASE must be http(s)://host[:port] without a path.")
    return address


def _web_address(text: str) -> str | None:
    """Scheme, host and port in their plain form; None when there is anything else, or no host."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return None
    host_only = not (parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not host_only:
        return None
    if not text.isascii() or any(char.isspace() for char in text):
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _database_url(env: Mapping[str, str], instance: Path) -> str:
    text = env.get("LICENZY_DATABASE_URL") or f"sqlite:///{quote(str(instance / 'licenzy.sqlite3'))}"
    if not text.startswith(("sqlite:///", "postgresql://")):
        raise SettingsError("LICENZY_DATABASE_URL must be a sqlite:/// or postgresql:// address.")
    if text.startswith("sqlite") and urlsplit(text).path in {"/", "/:memory:"}:
        raise SettingsError("LICENZY_DATABASE_URL must name a file, which all processes share.")
    try:
        urlsplit("//" + text.partition("://")[2].rpartition("@")[2]).port  # noqa: B018 - this checks it
    except ValueError:
        raise SettingsError("LICENZY_DATABASE_URL must have a number for its port.") from None
    return text


def _secret_key(env: Mapping[str, str], instance: Path) -> str:
    key = env.get("LICENZY_SECRET_KEY")
    if key is None:
        key = _made_once(instance / "secret_key", lambda: secrets.token_urlsafe(48))
    if len(key) < 32 or len(set(key)) < 8 or not key.isprintable():
        raise SettingsError("LICENZY_SECRET_KEY must be at least 32 random characters.")
    return key


def _encryption_keys(env: Mapping[str, str], instance: Path) -> tuple[str, ...]:
    text = env.get("LICENZY_ENCRYPTION_KEYS")
    if text is None:
        text = _made_once(instance / "encryption_keys", lambda: Fernet.generate_key().decode())
    keys = tuple(part for part in text.replace(",", " ").split() if part)
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        keys = ()
    if not keys:
        raise SettingsError("LICENZY_ENCRYPTION_KEYS must hold Fernet keys (url-safe base64 of 32 bytes).")
    return keys


def _made_once(path: Path, make: Callable[[], str]) -> str:
    """The file's text; several processes starting at once on an empty folder agree on one value."""
    try:
        return _read_or_make(path, make)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"The secret file {path} cannot be read or made: {reason}.") from error


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(scratch, path)  # Atomic, and refuses to replace what another process made first.
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path.read_text().strip()


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise SettingsError(f"{name} must be on or off.")


def _number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if len(text) > 9 or not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}.")
    return int(text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
