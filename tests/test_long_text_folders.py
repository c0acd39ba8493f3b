"""Folders with code for long texts: how they are written, whom they trust, and what they refuse."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers.utils import HF_MODULES_CACHE

from long_text_examples import (
    TEXTS,
    by_package,
    encode,
    made_reports,
    made_root,
    stock,
)
from uncollapse import export_long_texts, fix, load, parse
from uncollapse.cli import run
from uncollapse.covering import folder as covering
from uncollapse.covering.folder import LongTextsReport
from uncollapse.covering.long_texts import LongTexts
from uncollapse.encoders import load_model
from uncollapse.encoders.sentence import ROLES
from uncollapse.encoders.sources import find_source
from uncollapse.errors import ArchitectureError, FixError, ModelError, OutputError


@pytest.fixture(scope="module")
def root() -> Path:
    return made_root()


@pytest.fixture(scope="module")
def reports() -> dict[str, LongTextsReport]:
    return made_reports()


@pytest.mark.usefixtures("reports")
def test_its_code_runs_only_where_it_is_trusted(root: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SentenceTransformer(str(root / "alone"), device="cpu")
    with pytest.raises(
        ValueError, match=r"Read it, then load with trust_remote_code=True; or load its folder `model`"
    ):
        LongTexts.load(str(root / "alone"), trust_remote_code=False)


@pytest.mark.usefixtures("reports")
def test_trusting_it_trusts_nothing_that_the_model_names(root: Path, tmp_path: Path) -> None:
    place = tmp_path / "named"
    shutil.copytree(root / "alone", place)
    for folder in (place, place / "model"):
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nModel = Config = None\n")
    found = encode(stock(place), TEXTS, "document")
    np.testing.assert_array_equal(found, encode(stock(root / "alone"), TEXTS, "document"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("reports")
def test_a_model_with_modules_of_its_own_code_is_refused_in_any_release(root: Path, tmp_path: Path) -> None:
    """Releases before 6 would run them, since the folder is on the disk."""
    place = tmp_path / "named"
    shutil.copytree(root / "alone", place)
    modules = json.loads((place / "model/modules.json").read_text())
    modules[1]["type"] = "evil.Model"
    (place / "model/modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"code that its long_texts\.json knows nothing of: \['evil\.Model'\]"):
        stock(place)


@pytest.mark.usefixtures("reports")
def test_without_its_model_it_is_refused_and_nobody_else_is_asked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name with `model` behind it is that of somebody's model on the hub."""
    shutil.copytree(root / "alone", tmp_path / "half", ignore=shutil.ignore_patterns("model"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"has code of its own .* but no folder 'model' with the model"):
        find_source("half")
    with pytest.raises(ValueError, match="Expected a folder 'model' with the model in 'half', and it is not there"):
        stock(Path("half"))


@pytest.mark.usefixtures("reports")
def test_this_package_takes_the_model_inside_and_runs_no_code(root: Path) -> None:
    place = root / "with a map a role"
    model = load(str(place))
    assert find_source(str(place)) == place / "model"
    assert model.text_fix == "cover(16)"
    np.testing.assert_array_equal(
        by_package(place, TEXTS, "document"), by_package(root / "with a map a role fixed", TEXTS, "document")
    )


def test_its_card_and_its_files_say_what_it_is(reports: dict[str, LongTextsReport], root: Path) -> None:
    place = root / "with a map a role"
    card = (place / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n## Reads texts to their end: `cover(16)`")
    assert "> # Mine" in card
    assert "trust_remote_code=True" in card
    assert 'uncollapse evaluate DATA -m ORIGINAL --fix "cover(16)"' in card
    assert re.search(r"^\| 128-\d+ \| 1 \| \w+, (alone|together) \| 1\.000000 \| \d", card, re.MULTILINE)
    assert (place / "LICENSE").read_text() == "as you like"
    parity = json.loads((place / "parity.json").read_text())
    labels = list(dict.fromkeys(row["bin"] for row in parity["rows"]))
    assert re.findall(r"^\| ([\d-]+) \| \d+ \| \w+, ", card, re.MULTILINE) == labels
    assert parity["schema"] == "uncollapse.long_texts_parity/1"
    assert len(parity["rows"]) == len(reports["with a map a role"].rows)
    assert {row["route"] for row in parity["rows"]} == set(ROLES)
    code = (place / "long_texts.py").read_text()
    assert "from .cutting import" in code
    assert "import uncollapse" not in code
    assert "from uncollapse" not in code


def test_it_is_written_whole_and_in_agreement_or_not_at_all(
    root: Path, reports: dict[str, LongTextsReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(covering, "LIMIT", 1e-12)
    with pytest.raises(
        ModelError, match=r"must give the vectors of this package, but differs by .* and 1e-12 is allowed"
    ):
        export_long_texts(str(root / "alone fixed"), tmp_path / "out")
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with pytest.raises(OutputError, match="exists and is not empty"):
        export_long_texts(str(root / "alone fixed"), root / "alone")
    with pytest.raises(OutputError, match="no folder that reads long texts"):
        export_long_texts(str(root / "alone fixed"), root / "stock", force=True)
    with pytest.raises(OutputError, match="lie one in the other"):
        export_long_texts(str(root / "alone fixed"), root / "alone fixed/inside")
    report = export_long_texts(str(root / "alone fixed"), root / "alone", force=True)
    assert report == reports["alone"]
    copies = Path(HF_MODULES_CACHE, "transformers_modules").glob(f"_dot_alone_dot_partial_hyphen_{os.getpid()}_*")
    assert not list(copies), "nothing stays of the name that it had meanwhile"


def test_what_it_is_not_for_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FixError, match="asks for no fix on texts"):
        export_long_texts(str(root / "stock"), tmp_path / "out")
    fix(str(root / "stock"), parse("chunks(12)"), tmp_path / "chunks")
    with pytest.raises(FixError, match=r"cover\(\.\.\.\) alone, got `chunks\(12\)`"):
        export_long_texts(str(tmp_path / "chunks"), tmp_path / "out")
    fix(str(root / "stock"), parse("cover(12)"), tmp_path / "left")
    settings = json.loads((tmp_path / "left/tokenizer_config.json").read_text())
    (tmp_path / "left/tokenizer_config.json").write_text(json.dumps({**settings, "truncation_side": "left"}))
    with pytest.raises(ArchitectureError, match="its tokenizer cuts the beginning of texts off"):
        export_long_texts(str(tmp_path / "left"), tmp_path / "out")
    encoder = load_model(str(root / "alone fixed"))
    encoder.model[0].modality_config["message"] = {}
    with pytest.raises(ArchitectureError, match="it puts texts into a chat template, whose tokens are not counted"):
        covering._chunk(encoder)
    modules = list(SentenceTransformer(str(root / "plain"), device="cpu"))[:2]
    far = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="euclidean")
    far.save_pretrained(str(tmp_path / "far"))
    fix(str(tmp_path / "far"), parse("cover(12)"), tmp_path / "far fixed")
    with pytest.raises(ArchitectureError, match="it compares vectors by euclidean distance, and they have norms"):
        export_long_texts(str(tmp_path / "far fixed"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("reports")
def test_the_command_writes_it_and_says_how_to_load_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "long"
    told = ["export", str(root / "alone fixed"), "-o", str(out), "--format", "sentence-transformers"]
    assert run(told) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f'SentenceTransformer("{out}", trust_remote_code=True)' in said
    assert "cover(12); the model reads 40 tokens at once" in said
    assert run([*told, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text_fix"] == "cover(12)"
    assert run(["fix", str(root / "stock"), "cover(12)", "-o", str(tmp_path / "fixed")]) == 0
    assert "--format sentence-transformers" in " ".join(capsys.readouterr().out.split())
