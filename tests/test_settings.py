"""Settings: their defaults, what is refused with one sentence, and the secrets of a first run."""

from __future__ import annotations

import os
import secrets
import stat
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

from licenzy.cli.error_handling import warn_about_open_files
from licenzy.cli.serve import _addresses
from licenzy.kit.patterns import is_patterned
from licenzy.kit.private_files import is_private, make_private
from licenzy.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).resolve().parent.parent
GOOD_KEY = secrets.token_urlsafe(48)


def load(instance: Path, **values: str) -> Settings:
    return load_settings(
        {"LICENZY_INSTANCE": str(instance), **{f"LICENZY_{k}": v for k, v in values.items()}}
    )


def test_the_defaults_suit_a_first_run_on_one_machine(tmp_path: Path) -> None:
    settings = load(tmp_path / "deep" / "instance")
    assert settings.instance == (tmp_path / "deep" / "instance").resolve()
    assert settings.database_url == f"sqlite:///{settings.instance / 'licenzy.sqlite3'}"
    assert (settings.base_url, settings.base_host) == ("http://127.0.0.1:8000", "127.0.0.1")
    assert (settings.host, settings.port, settings.https) == ("127.0.0.1", 8000, False)
    assert (settings.sandbox, settings.sandbox_url) == (True, "http://127.0.0.1:8001")
    assert (settings.threads, settings.trusted_proxies, settings.rate_limit) == (8, 0, 1000)
    assert settings.connections == 1024
    assert 1 <= settings.workers <= 4
    assert (settings.stripe_api_base, settings.metrics_token) == (None, None)
    assert (settings.allow_private_webhooks, settings.testing) == (False, False)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://licenzy.example.com", "https://licenzy.example.com"),
        ("https://licenzy.example.com/", "https://licenzy.example.com"),
        ("HTTPS://Licenzy.Example.com:8443/", "https://licenzy.example.com:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_the_public_address_is_kept_in_its_plain_form(tmp_path: Path, given: str, kept: str) -> None:
    settings = load(tmp_path, BASE_URL=given)
    assert settings.base_url == kept
    assert settings.https is kept.startswith("https:")


def test_an_ipv6_host_stands_in_brackets(tmp_path: Path) -> None:
    settings = load(tmp_path, HOST="::1", PORT="9000")
    assert (settings.base_url, settings.sandbox_url) == ("http://[::1]:9000", "http://[::1]:9001")


NUMBERS = ("PORT", "WORKERS", "THREADS", "TRUSTED_PROXIES", "RATE_LIMIT")
ADDRESSES = (
    "licenzy.example.com",
    "//licenzy.example.com",
    "ftp://licenzy.example.com",
    "javascript:alert(1)",
    "https://",
    "https://licenzy.example.com/app",
    "https://licenzy.example.com?a=1",
    "https://licenzy.example.com#a",
    "https://user:password@licenzy.example.com",
    "https://licenzy.example.com:99999",
    "https://licenzy.example.com:port",
    "https://[::1",
    "https://exa mple.com",
    "https://example.com\r\nX: 1",
    "https://exämple.com",
    "https://licenzy.example.com:",
)
EVERYWHERE = ("0.0.0.0", "0", "0x0", "00.0", "[::]", "[0:0::0]", "[::ffff:0.0.0.0]")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in NUMBERS for value in ("-1", "x", "1.5", "0x10", "٣", "9" * 5000, "1e3")),
        ("PORT", "0"),
        ("PORT", "65535"),  # the sandbox takes the port above
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("THREADS", "2"),  # a hanging Stripe could hold them all
        ("THREADS", "65"),
        ("TRUSTED_PROXIES", "11"),
        ("RATE_LIMIT", "0"),
        ("RATE_LIMIT", "1000001"),
        ("SANDBOX", "maybe"),
        ("SANDBOX", "2"),
        ("ALLOW_PRIVATE_WEBHOOKS", "maybe"),
        *(("BASE_URL", value) for value in ADDRESSES),
        *(("STRIPE_API_BASE", value) for value in ADDRESSES),
        *(("BASE_URL", f"http://{host}:8000") for host in EVERYWHERE),
        ("STRIPE_API_BASE", "http://stripe.example.com"),
        ("STRIPE_API_BASE", "http://api.stripe.com"),
        ("STRIPE_API_BASE", "http://10.0.0.4:12111"),
        ("STRIPE_API_BASE", "http://localhost.example.com"),
        ("STRIPE_API_BASE", "http://0.0.0.0:12111"),
        ("STRIPE_HTTP_HOSTS", "http://stripe"),
        ("STRIPE_HTTP_HOSTS", "stripe:12111"),
        ("STRIPE_HTTP_HOSTS", "stripe other"),
        ("STRIPE_HTTP_HOSTS", "stripe/path"),
        ("STRIPE_HTTP_HOSTS", "key@stripe"),
        ("DATABASE_URL", "licenzy.sqlite3"),
        ("DATABASE_URL", "mysql://localhost/licenzy"),
        ("DATABASE_URL", "postgres://localhost/licenzy"),
        ("DATABASE_URL", "sqlite://x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite:///file:/tmp/licenzy.sqlite3"),
        ("DATABASE_URL", "sqlite:///file%3Alicenzy.sqlite3"),
        ("DATABASE_URL", "sqlite:////tmp/licenzy.sqlite3?mode=ro"),
        ("DATABASE_URL", "postgresql://licenzy:word@host:port/licenzy"),
        ("DATABASE_URL", "postgresql://licenzy:word@a:5432,b:5432/licenzy"),
        ("DATABASE_URL", "postgresql:///licenzy?host=a&host=b&port=5432"),
        ("DATABASE_URL", "postgresql:///licenzy?host=a:one&host=b:two"),
        ("DATABASE_URL", "postgresql:///licenzy?host=a,b&host=c"),
        ("DATABASE_URL", "postgresql:///licenzy?host=::1&host=::2"),
        ("DATABASE_URL", "postgresql://host/licenzy?options=-c%20a%3D1&options=-c%20b%3D2"),
        ("DATABASE_URL", "postgresql://host/licenzy?sslmode=require&sslmode=disable"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "dev"),
        ("SECRET_KEY", "changeme"),
        ("SECRET_KEY", "secret"),
        ("SECRET_KEY", "0123456789abcde"),
        ("SECRET_KEY", "0123456789abcdef0123456789abcde"),
        ("SECRET_KEY", "changeme" * 8),
        ("SECRET_KEY", "0" * 64),
        ("SECRET_KEY", "abcdefgh" * 4),
        ("SECRET_KEY", "0123456789abcdef" * 2),
        ("SECRET_KEY", "qwertzuiopasdfgh" * 2 + "qwertz"),  # its period does not divide it
        ("SECRET_KEY", "k7#Tm2!pQ9" * 5),
        ("SECRET_KEY", "p4Vt-8xZq_Rm2LwYc7HsKd0NfGj5BaUe" * 2),
        ("SECRET_KEY", "aaaabbbbccccddddeeeeffffgggghhhh"),
        ("SECRET_KEY", "aabbccddeeffgghhiijjkkllmmnnoopp"),
        ("SECRET_KEY", "abcdefghijklmnopqrstuvwxyz0123456789"),
        ("SECRET_KEY", "zyxwvutsrqponmlkjihgfedcba9876543210"),
        ("SECRET_KEY", "abcdefg" * 3 + "gfedcba" * 3),
        ("SECRET_KEY", "aB3$" * 2 + "aB3$aB3$" * 4),
        ("SECRET_KEY", "\udcff\udcfe0123456789abcdef0123456789abcdef"),  # bytes that are not UTF-8
        ("ENCRYPTION_KEYS", ""),
        ("ENCRYPTION_KEYS", " , "),
        ("ENCRYPTION_KEYS", "changeme"),
        ("ENCRYPTION_KEYS", "é"),
        ("ENCRYPTION_KEYS", "A" * 39),
        ("ENCRYPTION_KEYS", "A" * 43 + "=,nonsense"),
    ],
)
def test_a_bad_value_is_refused_with_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, **{name: value})
    sentence = str(refused.value)
    assert f"LICENZY_{name}" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(value) < 8 or value not in sentence


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0"])
def test_a_public_address_is_asked_for_where_the_host_is_every_address(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match=r"^LICENZY_BASE_URL must be set .* LICENZY_HOST .*\.$"):
        load(tmp_path, HOST=host)
    assert load(tmp_path, HOST=host, BASE_URL="https://licenzy.example.com").host == host


