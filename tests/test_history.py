"""A new model's card says first what holds of the new folder; what its source's card says stands below, quoted."""

from pathlib import Path

from uncollapse.exporting.originals import write_card
from uncollapse.history import HISTORY, compose_card, put_first, read_card

FRONT = "---\nlicense: mit\nlibrary_name: sentence-transformers\ntags:\n- sentence-transformers\n- dense\n---\n"
SECTION = "## Exported\n\nIt is a graph.\n"
CODE = '```python\nmodel = SentenceTransformer("other")\n```'


def test_what_holds_stands_first_and_the_sources_card_is_quoted_whole() -> None:
    card = compose_card(SECTION, f"{FRONT}\n\n# Mine\n\n{CODE}\n", is_stock=True)
    front, section, history = card.partition(SECTION)
    assert front == FRONT
    assert section
    assert history.startswith(f"\n{HISTORY}> # Mine\n>\n> ```python\n")
    body = history.removeprefix(f"\n{HISTORY}")
    assert all(line.startswith(">") for line in body.splitlines())
    assert "\n".join(line[2:] for line in body.splitlines()) == f"# Mine\n\n{CODE}"


def test_a_card_of_a_card_quotes_the_first_history_deeper() -> None:
    first = compose_card("## Fixed\n", f"{FRONT}# Mine\n", is_stock=True)
    second = compose_card(SECTION, first, is_stock=True)
    assert second.startswith(FRONT + SECTION)
    assert "\n> ## Fixed\n" in second
    assert "\n> > # Mine\n" in second
    assert [line for line in second.splitlines() if line.startswith("#")] == ["## Exported", HISTORY.splitlines()[0]]


def test_without_a_card_before_there_is_no_history() -> None:
    assert compose_card(SECTION, "", is_stock=True) == SECTION
    assert compose_card(SECTION, FRONT, is_stock=True) == FRONT + SECTION


def test_only_what_sentence_transformers_loads_names_it_in_the_front_matter(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/README.md").write_text(f"{FRONT}It is for sentence-transformers.\n", encoding="utf-8")
    for name, files in (("graph", ()), ("model", ("modules.json",))):
        part = tmp_path / name
        part.mkdir()
        for file in files:
            (part / file).write_text("[]")
        write_card(part, tmp_path / "source", SECTION)
        front = read_card(part).partition(SECTION)[0]
        assert ("sentence-transformers" in front) == bool(files)
        assert front.startswith("---\nlicense: mit\n")
        assert front.endswith("- dense\n---\n")
        assert "> It is for sentence-transformers." in read_card(part)


def test_a_line_across_a_card_is_no_front_matter() -> None:
    assert compose_card(SECTION, "# Mine\n---\nmore\n---\n", is_stock=True).startswith(SECTION)


def test_one_more_section_comes_before_those_that_hold_too() -> None:
    card = compose_card(SECTION, f"{FRONT}# Mine\n", is_stock=True)
    whole = put_first("## One bucket of 3\n", card)
    assert whole.startswith(f"{FRONT}## One bucket of 3\n\n{SECTION}")
    assert whole.endswith("> # Mine\n")
    assert put_first("## One bucket of 3\n", SECTION) == f"## One bucket of 3\n\n{SECTION}"
