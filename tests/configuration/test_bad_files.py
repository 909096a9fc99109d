"""Files that cannot be applied: each is refused in a sentence with the entry, the cause and the fix."""

from __future__ import annotations

import pytest

from licenzy.alignment.modes import Mode
from licenzy.configuration.entries import Configuration, ConfigurationRefused
from licenzy.configuration.parsing import MAX_BYTES, parse


def read(content: str | bytes, mode: Mode = Mode.TEST) -> Configuration:
    written = content.encode() if isinstance(content, str) else content
    return parse(written, source="shop.toml", mode=mode, private_allowed=False)


def sentence(content: str | bytes, mode: Mode = Mode.TEST) -> str:
    with pytest.raises(ConfigurationRefused) as refused:
        read(content, mode)
    assert (refused.value.hint, refused.value.fields) == ("", {})
    return refused.value.message.removeprefix("shop.toml: ")


PRO = '[[product]]\ncode = "PRO"\nkind = "subscription"\n'
PASS = '[[product]]\ncode = "DAY"\nkind = "time_pass"\nduration = { days = 1 }\n'
PACK = '[[product]]\ncode = "PACK"\nkind = "usage_pack"\nunits = 5\n'
FREE = '[[product]]\ncode = "FREE"\nkind = "free"\ndefault = true\n'
HOOK = '[[endpoint]]\nurl = "https://example.com/h"\ntypes = ["usage.low"]\n'
MONTH = 'price = [{ label = "month", lookup_key = "pro", create = { CREATE } }]\n'
IMAGES = 'unit = "images"\nunits = 5\n'


def included(*tables: str) -> str:
    return PRO + "".join(f"[[product.included]]\n{each}\n" for each in tables)


def create(values: str) -> str:
    return PRO + MONTH.replace("CREATE", values)