@pytest.mark.parametrize(
    "make",
    [
        lambda: secrets.token_urlsafe(48),
        lambda: secrets.token_hex(16),
        lambda: "".join(secrets.choice("0123456789") for _ in range(80)),
        lambda: "".join(secrets.choice(string.ascii_lowercase) for _ in range(32)),
    ],
)
def test_no_random_key_is_taken_for_a_typed_one(make: Callable[[], str]) -> None:
    assert not any(is_patterned(make()) for _ in range(2000))


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("https://stripe.example.com", ""),
        ("https://10.0.0.4:8443", ""),
        ("http://127.0.0.1:12111", ""),
        ("http://127.9.9.9:12111", ""),
        ("http://localhost:12111", ""),
        ("http://[::1]:12111", ""),
        ("http://stripe:12111", "stripe"),
        ("http://Stripe:12111", " other , STRIPE "),
        ("http://10.0.0.4:12111", "10.0.0.4"),
        ("http://[fd00::4]:12111", "fd00::4"),
    ],
)
def test_stripe_keys_go_out_in_clear_only_where_that_is_said(
    tmp_path: Path, address: str, hosts: str
) -> None:
    settings = load(tmp_path, STRIPE_API_BASE=address, STRIPE_HTTP_HOSTS=hosts)
    assert settings.stripe_api_base == address.lower()


