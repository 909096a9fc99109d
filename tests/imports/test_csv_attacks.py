"""CSV files as people, spreadsheets and enemies give them: read, or refused with a sentence."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest

from licenzy.errors import InvalidRequest
from licenzy.imports import csv_files
from licenzy.imports.csv_files import MAX_BYTES, read_access, read_map, text_of
from licenzy.kit.csv_text import as_csv

HEADER = "stripe_subscription_id,stripe_customer_id,email,subject_ref,unit,used_units\n"


def refs(content: bytes) -> list[str]:
    return [line.subject_ref for line in read_map(text_of(content))]


@pytest.mark.parametrize(
    "content",
    [
        b"email,subject_ref\na@x.com,anna\n",
        b"\xef\xbb\xbfemail,subject_ref\r\na@x.com,anna\r\n",
        b"email;subject_ref\r\na@x.com;anna\r\n",
        b"email\tsubject_ref\na@x.com\tanna",
        b"email,subject_ref\ra@x.com,anna\r",
        b"\r\n\nemail,subject_ref\n\n\na@x.com,anna\n,\n",
        b'"e-mail","email","subject_ref"\n"a,b\r\n","a@x.com","anna"\n',
        b" Email , Subject Ref \n a@x.com , anna \n",
        "email,subject_ref\na@x.com,anna\n".encode("utf-16"),
        "email;subject_ref\r\na@x.com;anna\r\n".encode("utf-16-be").join([b"\xfe\xff", b""]),
    ],
)
def test_shapes_of_spreadsheets(content: bytes) -> None:
    assert refs(content) == ["anna"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "first line must name"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not encoded in UTF-8"),
        (b"PK\x03\x04\x14\x00\x06\x00", "not a CSV"),
        (b"email,subject_ref\na@x.com,an\x00na\n", "not a CSV"),
        (b"\xff\xfee\x00", "first line must name"),
        (b"\xff\xfee\x00m", "not encoded"),
        (b"\xff\xfe\x00\xd8", "not encoded"),
        (b"email,subject_ref,subject_ref\na,b,c\n", "subject_ref more than once"),
        (b"email,subject_ref,used_units,used_units\na@x.com,b,1,2\n", "used_units more than once"),
        (b"email,subject_ref\na@x.com,anna,more\n", "more cells than the header"),
        (b'email,subject_ref\n"a@x.com,anna\n', "cannot be read at line"),
        (b"email,subject_ref\na@x.com," + b"x" * 200_000 + b"\n", "cannot be read at line"),
        (b"email,subject_ref\na@x.com," + b"x" * 201 + b"\n", "line 2: subject_ref must have"),
        (b"email,subject_ref\n,anna\n", "line 2: one of"),
        ("email,subject_ref,used_units\na@x.com,anna,٣\n".encode(), "used_units must be"),
        (b"email,subject_ref,used_units\na@x.com,anna,-1\n", "used_units must be"),
        ("email,subject_ref\na@x.com,an\u202ena\n".encode(), "text direction"),
    ],
)
def test_what_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        refs(content)


def test_only_the_first_problems_are_named() -> None:
    with pytest.raises(InvalidRequest, match=r"line 6: .*, and 995 more") as refused:
        refs(HEADER.encode() + b",,,x,,\n" * 1000)
    assert len(refused.value.message) < 1000


def test_what_is_written_is_read_and_is_no_formula() -> None:
    names = ["=1+1", "+a", "-a", "@a", "anna", "a;b", 'a"b', "a, b"]
    text = as_csv(["email", "subject_ref"], [["a@x.com", name] for name in names])
    assert not any(line.split(",", 1)[1][:1] in "=+-@" for line in text.splitlines()[1:])
    assert refs(text.encode()) == names
    assert all(f"'{begin}=1" in as_csv(["a"], [[f"{begin}=1"]]) for begin in "\t\r\n")


def test_random_bytes() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        content = bytes(chance.choice(b'\x00\xff\xfe,;"\r\n\t =a\xc3') for _ in range(chance.randrange(60)))
        for read in (read_map, read_access):
            with contextlib.suppress(InvalidRequest):  # Nothing else may go wrong.
                list(read(text_of(b"email,subject_ref\n" * chance.randrange(2) + content)))


def test_the_largest_files() -> None:
    with pytest.raises(InvalidRequest, match="larger than 20 MB"):
        text_of(b"x" * (MAX_BYTES + 1))
    # Its text is longer in the encoding in which it is kept than in its own.
    wide = ("email,subject_ref\na@x.com," + "東" * 100 + "\n" + " \n" * 10).encode("utf-16")
    assert len(refs(wide)) == 1


def test_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "MAX_LINES", 20_000)
    text = HEADER + "".join(f",cus_{n:07},,u{n},,\n" for n in range(20_000))
    tracemalloc.start()
    assert sum(1 for _ in read_map(text)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 * 1024, "they are never in memory all together"
    with pytest.raises(InvalidRequest, match="more than 20,000 lines"):
        list(read_map(text + ",cus_x,,x,,\n"))