BAD: list[tuple[str | bytes, str]] = [
    ("code = ", "line 1: This is not valid TOML: invalid value. Correct the line."),
    (
        '[[product]]\n\ncode = "PRO\n',
        "line 3: This is not valid TOML: illegal character '\\n'. Correct the line.",
    ),
    ("a = 1\na = 2\n", "line 2: This is not valid TOML: cannot overwrite a value. Correct the line."),
    ("a = " + "[" * 3000, "The file is nested too deeply. Use fewer brackets."),
    ("a = " + "9" * 5000, "line 1: This is not valid TOML: a value cannot be read. Correct the line."),
    ("a = 2027-02-31\n", "line 1: This is not valid TOML: invalid date or datetime. Correct the line."),
    (b"# " + b"x" * MAX_BYTES, "The file is larger than 1 MB. Split it into several files."),
    ("x = 1\n# Grün\n".encode("latin-1"), "line 2: The file is not encoded in UTF-8. Save it as UTF-8."),
    (b"\xff\xfea\x00", "line 1: The file is not encoded in UTF-8. Save it as UTF-8."),
    ("products = []\n", "products is not a known key. Did you mean product?"),
    ("zzz = 1\n", "zzz is not a known key. Use product or endpoint."),
    ('[product]\ncode = "PRO"\n', "product must be a list of tables. Begin each of them with [[product]]."),
    ("[[product]]\n", 'product 1: code is missing. Add it, such as code = "PRO".'),
    ('[[product]]\ncode = "PRO"\n', 'product PRO: kind is missing. Add it, such as kind = "subscription".'),
    (
        PRO.replace("subscription", "license"),
        "product PRO: kind must be subscription, time_pass, usage_pack or free.",
    ),
    (
        FREE + "[[product.price]]\nlookup_key = 'f'\n",
        "product FREE: A free product has no price. Remove price, or use another kind.",
    ),
    (
        FREE + FREE.replace('"FREE"', '"BASIC"'),
        "product BASIC: default: FREE has it too, and one product can be the default. Remove it.",
    ),
    (FREE + "grace_days = 3\n", "product FREE: grace_days has no meaning for kind free. Remove it."),
    (FREE + "adds = true\n", "product FREE: adds has no meaning for kind free. Remove it."),
    (PRO + "default = true\n", "product PRO: default has no meaning for kind subscription. Remove it."),
    (
        FREE.replace("default = true", "grants_access = true"),
        "product FREE: grants_access: Only the default product can give access to everybody.",
    ),
    (PRO + "grace_day = 3\n", "product PRO: grace_day is not a known key. Did you mean grace_days?"),
    (
        PRO + '"" = 3\n',
        "product PRO: This key is not a known key. Use code, kind, holders, price, unit, units, "
        "usage_low_units, duration, features, limits, adds, default, grants_access, included, grace_days, "
        "trial, allow_promotion_codes, automatic_tax or adjustable_quantity.",
    ),
    (
        PRO + "limits = 1\n",
        'product PRO: limits must be a table, such as { projects = 10, seats = "unlimited" }.',
    ),
    (PRO + "limits = { a = true }\n", 'product PRO: limits must have a whole number or "unlimited" for a.'),
    (
        PRO + "limits = { a = -1 }\n",
        "product PRO: limits: a must be a whole number from 0 to 9007199254740991, or unlimited.",
    ),
    (
        PRO + 'limits = { "a b" = 1 }\n',
        "product PRO: limits: “a b” is not a valid limit code. Use 1 to 64 letters, digits, or _ . -",
    ),
    (PACK + 'unit = "Images"\n', "product PACK: unit: Use 1 to 32 lower-case letters, digits or _."),
    (PACK + "unit = 3\n", "product PACK: unit must be text in quotation marks."),
    (PRO + 'unit = "images"\n', "product PRO: unit has no meaning for kind subscription. Remove it."),
    (
        included('unit = "images"'),
        "product PRO: included 1: units is missing. Add it, such as units = 1000.",
    ),
    (
        included(IMAGES, "units = 5"),
        'product PRO: included 2: unit is missing. Add it, such as unit = "images".',
    ),
    (
        PRO + "included = { images = 5 }\n",
        "product PRO: included must be a list of tables. Begin each of them with [[product.included]].",
    ),
    (
        included(IMAGES + "unts = 5\n"),
        "product PRO: included 1: unts is not a known key. Did you mean units?",
    ),
    (
        included(IMAGES + 'every = "year"'),
        "product PRO: included 1: every must be day, week, month or period.",
    ),
    (
        included(IMAGES + "rollover = true"),
        "product PRO: included 1: rollover must be a table, such as { at_most = 500 }.",
    ),
    (
        included(IMAGES + "rollover = {}"),
        "product PRO: included 1: rollover: at_most is missing. Add it, such as at_most = 500.",
    ),
    (
        included(IMAGES + 'rollover = { at_most = "all" }'),
        'product PRO: included 1: rollover: at_most must be a whole number or "unlimited".',
    ),
    (
        included(IMAGES + "rollover = { at_most = -1 }"),
        "product PRO: included 1, at_most: A whole number from 0 to 1 000 000 000.",
    ),
    (
        included(IMAGES + 'trial_units = "50"'),
        "product PRO: included 1: trial_units must be a whole number, such as 3.",
    ),
    (
        included(IMAGES, IMAGES),
        "product PRO: included 2, unit: images is included already. Use one line for each unit.",
    ),
    (
        included(*(f'unit = "unit_{n}"\nunits = 1' for n in range(11))),
        "product PRO: included: At most 10 included units.",
    ),
    (
        PACK + '[[product.included]]\nunit = "images"\nunits = 5\n',
        "product PACK: included has no meaning for kind usage_pack. Remove it.",
    ),
    (
        PRO + "trial = { days = 14, once = 1 }\n",
        "product PRO: trial: once must be true or false.",
    ),
    (
        PRO + 'holders = "all"\n',
        'product PRO: holders must be "new purchases" or "now". Use one of them.',
    ),
    (PRO + "trial = 14\n", "product PRO: trial must be a table, such as { days = 14 }."),
    (PRO + "trial = { day = 14 }\n", "product PRO: trial: day is not a known key. Did you mean days?"),
    (PRO + "trial = { once = false }\n", "product PRO: trial needs days, such as { days = 14 }."),
    (
        PRO + 'trial = { days = 14, card = "never" }\n',
        "product PRO: trial: card must be always or if_required.",
    ),
    (
        PRO + "trial = { days = 14, end_without_card = 3 }\n",
        "product PRO: trial: end_without_card must be text in quotation marks.",
    ),
    (
        PRO + 'trial = { days = 14, group = "Main" }\n',
        "product PRO: trial: Use 1 to 32 lower-case letters, digits, _ or -",
    ),
    (PRO + "trial = { days = 0 }\n", "product PRO: trial: 1 to 730 days, or empty for no trial."),
    (PRO + "grace_days = 61\n", "product PRO: grace_days: 0 to 60 days."),
    (PRO + "grace_days = true\n", "product PRO: grace_days must be a whole number, such as 3."),
    (PRO + "grace_days = 1e9\n", "product PRO: grace_days must be a whole number, such as 3."),
    (PRO + f"grace_days = {10**30}\n", "product PRO: grace_days must be a smaller number."),
    (PRO + 'automatic_tax = "yes"\n', "product PRO: automatic_tax must be true or false."),
    (PRO + 'features = "export"\n', 'product PRO: features must be a list of texts, such as ["a", "b"].'),
    (
        PRO + 'features = ["a b"]\n',
        "product PRO: features: “a b” is not a valid feature code. Use 1 to 64 letters, digits, or _ . -",
    ),
    (PRO + "units = 5\n", "product PRO: units has no meaning for kind subscription. Remove it."),
    (PASS + "grace_days = 1\n", "product DAY: grace_days has no meaning for kind time_pass. Remove it."),
    (PACK.replace("units = 5\n", ""), "product PACK: units: A whole number from 1 to 1 000 000 000."),
    (
        PASS.replace("{ days = 1 }", "{ days = 1, hours = 2 }"),
        "product DAY: duration must have one of seconds, minutes, hours, days, weeks, months or years, "
        "such as { days = 30 }.",
    ),
    (PASS.replace("{ days = 1 }", "{ seconds = 5 }"), "product DAY: duration: From one minute to 100 years."),
    (
        PRO.replace('"PRO"', '"price_123"'),
        "product price_123: code: This looks like a Stripe ID. Enter a code of your own, "
        "such as PRO_MONTHLY.",
    ),
    (PRO + PRO, "product PRO: The file has this code twice. Keep one of the entries."),
    (
        PRO + "[product.price]\nlabel = 1\n",
        "product PRO: price must be a list of tables. Begin each of them with [[product.price]].",
    ),
    (
        PRO + 'price = [{ label = "month" }]\n',
        "product PRO, price month: lookup_key or stripe_price is missing. Add one of them.",
    ),
    (
        PRO + 'price = [{ lookup_key = "a", stripe_price = "price_1" }]\n',
        "product PRO, price 1: lookup_key and stripe_price cannot stand together. Remove one of them.",
    ),
    (
        PRO + 'price = [{ lookupkey = "a" }]\n',
        "product PRO, price 1: lookupkey is not a known key. Did you mean lookup_key?",
    ),
    (
        PRO + 'price = [{ label = "A B", lookup_key = "a" }]\n',
        "product PRO, price A B: label: Use 1 to 32 lower-case letters, digits, _ or -",
    ),
    (
        PRO + 'price = [{ lookup_key = "a" }, { lookup_key = "b" }]\n',
        "product PRO: Two prices are labelled default. Give one of them another label.",
    ),
    (
        PRO + 'price = [{ label = "m", lookup_key = "a" }]\n' + PASS + 'price = [{ lookup_key = "a" }]\n',
        "product DAY, price default: Its lookup key stands at product PRO, price m too. Use another price "
        "for one of them.",
    ),
    (
        PRO + 'price = [{ lookup_key = "" }]\n',
        "product PRO, price 1: lookup_key must have 1 to 200 characters.",
    ),
    (
        PRO + 'price = [{ stripe_price = "" }]\n',
        "product PRO, price 1: stripe_price must be the ID of a price in Stripe, such as price_1Pq….",
    ),
    (
        PRO + 'price = [{ stripe_price = "price_1", create = { amount = 1, currency = "usd" } }]\n',
        "product PRO, price 1, create: A subscription needs a recurring price, and this one is paid once. "
        "Add interval.",
    ),
    (
        PACK + 'price = [{ stripe_price = "price_1", create = { amount = 1, currency = "usd" } }]\n',
        "product PACK, price 1: create needs lookup_key, by which the price is found again. Add it.",
    ),
    (
        create('amount = 2.5, currency = "usd"'),
        "product PRO, price month, create: amount must be a whole number, such as 3.",
    ),
    (
        create('amount = -1, currency = "usd"'),
        "product PRO, price month, create: amount must be 0 or more, in the currency's smallest unit.",
    ),
    (
        create('currency = "usd"'),
        "product PRO, price month, create: amount is missing. Add it, such as amount = 2000.",
    ),
    (
        create('amount = 1, currency = "USD"'),
        "product PRO, price month, create: currency must be a code of three "
        'lower-case letters, such as "usd".',
    ),
    (
        create('amount = 1, currency = "usd", interval = "quarter"'),
        "product PRO, price month, create: interval must be day, week, month or year.",
    ),
    (
        create('amount = 1, currency = "usd", intervall = "month"'),
        "product PRO, price month: create: intervall is not a known key. Did you mean interval?",
    ),
    ("[[endpoint]]\n", 'endpoint 1: url is missing. Add it, such as url = "https://example.com/hooks".'),
    (
        '[[endpoint]]\nurl = "https://example.com/h"\n',
        'endpoint https://example.com/h: types is missing. Add it, such as types = ["entitlement.updated"].',
    ),
    (
        HOOK.replace("usage.low", "usage.lo"),
        "endpoint https://example.com/h: types: no such event type: usage.lo.",
    ),
    (HOOK.replace('["usage.low"]', "[]"), "endpoint https://example.com/h: types: choose at least one."),
    (
        HOOK.replace("https://example.com/h", "ftp://example.com/"),
        "endpoint ftp://example.com/: url: must begin with https://.",
    ),
    (
        HOOK + 'secret = "whsec_x"\n',
        "endpoint https://example.com/h: secret cannot stand in the file. Name an environment variable that "
        "has it: secret_env.",
    ),
    (
        HOOK + 'secret_env = "whsec_x="\n',
        "endpoint https://example.com/h: secret_env must be the name of an environment variable, such as "
        "HOOK_SECRET.",
    ),
    (
        HOOK + 'description = "a\\u202eb"\n',
        "endpoint https://example.com/h: description: Remove the control characters and "
        "invisible characters.",
    ),
    (PRO.replace('"PRO"', '"A\\u0000"'), "product 1: code must not have a NUL character."),
]


@pytest.mark.parametrize(("content", "said"), BAD, ids=[said[:60] for _, said in BAD])
def test_a_bad_file_is_refused_in_a_sentence(content: str | bytes, said: str) -> None:
    assert sentence(content) == said


def test_an_endpoint_of_live_mode_needs_https() -> None:
    plain = HOOK.replace("https", "http")
    assert read(plain).endpoints[0].url == "http://example.com/h"
    assert sentence(plain, Mode.LIVE) == (
        "endpoint http://example.com/h: url: must begin with https:// in live mode."
    )


def test_a_mark_of_the_byte_order_and_line_ends_of_windows_are_taken() -> None:
    expected = read(PRO + PASS + HOOK)
    assert len(expected.products) == 2
    assert read(("\ufeff" + PRO + PASS + HOOK).replace("\n", "\r\n")) == expected


def test_a_file_of_one_megabyte_is_taken() -> None:
    content = PRO.encode()
    assert read(content + b"#" * (MAX_BYTES - len(content))).products[0].code == "PRO"


def test_comments_and_no_entries_are_a_file() -> None:
    assert read("# nothing yet\n") == Configuration("shop.toml")
    assert read("") == Configuration("shop.toml")