@pytest.mark.parametrize(
    ("values", "host"),
    [
        ({}, "127.0.0.1"),
        ({"HOST": "::1"}, "::1"),
        ({"HOST": "127.0.0.2"}, "127.0.0.2"),
        ({"HOST": "0.0.0.0", "BASE_URL": "http://localhost:8000"}, "127.0.0.1"),
        ({"HOST": "::", "BASE_URL": "http://[::1]:8000"}, "127.0.0.1"),
        ({"HOST": "192.168.1.4", "BASE_URL": "http://127.0.0.1"}, "127.0.0.1"),
        ({"HOST": "0.0.0.0", "BASE_URL": "https://licenzy.example.com", "SANDBOX": "on"}, "127.0.0.1"),
        ({"HOST": "192.168.1.4", "SANDBOX": "on"}, "192.168.1.4"),
    ],
)
def test_the_sandbox_stays_on_this_machine_unless_its_address_is_named(
    tmp_path: Path, values: dict[str, str], host: str
) -> None:
    settings = load(tmp_path, **values)
    assert settings.sandbox
    assert settings.sandbox_host == host
    assert urlsplit(settings.sandbox_url).hostname == host
    assert _addresses(settings) == [(settings.host, 8000), (host, 8001)]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://licenzy:pass%20word@host/licenzy?options=-c%20lock_timeout%3D3000",
        "postgresql://licenzy:pass word@host/licenzy",
        "postgresql://licenzy@host/licenzy?application_name=a@b",
        "postgresql://licenzy:a:b@host:5432/licenzy",
        "postgresql:///licenzy?host=a:5432&host=b:5433",
        "postgresql:///licenzy?host=/var/run/postgresql",
        "postgresql://",
    ],
)
def test_an_address_of_postgres_is_kept_as_it_is(tmp_path: Path, address: str) -> None:
    assert load(tmp_path, DATABASE_URL=address).database_url == address


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_words_for_on(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, SANDBOX=word, BASE_URL="https://licenzy.example.com").sandbox


