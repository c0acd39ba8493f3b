"""Documentation strings: split into query and text, named, read once, and nothing is imported."""

import re
import sys
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_files import write
from uncollapse.corpora import Text, docstrings, open_corpus, texts

SOURCE = '''"""Wheels that turn by themselves.

They need neither oil nor grease to go round."""

raise SystemExit("imported")

class Wheel:
    """A wheel with spokes and a rim around it. The rim is made of wood, the spokes of iron."""

    def turn(self):
        """Turn the wheel once

        ====

        By three hundred and sixty degrees, which is all."""
        def inner():
            """This one is local to turn. Nobody can reach it by name from outside."""

    @property
    def size(self):
        """Size of the wheel in inches. Measured from rim to rim, through the hub."""

    @size.setter
    def size(self, value):
        """Set the size in inches. All spokes grow or shrink with it at once."""

    if True:
        async def stop(self):
            """Stop the wheel at once
            ------------------------
            It takes no more than a second or two."""

def again():
    """Another way to say it. They need neither  oil nor grease to GO round."""

BAD = "\\d"
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "site-packages"
    write(root / "cart/__init__.py", SOURCE.encode())
    write(root / "cart/odd.py", b'"""Not Python at all.\n\nBut with a long enough text below it.""" def')
    write(
        root / "cart/latin.py",
        '# coding: latin-1\n"""Encoded in Latin one.\n\nAn é that is one byte, not two."""'.encode("latin-1"),
    )
    write(root / "cart/half.py", b'"""Half of a pair here.\n\nFive words and then \\ud83d as well."""')
    for name in (
        "tests/a.py",
        "test_b.py",
        "b_test.py",
        "conftest.py",
        "no-name.py",
        "test/__init__.py",
        "x-1.dist-info/a.py",
    ):
        write(root / "cart" / name, b'"""A test that must be left out.\n\nIt has more than five words below."""')
    return root


def test_docstrings_are_split_named_and_read_once(package: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        items = list(docstrings.read_docstrings((package,)))
    found = {item.id: (item.query, item.text) for item in items if isinstance(item, texts.Found)}
    assert found == {
        "cart": ("Wheels that turn by themselves.", "They need neither oil nor grease to go round."),
        "cart.Wheel": ("A wheel with spokes and a rim around it.", "The rim is made of wood, the spokes of iron."),
        "cart.Wheel.turn": ("Turn the wheel once", "====\n\nBy three hundred and sixty degrees, which is all."),
        "cart.Wheel.size": ("Size of the wheel in inches.", "Measured from rim to rim, through the hub."),
        "cart.Wheel.size:25": ("Set the size in inches.", "All spokes grow or shrink with it at once."),
        "cart.Wheel.stop": ("Stop the wheel at once", "It takes no more than a second or two."),
        "cart.latin": ("Encoded in Latin one.", "An é that is one byte, not two."),
    }
    assert {item.source for item in items if isinstance(item, texts.Found)} == {"cart"}
    [bad] = [item for item in items if isinstance(item, texts.Bad)]
    assert bad.tolerated
    assert bad.place.path == package / "cart/odd.py"
    assert "cart" not in sys.modules


def test_the_first_root_wins_as_in_an_import(package: Path, tmp_path: Path) -> None:
    write(tmp_path / "lib/cart/__init__.py", b'"""Carts of another maker.\n\nThese are the ones that are imported."""')
    items = list(docstrings.read_docstrings((tmp_path / "lib", package)))
    assert [item.query for item in items if isinstance(item, texts.Found) and item.id == "cart"] == [
        "Carts of another maker."
    ]


@pytest.mark.parametrize(
    ("docstring", "pair"),
    [
        ("Too short.\n\nOne two three four five six.", None),
        ("Long enough to ask.\n\nOne two three four.", None),
        ("Only one sentence that has no rest at all", None),
        ("Say it again, please.\n\nSay it again please. And then some more words.", None),
        ("mean(a, b, axis=None) of things\n\nOne two three four five six.", None),
        (">>> a + b + c\n\nOne two three four five six.", None),
        ("Returns:\n\nOne two three four five six.", None),
        ("word " * 41 + ".\n\nOne two three four five six.", None),
        (
            "A sentence over\ntwo lines. And five\nmore words then.",
            ("A sentence over two lines.", "And five\nmore words then."),
        ),
        (
            "Use a thing, e.g. The one\nbelow. One two three four five.",
            ("Use a thing, e.g. The one below.", "One two three four five."),
        ),
        ("Three of 3.5 each.\n   \n  One two three four five.", ("Three of 3.5 each.", "One two three four five.")),
    ],
)
def test_which_docstrings_make_a_pair(docstring: str, pair: tuple[str, str] | None) -> None:
    assert docstrings.split_query(docstring) == pair


@given(st.text(alphabet="ab .\n=(", max_size=80))
def test_a_query_and_its_text_keep_every_word_in_order(docstring: str) -> None:
    pair = docstrings.split_query(docstring)
    if pair:
        both = re.findall(r"\w+", " ".join(pair))
        assert both == re.findall(r"\w+", docstring)


@pytest.fixture(scope="module")
def installed() -> list[Text]:
    return list(open_corpus("docstrings", limit=1000))


def test_installed_docstrings_mix_packages_and_lengths(installed: list[Text]) -> None:
    words = Counter(len(text.text.split()).bit_length() for text in installed)
    assert len({text.source for text in installed}) >= 10
    assert max(Counter(text.source for text in installed).values()) < 700
    assert sum(count for bits, count in words.items() if bits >= 9) >= 50
    assert sum(count for bits, count in words.items() if bits <= 4) >= 50


def test_installed_docstrings_have_queries_that_their_texts_do_not_repeat(installed: list[Text]) -> None:
    assert len({text.id for text in installed}) == len({" ".join(text.text.split()) for text in installed}) == 1000
    for text in installed:
        assert text.query is not None
        assert len(text.query.split()) >= 3
        assert len(text.text.split()) >= 5
        assert not text.text.startswith(text.query)
        assert text.id.split(".")[0] == text.source


def test_docstrings_are_the_same_again_and_import_nothing(installed: list[Text]) -> None:
    before, filters = set(sys.modules), list(warnings.filters)
    assert list(islice(open_corpus("docstrings"), 200)) == installed[:200]
    assert set(sys.modules) == before
    assert list(warnings.filters) == filters
