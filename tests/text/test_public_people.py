"""The public people: how texts are taken out of packages, which are made up here, and what the table promises."""

import bz2
import hashlib
import io
import json
import re
from collections import Counter
from dataclasses import replace
from zipfile import ZipFile

import pytest
from benchmarks.list_people import PAGE, page

from sharedllm.errors import DownloadError
from sharedllm.text import public_people as module
from sharedllm.text.people import Person
from sharedllm.text.public_people import (
    LEAST,
    MOST,
    ROLES,
    Listed,
    Rows,
    Source,
    public_people,
    read_rows,
    read_texts,
    sources,
)
from sharedllm.text.samples import SAMPLES
from sharedllm.user_ids import check_user_id


def wheel(files):
    packed = ZipFile(io.BytesIO(), "w")
    for name, text in files.items():
        packed.writestr(name, text)
    return packed


def listed(name="Ada", text="", **given):
    return Listed(name, "prior", hashlib.sha256(text.encode()).hexdigest(), len(text), **given)


def texts(packed, *people, rows=None):
    return read_texts(packed, rows, people)


def test_files_come_in_the_order_of_patterns_then_of_paths_and_without_what_is_left_out():
    packed = wheel({"b/2.txt": "two", "b/1.txt": "one\r\n", "a.txt": "a", "b/1.not": "x", "b/old/3.txt": "old"})
    ada = listed(files=("b/*.txt", "*.txt"), without=("/old/",))
    assert texts(packed, ada) == {"Ada": "one\n\ntwo\na\n"}


def test_a_book_is_what_stands_between_its_markers():
    packed = wheel({"big.txt": "licence\nSTART\n\nOnce upon a time.\n\nEND\nlicence"})
    assert texts(packed, listed(files=("big.txt",), begin="START\n", end="END")) == {"Ada": "Once upon a time.\n"}


def test_who_has_no_file_is_left_out():
    assert texts(wheel({"a.txt": "a"}), listed(files=("b.txt",))) == {}


def test_a_file_in_another_encoding_and_with_doubled_returns_is_read():
    packed = wheel({"a.txt": "é\r\r\nb".encode("latin-1")})
    assert texts(packed, listed(files=("a.txt",), encoding="latin-1")) == {"Ada": "é\nb\n"}


APACHE = "Licensed under the Apache License, Version 2.0;\n# see the file for limitations\n# under the License."


def test_notices_of_licences_are_left_out_where_they_are_not_wanted():
    packed = wheel({"a.py": f"# Ada\n# {APACHE}\nx = 1\n", "b.py": f"# {APACHE}\ny = 2\n"})
    ada = listed(files=("*.py",), without_notices=True)
    assert texts(packed, ada) == {"Ada": "# Ada\n# \nx = 1\n\n# \ny = 2\n"}
    assert "Apache" in texts(packed, replace(ada, without_notices=False))["Ada"]


def test_a_long_text_is_cut_at_the_end_of_a_line():
    packed = wheel({"a.txt": "x" * 99 + "\n" + "y" * MOST})
    assert texts(packed, listed(files=("a.txt",))) == {"Ada": "x" * 99 + "\n"}


CSV = 'who,said,day\nAda,third,3\nBob,hi,1\n"Ada",first,1\nAda,first,2\n,nobody,1\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", CSV), ("a.csv.bz2", bz2.compress(CSV.encode())), ("a.zip!in.csv", None)],
    ids=["plain", "packed", "in an archive"],
)
def test_rows_are_gathered_by_author_in_order_and_the_same_words_once(name, content):
    if content is None:
        archive = io.BytesIO()
        with ZipFile(archive, "w") as packed:
            packed.writestr("in.csv", CSV)
        content = archive.getvalue()
    packed = wheel({name.partition("!")[0]: content})
    rows = Rows(name, author="who", text="said", order="day")
    assert read_rows(packed, rows) == {"Ada": "first\nthird\n", "Bob": "hi\n"}


def test_an_author_is_found_within_a_field_and_rows_are_put_in_the_order_of_a_number_there():
    packed = wheel({"a.tsv": "b\t#10 (Ada)\na\t#9 (Ada)\nc\tnobody\n"})
    rows = Rows("a.tsv", author="1", author_pattern=r"#(?P<order>\d+) \((?P<author>.*)\)", text="0")
    assert read_rows(packed, rows) == {"Ada": "a\nb\n"}


def test_objects_are_found_wherever_they_stand_in_json():
    said = [{"by": "Ada", "text": "one"}, {"by": "Ada", "text": "two"}]
    packed = wheel({"a.json": json.dumps({"x": {"start": 1, "turns": [said[:1], said[1:]]}, "y": []})})
    assert read_rows(packed, Rows("a.json", author="by", text="text")) == {"Ada": "one\ntwo\n"}


def test_json_lines_of_fixed_width_are_unwrapped():
    packed = wheel({"a.jsonl": json.dumps({"by": "Ada", "text": " one\ntwo\n  three\n"}) + "\n"})
    assert read_rows(packed, Rows("a.jsonl", author="by", text="text", wrapped=True)) == {"Ada": "one two\nthree\n"}


def test_a_row_may_name_the_file_of_its_text():
    packed = wheel({"a.csv": "who,id\nAda,7\n", "7.txt": "hello\n"})
    assert read_rows(packed, Rows("a.csv", author="who", text_file="{id}.txt")) == {"Ada": "hello\n"}