@pytest.mark.parametrize("word", ["0", "False", "no", "off"])
def test_words_for_off(tmp_path: Path, word: str) -> None:
    assert not load(tmp_path, SANDBOX=word).sandbox


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ({}, True),
        ({"BASE_URL": "http://localhost:8000"}, True),
        ({"BASE_URL": "http://LOCALHOST"}, True),
        ({"HOST": "::1"}, True),
        ({"BASE_URL": "https://licenzy.example.com"}, False),
        ({"BASE_URL": "http://localhost.example.com"}, False),
        ({"BASE_URL": "http://192.168.1.4:8000"}, False),
        ({"BASE_URL": "http://127.8.0.1"}, True),
        ({"HOST": "0.0.0.0", "BASE_URL": "http://192.168.1.4:8000"}, False),
        ({"BASE_URL": "https://licenzy.example.com", "SANDBOX": "on"}, True),
    ],
)
def test_the_sandbox_is_on_by_itself_on_this_machine_alone(
    tmp_path: Path, values: dict[str, str], on: bool
) -> None:
    assert load(tmp_path, **values).sandbox is on


def test_the_secrets_of_a_first_run_are_the_owners_alone_and_stay(tmp_path: Path) -> None:
    first = load(tmp_path)
    for name in ("secret_key", "encryption_keys"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encryption_keys", "secret_key"]
    again = load(tmp_path)
    assert (again.secret_key, again.encryption_keys) == (first.secret_key, first.encryption_keys)


@pytest.mark.parametrize(("name", "mode"), [("running-8000.json", 0o700), ("running-notes.json", 0o755)])
def test_a_folder_that_has_only_the_file_of_what_runs_is_an_installation(
    tmp_path: Path, name: str, mode: int
) -> None:
    """With Postgres and secrets from the environment there is nothing else in it."""
    instance = tmp_path / "instance"
    instance.mkdir()
    instance.chmod(0o755)
    (instance / name).write_text("{}")
    load(
        instance,
        SECRET_KEY=GOOD_KEY,
        ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        DATABASE_URL="postgresql://licenzy@db.example.com/licenzy",
    )
    assert stat.S_IMODE(instance.stat().st_mode) == mode


def test_what_others_may_open_is_taken_from_them(tmp_path: Path) -> None:
    instance, elsewhere = tmp_path / "instance", tmp_path / "elsewhere"
    for folder in (instance, elsewhere):
        folder.mkdir()
        folder.chmod(0o755)
    names = ("secret_key", "encryption_keys", "sandbox.sqlite3", "sandbox.sqlite3-wal", "notes")
    ours = [instance / name for name in names]
    ours += [elsewhere / f"a b{ending}" for ending in ("", "-wal", "-shm", ".next", ".now", ".made", ".bak")]
    (instance / "secret_key").write_text(GOOD_KEY)
    (instance / "encryption_keys").write_text(Fernet.generate_key().decode())
    for file in ours:
        file.touch()
        file.chmod(0o664)
    ours[2].chmod(0o444)
    settings = load(instance, DATABASE_URL=f"sqlite:///{elsewhere}/a%20b")
    assert mode(instance) == 0o700
    assert mode(elsewhere) == 0o755, "it is not ours to change"
    assert mode(ours[2]) == 0o400, "its owner is given nothing"
    assert {file.name for file in ours if mode(file) != 0o600} == {"sandbox.sqlite3", "notes", "a b.bak"}
    assert all(is_private(path) for path in settings.private_paths)


def test_a_folder_that_is_shared_and_what_a_link_leads_to_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance, other = tmp_path / "instance", tmp_path / "other"
    instance.mkdir()
    instance.chmod(0o1777)
    other.touch()
    other.chmod(0o644)
    (instance / "licenzy.sqlite3").symlink_to(other)
    settings = load(instance)
    assert (mode(instance), mode(other)) == (0o1777, 0o644)
    warn_about_open_files(settings)
    assert capsys.readouterr().err.splitlines() == [
        f"WARNING: Other users of this machine can open {path}. Run `chmod go= {path}` as its owner."
        for path in (instance, instance / "licenzy.sqlite3")
    ]


def test_what_belongs_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(file, 65534, -1)
    else:
        file = Path("/etc/passwd")
    before = mode(file)
    make_private(file)
    assert mode(file) == before
    assert not is_private(file)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    one, other = load(tmp_path / "one"), load(tmp_path / "other")
    assert one.secret_key != other.secret_key
    assert not set(one.encryption_keys) & set(other.encryption_keys)
    assert one.derived_secret("claim") != other.derived_secret("claim")


def test_derived_secrets_are_stable_and_one_for_each_purpose(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.derived_secret("claim") == load(tmp_path).derived_secret("claim")
    assert settings.derived_secret("claim") != settings.derived_secret("sandbox control")
    assert len(settings.derived_secret("claim")) == 43


def test_secrets_of_the_environment_make_no_files(tmp_path: Path) -> None:
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    settings = load(tmp_path, SECRET_KEY=GOOD_KEY, ENCRYPTION_KEYS=f" {keys[0]}, {keys[1]}\n")
    assert (settings.secret_key, settings.encryption_keys) == (GOOD_KEY, tuple(keys))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["secret_key", "encryption_keys"])
@pytest.mark.parametrize("content", [b"", b"\n", b"changeme\n", b"\xff\xfe\x00" * 20])
def test_a_damaged_secret_file_is_refused_and_left_alone(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError):
        load(tmp_path)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("name", ["secret_key", "encryption_keys"])
def test_a_secret_that_is_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsError, match="cannot be read or created"):
        load(tmp_path)


