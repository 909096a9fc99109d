"""Settings, read once from the environment into one frozen object."""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cryptography.fernet import Fernet

from licenzy.kit.hosts import is_address, is_loopback, is_wildcard
from licenzy.kit.private_files import is_private, make_private
from licenzy.kit.smtp_server import SmtpServer, sender_problem, smtp_server

_LOOPBACK = "127.0.0.1"
_SQLITE = "sqlite:///"
_RUNNING = re.compile(r"running-\d+\.json")
"""What `cli/running_instance.py` writes into the instance folder."""
_DRIVERS_OWN = {"autocommit", "conninfo", "context", "cursor_factory", "prepare_threshold", "row_factory"}


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
    """Threads of each web process, which answer what is not answered on its loop."""
    trusted_proxies: int
    rate_limit: int
    """Requests a second that one API key may make of one worker; bursts of twice that pass."""
    connections: int = 1024
    """How many connections each web process accepts, idle ones included."""
    metrics_token: str | None = field(default=None, repr=False)
    allow_private_webhooks: bool = False
    smtp: SmtpServer | None = field(default=None, repr=False)
    """The mail server; without one no mail is sent."""
    mail_from: str = ""
    """The address that mail comes from; empty without a mail server."""
    prepared_statements: bool = True
    """Whether Postgres keeps statements for a connection; off behind a pooler that loses them."""
    address_is_set: bool = False
    """Whether the environment sets LICENZY_BASE_URL or LICENZY_PORT, which commands then use."""
    testing: bool = False
    """Cheap password hashes and the like; set by the tests alone, never from the environment."""

    @property
    def https(self) -> bool:
        """Whether the public address is https: cookies, HSTS and the refusal of http follow it."""
        return self.base_url.startswith("https://")

    @property
    def sandbox_url(self) -> str:
        """Where the embedded Stripe sandbox answers: the port above the product's own."""
        return f"http://{_bracketed(self.sandbox_host)}:{self.port + 1}"

    @property
    def sandbox_host(self) -> str:
        """The address that the sandbox listens on.

        It is this machine's own where the product is meant for this machine alone, whatever else that
        listens on, and where the product listens on all addresses.
        """
        if is_loopback(self.host):
            return self.host
        is_loopback_only = is_loopback(self.base_host) or is_wildcard(self.host)
        return _LOOPBACK if is_loopback_only else self.host

    def derived_secret(self, purpose: str) -> str:
        """A secret for one purpose, the same in every process that shares the secret key."""
        digest = hmac.digest(self.secret_key.encode(), purpose.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @property
    def base_host(self) -> str:
        """The host name of the public address."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def private_paths(self) -> tuple[Path, ...]:
        """The folder and the files that only the user who runs Licenzy may open, made or not yet made."""
        databases = [self.instance / "sandbox.sqlite3"]
        if self.database_url.startswith(_SQLITE):
            databases.insert(0, _sqlite_path(self.database_url))
        companions = ("", "-wal", "-shm", ".next", ".now", ".made")
        return (
            self.instance,
            self.instance / "secret_key",
            self.instance / "encryption_keys",
            *(Path(f"{database}{ending}") for database in databases for ending in companions),
        )


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the `LICENZY_…` variables; make the instance folder and its secrets on a first run.

    What stands there already is taken from other users of the machine, where it is ours to do so. Raises
    SettingsError with one plain sentence when a value cannot be used.
    """
    env = os.environ if environ is None else environ
    try:
        instance = Path(env.get("LICENZY_INSTANCE") or "instance").expanduser().resolve()
        str(instance).encode()
        instance.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_own = _is_own_folder(instance)
    except (RuntimeError, UnicodeError) as error:  # No such user, a loop of links, bytes that are no text.
        raise SettingsError("LICENZY_INSTANCE cannot be used as a folder.") from error
    except OSError as error:
        raise SettingsError(f"LICENZY_INSTANCE cannot be used as a folder: {error.strerror}.") from error
    host = env.get("LICENZY_HOST") or _LOOPBACK
    port = _number(env, "LICENZY_PORT", 8000, low=1, high=65534)
    base_url = _base_url(env, host, port)
    is_loopback_only = is_loopback(urlsplit(base_url).hostname or "")
    settings = Settings(
        instance=instance,
        database_url=_database_url(env, instance),
        base_url=base_url,
        host=host,
        port=port,
        secret_key=_secret_key(env, instance),
        encryption_keys=_encryption_keys(env, instance),
        stripe_api_base=_stripe_api_base(env),
        sandbox=_flag(env, "LICENZY_SANDBOX", default=is_loopback_only),
        workers=_number(env, "LICENZY_WORKERS", min(os.cpu_count() or 1, 4), low=1, high=64),
        threads=_number(env, "LICENZY_THREADS", 8, low=3, high=64),
        trusted_proxies=_number(env, "LICENZY_TRUSTED_PROXIES", 0, low=0, high=10),
        rate_limit=_number(env, "LICENZY_RATE_LIMIT", 1000, low=1, high=1_000_000),
        connections=_number(env, "LICENZY_CONNECTIONS", 1024, low=64, high=65_536),
        metrics_token=env.get("LICENZY_METRICS_TOKEN") or None,
        allow_private_webhooks=_flag(env, "LICENZY_ALLOW_PRIVATE_WEBHOOKS", default=False),
        smtp=_smtp(env),
        mail_from=_mail_from(env),
        prepared_statements=_flag(env, "LICENZY_PREPARED_STATEMENTS", default=True),
        address_is_set=bool(env.get("LICENZY_BASE_URL") or env.get("LICENZY_PORT", "").strip()),
    )
    for path in settings.private_paths:
        # A folder with other things in it was named by mistake, or is shared with them on purpose.
        if path != instance or is_own:
            make_private(path)
    return settings


def _base_url(env: Mapping[str, str], host: str, port: int) -> str:
    text = env.get("LICENZY_BASE_URL")
    if not text and is_wildcard(host):
        raise SettingsError(
            "LICENZY_BASE_URL must be set to the public address where LICENZY_HOST means all addresses."
        )
    address = _web_address(text or f"http://{_bracketed(host)}:{port}")
    if address is None:
        raise SettingsError("LICENZY_BASE_URL must be http(s)://host[:port] without a path.")
    if is_wildcard(urlsplit(address).hostname or ""):
        raise SettingsError("LICENZY_BASE_URL must be an address that browsers can open, not 0.0.0.0 or ::.")
    return address


def _stripe_api_base(env: Mapping[str, str]) -> str | None:
    unencrypted = _host_names(env, "LICENZY_STRIPE_HTTP_HOSTS")
    text = env.get("LICENZY_STRIPE_API_BASE")
    if not text:
        return None
    address = _web_address(text)
    if address is None:
        raise SettingsError("LICENZY_STRIPE_API_BASE must be http(s)://host[:port] without a path.")
    host = urlsplit(address).hostname or ""
    if not (address.startswith("https:") or is_loopback(host) or host in unencrypted):
        raise SettingsError(
            "LICENZY_STRIPE_API_BASE must be https, on this machine, or on a host that "
            "LICENZY_STRIPE_HTTP_HOSTS names, because Stripe keys are sent there."
        )
    return address


def _smtp(env: Mapping[str, str]) -> SmtpServer | None:
    text = env.get("LICENZY_SMTP_URL")
    server = smtp_server(text) if text else None
    if text and server is None:
        raise SettingsError(
            "LICENZY_SMTP_URL must be smtp://user:password@host:587 or smtps://user:password@host:465, with "
            "special characters of the password percent-encoded."
        )
    return server


def _mail_from(env: Mapping[str, str]) -> str:
    text = env.get("LICENZY_MAIL_FROM", "").strip()
    if not env.get("LICENZY_SMTP_URL"):
        return ""
    if not text:
        raise SettingsError("LICENZY_MAIL_FROM must be set where LICENZY_SMTP_URL is set.")
    problem = sender_problem(text)
    if problem is not None:
        raise SettingsError(f"LICENZY_MAIL_FROM {problem}.")
    return text


def _host_names(env: Mapping[str, str], name: str) -> frozenset[str]:
    """The hosts that a setting lists, separated by commas."""
    listed = [part.strip().lower() for part in env.get(name, "").split(",") if part.strip()]
    for each in listed:
        has_port = ":" in each and not is_address(each)
        if has_port or _web_address(f"http://{_bracketed(each)}") is None:
            raise SettingsError(f"{name} must contain host names without ports, separated by commas.")
    return frozenset(listed)


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
    if not text.isascii() or any(char.isspace() for char in text) or parts.netloc.endswith(":"):
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _database_url(env: Mapping[str, str], instance: Path) -> str:
    text = env.get("LICENZY_DATABASE_URL") or f"{_SQLITE}{quote(str(instance / 'licenzy.sqlite3'))}"
    try:
        unquote(text).encode()
    except UnicodeError:
        raise SettingsError("LICENZY_DATABASE_URL must be text.") from None
    if text.startswith(_SQLITE):
        if str(_sqlite_path(text)) in {".", ":memory:"} or str(_sqlite_path(text)).startswith("file:"):
            raise SettingsError("LICENZY_DATABASE_URL must name a file, which all processes share.")
        if "?" in text:
            raise SettingsError("LICENZY_DATABASE_URL accepts no options for a SQLite file.")
        if not _may_be_database(_sqlite_path(text)):
            # Before anything is done with it: what is named is taken from other users of the machine.
            raise SettingsError("LICENZY_DATABASE_URL must name a SQLite file, or a new file.")
        return text
    if not text.startswith("postgresql://"):
        raise SettingsError("LICENZY_DATABASE_URL must be a sqlite:/// or postgresql:// address.")
    _check_postgres_url(text)
    return text


def _sqlite_path(url: str) -> Path:
    return Path(unquote(url.removeprefix(_SQLITE).partition("?")[0]))


def _may_be_database(path: Path) -> bool:
    if not path.is_file():
        return not path.exists()
    # Read only before it is taken from others for the first time: to close a file takes SQLite's locks of
    # this process away, which has none yet.
    if not is_private(path):
        with suppress(OSError), path.open("rb") as file:
            return file.read(16) in {b"", b"SQLite format 3\0"}
    return True  # What else is wrong with it is told when it is opened.


def _is_own_folder(folder: Path) -> bool:
    """Whether a folder holds an installation, or nothing yet."""
    try:
        names = set(os.listdir(folder))
    except OSError:
        return False
    ours = {"secret_key", "encryption_keys", "licenzy.sqlite3"}
    return names <= {".gitkeep"} or any(name in ours or _RUNNING.fullmatch(name) for name in names)


def _check_postgres_url(text: str) -> None:
    """Refuse what one of the libraries that open the database would take otherwise than another."""
    user, at, rest = text.partition("://")[2].partition("@")
    has_user = at and "/" not in user.partition(":")[0]
    servers, _, options = (rest if has_user else user + at + rest).partition("?")
    try:
        urlsplit("//" + servers).port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise SettingsError("LICENZY_DATABASE_URL must have a number for its port.") from None
    given = parse_qsl(options, keep_blank_values=True)
    names = [name for name, _ in given]
    if _DRIVERS_OWN & {*names}:
        # The driver would take them for its own arguments; `autocommit` would end transactions altogether.
        raise SettingsError("LICENZY_DATABASE_URL accepts only libpq's options.")
    if len({*names}) < len(names) - max(names.count("host") - 1, 0):
        raise SettingsError("LICENZY_DATABASE_URL must give each option once.")
    hosts = [value for name, value in given if name == "host"]
    if len(hosts) > 1 and ("port" in names or not all(_is_host_and_port(each) for each in hosts)):
        raise SettingsError("LICENZY_DATABASE_URL must give several hosts as host=a:5432&host=b:5432.")


def _is_host_and_port(text: str) -> bool:
    host, _, port = text.partition(":")
    return bool(host) and "," not in host and (not port or (port.isascii() and port.isdigit()))


def _secret_key(env: Mapping[str, str], instance: Path) -> str:
    key = env.get("LICENZY_SECRET_KEY")
    if key is None:
        key = _created_once(instance / "secret_key", lambda: secrets.token_urlsafe(48))
    if len(key) < 32 or not key.isprintable() or _is_patterned(key):
        raise SettingsError("LICENZY_SECRET_KEY must be at least 32 random characters.")
    return key


def _is_patterned(key: str) -> bool:
    """Whether a key was typed by repeating something or by counting, as no random one looks."""
    if len(set(key)) < 8:
        return True
    period = next(length for length in range(1, len(key) + 1) if key.startswith(key[length:]))
    if period * 2 <= len(key):
        return True
    # Random letters and digits are next to each other in the alphabet, or the same, in a quarter at most.
    neighbours = sum(abs(ord(one) - ord(other)) <= 1 for one, other in pairwise(key))
    return neighbours * 3 > len(key) * 2


def _encryption_keys(env: Mapping[str, str], instance: Path) -> tuple[str, ...]:
    text = env.get("LICENZY_ENCRYPTION_KEYS")
    if text is None:
        text = _created_once(instance / "encryption_keys", lambda: Fernet.generate_key().decode())
    keys = tuple(part for part in text.replace(",", " ").split() if part)
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        keys = ()
    if not keys:
        raise SettingsError("LICENZY_ENCRYPTION_KEYS must contain Fernet keys (url-safe base64 of 32 bytes).")
    return keys


def _created_once(path: Path, make: Callable[[], str]) -> str:
    """The file's text; several processes starting at once on an empty folder agree on one value."""
    try:
        return _read_or_make(path, make)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"The secret file {path} cannot be read or created: {reason}.") from error


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
