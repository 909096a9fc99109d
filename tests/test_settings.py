"""Settings: their defaults, what is refused with one sentence, and the secrets of a first run."""

from __future__ import annotations

import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

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
    assert (settings.threads, settings.trusted_proxies, settings.rate_limit) == (4, 0, 1000)
    assert 1 <= settings.workers <= 4
    assert (settings.stripe_api_base, settings.smtp_url, settings.metrics_token) == (None, None, None)
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
)


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
        ("DATABASE_URL", "licenzy.sqlite3"),
        ("DATABASE_URL", "mysql://localhost/licenzy"),
        ("DATABASE_URL", "postgres://localhost/licenzy"),
        ("DATABASE_URL", "sqlite://x"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "postgresql://licenzy:word@host:port/licenzy"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "dev"),
        ("SECRET_KEY", "changeme"),
        ("SECRET_KEY", "secret"),
        ("SECRET_KEY", "0123456789abcde"),
        ("SECRET_KEY", "0123456789abcdef0123456789abcde"),
        ("SECRET_KEY", "changeme" * 8),
        ("SECRET_KEY", "0" * 64),
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
        ({"HOST": "0.0.0.0"}, False),
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
    with pytest.raises(SettingsError, match="cannot be read or made"):
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
        SMTP_URL=f"smtp://licenzy:{password}@localhost",
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