def test_rows_that_call_a_person_otherwise_are_found_by_the_authors_name():
    packed = wheel({"a.csv": CSV})
    assert texts(packed, listed("B.", author="Bob"), rows=Rows("a.csv", author="who", text="said")) == {"B.": "hi\n"}


@pytest.fixture
def two_packages(monkeypatch):
    """Two packages with one person of each role in the first and one in the prior in the second."""
    package = sources()[0].package
    packed = {"one": wheel({"a.txt": "a\n", "b.txt": "b\n"}), "two": wheel({"c.txt": "c\n"})}
    ada, bob, cleo = (
        listed(name, f"{file}\n", files=(f"{file}.txt",)) for name, file in (("Ada", "a"), ("Bob", "b"), ("Cleo", "c"))
    )
    table = [
        Source("poet", replace(package, name="one"), "MIT", None, (ada, replace(bob, role="figures"))),
        Source("clerk", replace(package, name="two"), "MIT", None, (cleo,)),
    ]
    fetched = []

    def fetch(package, *, progress):
        fetched.append(package.name)
        return package.name

    monkeypatch.setattr(module, "sources", lambda: table)
    monkeypatch.setattr(module, "fetch_package", fetch)
    monkeypatch.setattr(module, "ZipFile", packed.get)
    monkeypatch.setattr(module, "sample_text", lambda name, *, progress: name)
    return fetched


def test_people_of_a_role_come_in_order_and_a_package_is_fetched_when_due(two_packages):
    everybody = public_people("prior")
    assert next(everybody) == Person("poet/Ada", "poet", "a\n")
    assert two_packages == ["one"]
    assert [person.user for person in everybody] == ["clerk/Cleo"]
    assert two_packages == ["one", "two"]


def test_the_sample_users_are_among_the_figures(two_packages):
    assert [person.user for person in public_people("figures")] == [
        "poet/Bob",
        *(f"sample/{name}" for name in SAMPLES if name != "general"),
    ]


def test_another_text_than_the_listed_one_is_refused(two_packages, monkeypatch):
    table = module.sources()
    monkeypatch.setattr(module, "sources", lambda: [replace(table[1], people=(listed("Cleo", "x", files=("c.txt",)),))])
    with pytest.raises(DownloadError, match="does not hold the listed text of clerk/Cleo"):
        next(public_people("prior"))


def everybody():
    return [(source, person) for source in sources() for person in source.people]


def test_nobody_is_listed_twice_and_nobodys_text_is_in_both_roles():
    users = [f"{source.kind}/{person.name}" for source, person in everybody()]
    assert len(users) == len(set(users))
    assert [check_user_id(user) for user in users] == users
    hashes = [person.sha256 for _, person in everybody()]
    assert len(hashes) == len(set(hashes))
    assert all(len(digest) == 64 for digest in hashes)


def test_everybody_has_a_known_role_and_enough_text():
    assert {person.role for _, person in everybody()} == set(ROLES)
    assert all(LEAST <= person.characters <= MOST for _, person in everybody())


def test_the_sample_users_are_not_in_the_table():
    hashes = {person.sha256 for _, person in everybody()}
    assert not hashes & {sample.sha256 for sample in SAMPLES.values()}
    assert not {source.kind for source in sources()} & {"sample"}
    # Whose whole text is read is not listed under another name either.
    assert "scientist/astro-ph" not in {f"{source.kind}/{person.name}" for source, person in everybody()}
    assert "peewee" not in {source.package.name for source in sources()}


def test_there_are_hundreds_in_the_prior_and_forty_of_many_kinds_outside_it():
    count = Counter((source.kind, person.role) for source, person in everybody())
    kinds = {role: {kind for kind, of in count if of == role} for role in ROLES}
    assert sum(number for (_, role), number in count.items() if role == "prior") >= 300
    assert sum(number for (_, role), number in count.items() if role == "figures") >= 44
    assert len(kinds["figures"]) >= 6
    assert len(kinds["figures"] - kinds["prior"]) >= 2


def test_every_package_is_pinned_to_one_file_and_every_licence_is_named():
    pins = {(source.package.name, source.package.version, source.package.sha256) for source in sources()}
    assert len({name for name, _, _ in pins}) == len(pins)
    assert all(name == name.lower() and "." not in name and len(digest) == 64 for name, _, digest in pins)
    assert all(source.licence for source in sources())


def test_the_page_about_public_people_tells_of_the_table():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.list_people"


def test_who_writes_code_or_documentation_is_one_person_with_a_permissive_licence():
    of_files = [(source, person) for source, person in everybody() if person.files and person.author]
    authors = [person.author.casefold() for _, person in of_files]
    assert len(authors) == len(set(authors))
    assert len({source.kind for source, _ in of_files}) >= 6
    permissive = re.compile("MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|public domain", re.IGNORECASE)
    assert all(permissive.search(source.licence) and "GPL" not in source.licence for source, _ in of_files)


@pytest.mark.rare
def test_the_packages_hold_the_listed_texts():
    found = {
        role: [hashlib.sha256(person.text.encode()).hexdigest() for person in public_people(role)] for role in ROLES
    }
    assert not set(found["prior"]) & set(found["figures"])
    assert len(found["prior"]) == sum(person.role == "prior" for _, person in everybody())