def test_an_instance_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for instance in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SettingsError, match="LICENZY_INSTANCE"):
            load(instance)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    password = secrets.token_hex(8)
    settings = load(
        tmp_path,
        DATABASE_URL=f"postgresql://licenzy:{password}@localhost/licenzy",
        METRICS_TOKEN=password,
    )
    shown = repr(settings) + str(settings)
    for secret in (settings.secret_key, *settings.encryption_keys, password):
        assert secret not in shown


_STARTING = """
import sys
from licenzy.settings import load_settings
print("ready", flush=True)
sys.stdin.readline()
settings = load_settings({"LICENZY_INSTANCE": sys.argv[1]})
print(settings.secret_key, *settings.encryption_keys)
"""


def test_processes_that_start_at_once_agree_on_their_secrets(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _STARTING, str(tmp_path / "instance")]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        told = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            told.append(process.communicate(timeout=30)[0])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(set(told)) == 1
    assert len(told[0].split()) == 2
    assert sorted(path.name for path in (tmp_path / "instance").iterdir()) == [
        "encryption_keys",
        "secret_key",
    ]


def test_a_file_or_folder_that_was_named_by_mistake_is_left_as_it_is(tmp_path: Path) -> None:
    folder, notes, instance = tmp_path / "folder", tmp_path / "notes", tmp_path / "instance"
    folder.mkdir()
    folder.chmod(0o755)
    notes.write_text("Nothing of Licenzy's.")
    notes.chmod(0o644)
    for named in (folder, notes):
        with pytest.raises(SettingsError, match="must name a SQLite file"):
            load(instance, DATABASE_URL=f"sqlite:///{named}")
    assert (mode(folder), mode(notes)) == (0o755, 0o644)
    (folder / "website").mkdir()
    load(folder)
    assert mode(folder) == 0o755, "it holds other things, and no installation before this one"
    assert mode(folder / "secret_key") == 0o600


@pytest.mark.parametrize("option", ["autocommit=1", "row_factory=1", "context=1", "prepare_threshold=0"])
def test_what_the_driver_would_take_for_its_own_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(SettingsError, match="libpq"):
        load(tmp_path, DATABASE_URL=f"postgresql://user@localhost/licenzy?{option}")


@pytest.mark.parametrize("folder", ["~nosuchuser/x", "/tmp/bad\udcff"])
def test_an_instance_that_cannot_be_is_one_sentence(folder: str) -> None:
    with pytest.raises(SettingsError, match=r"^LICENZY_INSTANCE cannot be used as a folder"):
        load_settings({"LICENZY_INSTANCE": folder})
