"""A temperature that follows length as one checkpoint a bucket: the right one for every text, or none."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from command_files import write_words
from export_examples import PROMPTS
from tiny import save_tiny
from uncollapse import parse
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.patching import patch
from uncollapse.bucketing import folders
from uncollapse.bucketing.buckets import cut_buckets
from uncollapse.bucketing.cards import write_section
from uncollapse.bucketing.folders import BucketReport, export_buckets
from uncollapse.bucketing.losses import BucketLoss, warning
from uncollapse.bucketing.pick_bucket import count, pick
from uncollapse.cli import run
from uncollapse.encoders import load_model
from uncollapse.errors import ArchitectureError, FixError, ModelError, OutputError, UncollapseError

LAW = TemperatureLaw("log", n0=8)
TEXTS = ["a b", "", *("ab cd " * n for n in (1, 2, 3, 4, 5, 8)), "x y z " * 40]
ENDS = (8, 16, 40)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bucketed")
    plain = SentenceTransformer(str(save_tiny(root / "plain", max_tokens=40)), device="cpu")
    modules = [plain[0], plain[1], Dense(64, 48), plain[2]]
    SentenceTransformer(modules=modules, device="cpu", prompts=PROMPTS).save_pretrained(str(root / "stock"))
    (root / "stock/README.md").write_text("# Mine\n")
    shutil.rmtree(root / "stock/3_Normalize")  # a module without settings has no folder in many models
    return root / "stock"


@pytest.fixture(scope="module")
def report(source: Path) -> BucketReport:
    words = write_words(source.parent / "data")
    return export_buckets(str(source), source.parent / "out", LAW, ENDS, search=[words])


def encode(folder: Path, texts: list[str], **options: Any) -> Any:
    model = SentenceTransformer(str(folder), device="cpu", **options)
    return model.encode_document(texts, show_progress_bar=False)


def test_stock_sentence_transformers_picks_as_one_does_by_hand(report: BucketReport, source: Path) -> None:
    found = encode(report.folder, TEXTS, trust_remote_code=True)
    texts = [PROMPTS["document"] + text for text in TEXTS]
    counts = np.minimum(load_model(str(source), device="cpu").count(TEXTS), 40).tolist()
    assert counts == [count(text, report.folder) for text in texts]
    places = [pick(n, report.folder) for n in counts]
    assert set(places) == {"up-to-8", "up-to-16", "up-to-40"}
    for text, place, vector in zip(TEXTS, places, found, strict=True):
        np.testing.assert_allclose(encode(report.folder / place, [text])[0], vector, atol=2e-6)
        others = {bucket.folder for bucket in report.buckets} - {place}
        if text and len(text) > 3:
            assert all(np.abs(encode(report.folder / one, [text])[0] - vector).max() > 1e-4 for one in others)


def test_without_trust_it_is_refused_and_its_folders_are_not(report: BucketReport) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(report.folder), device="cpu")
    with pytest.raises(ModelError, match="Give --trust-remote-code only if you have read that code"):
        load_model(str(report.folder), device="cpu")
    with pytest.raises(ValueError, match=r"runs code of its own, length_router.py, .* or load one of its folders"):
        folders.length_router.LengthRouter.load(str(report.folder))
    assert encode(report.folder / "up-to-16", ["a b"]).shape == (1, 48)


CODE = """
from pathlib import Path
from transformers import BertModel
(Path({ran!r})).write_text("ran")
class Other(BertModel): pass
"""


def naming_code(folder: Path, ran: Path) -> Path:
    """A natively supported model whose config names code beside it, which leaves a file when it runs."""
    save_tiny(folder, max_tokens=40)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "other_code.Other"}}))
    (folder / "other_code.py").write_text(CODE.format(ran=str(ran)))
    return folder


@pytest.mark.parametrize("trusted", [False, True])
def test_code_that_a_checkpoint_names_runs_only_where_it_was_trusted(trusted: bool, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    source, out = naming_code(tmp_path / "source", ran), tmp_path / "out"
    export_buckets(str(source), out, LAW, (16, 40), trust_remote_code=trusted)
    assert ran.exists() == trusted
    ran.unlink(missing_ok=True)
    model = SentenceTransformer(str(out), device="cpu", trust_remote_code=True)
    assert {type(one.model).__name__ for one in model[0].transformers} == {"Other" if trusted else "BertModel"}
    model[0].save(str(tmp_path))
    assert json.loads((tmp_path / "buckets.json").read_text())["remote_code"] is trusted
    card = " ".join((out / "README.md").read_text().split())
    said = "and the code that came with its source;" if trusted else "and no other code, whatever the checkpoints name"
    assert f"length_router.py, so read that file first, {said}" in card


def test_code_behind_the_transformer_is_refused_unless_it_is_trusted(source: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(source, tmp_path / "changed")
    place = changed / "2_Dense/config.json"
    config = json.loads(place.read_text()) | {"activation_function": "json.dumps"}
    place.write_text(json.dumps(config))
    with pytest.raises(ArchitectureError, match=r"module '2_Dense' .* activation_function 'json.dumps'"):
        export_buckets(str(changed), tmp_path / "out", LAW, ENDS)
    assert not (tmp_path / "out").exists()


def test_code_that_a_linked_folder_names_is_refused_too(source: Path, tmp_path: Path) -> None:
    """The new folder has a copy in its place."""
    changed = shutil.copytree(source, tmp_path / "changed")
    (changed / "elsewhere").mkdir()
    (changed / "elsewhere/config.json").write_text('{"auto_map": {"AutoModel": "other_code.Other"}}')
    (changed / "2_Dense/more").symlink_to("../elsewhere")
    with pytest.raises(ArchitectureError, match=r"module 'more' of .* names code of its own \(config.json: auto_map"):
        export_buckets(str(changed), tmp_path / "out", LAW, ENDS)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_json_is_refused_only_where_settings_lie(source: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(source, tmp_path / "changed")
    (changed / "2_Dense/notes.json").write_text("no JSON")
    (changed / "2_Dense/vocab.json").write_bytes(b"\xff{}")
    (changed / "2_Dense/folder.json").mkdir()
    export_buckets(str(changed), tmp_path / "out", LAW, ENDS)
    (changed / "2_Dense/processor_config.json").write_text("{")
    message = r"Expected JSON in 'processor_config.json' of the module '2_Dense' of .*, got .* Mend or remove"
    with pytest.raises(ArchitectureError, match=message):
        export_buckets(str(changed), tmp_path / "new", LAW, ENDS)
    assert not (tmp_path / "new").exists()


def test_buckets_share_in_memory_what_they_have_in_common(report: BucketReport) -> None:
    model = SentenceTransformer(str(report.folder), device="cpu", trust_remote_code=True)
    first, *others = (dict(one.named_parameters()) for one in model[0].transformers)
    for other in others:
        own = {name for name, tensor in other.items() if tensor is not first[name]}
        assert own
        assert all("query" in name for name in own)


def test_a_text_longer_than_the_last_bucket_is_refused(report: BucketReport) -> None:
    model = SentenceTransformer(str(report.folder), device="cpu", trust_remote_code=True)
    assert model.max_seq_length == 40
    model.max_seq_length = 60
    with pytest.raises(ValueError, match="The last bucket ends at 40 tokens, got a text of 60"):
        model.encode(["ab " * 80])
    with pytest.raises(ValueError, match="The longest texts have 40 tokens, got 41. Cut the text off there"):
        pick(41, report.folder)


def test_a_saved_copy_is_the_same_model(report: BucketReport, tmp_path: Path) -> None:
    model = SentenceTransformer(str(report.folder), device="cpu", trust_remote_code=True)
    model[0].save(str(tmp_path))
    again = type(model[0]).load(str(tmp_path), trust_remote_code=True)
    assert again.get_config_dict() == model[0].get_config_dict()
    features = model.preprocess(TEXTS)
    states = (one(dict(features))["token_embeddings"].detach().numpy() for one in (model[0], again.eval()))
    np.testing.assert_allclose(*states, atol=1e-6)


def test_each_checkpoint_is_the_law_at_the_geometric_middle_of_its_bucket(report: BucketReport, source: Path) -> None:
    assert [(one.low, one.up_to, one.middle) for one in report.buckets] == [(6, 8, 7), (9, 16, 12), (17, 40, 26)]
    for bucket in report.buckets:
        assert bucket.tau == pytest.approx(np.log(8) / np.log(bucket.middle))
        stock = load_model(str(source), device="cpu")
        text = ["ab cd ef " * 2]
        with patch(stock.model, LAW.at(bucket.middle)):
            wanted = stock.vectors(text)
        np.testing.assert_allclose(encode(report.folder / bucket.folder, text), wanted, atol=2e-6)


def test_the_loss_is_told_by_length_and_is_smaller_than_what_there_is_to_lose(report: BucketReport) -> None:
    assert [loss.bin for loss in report.losses] == ["1-7", "8-8", "9-15", "16-16", "17-31", "32-40"]
    assert sum(loss.n for loss in report.losses) == 12
    for loss in report.losses:
        assert loss.largest_error is not None
        assert loss.moved is not None
        assert loss.min_cosine is not None
        assert loss.largest_error < 0.6 * loss.moved or loss.moved < 0.01, loss
        assert 0.99 < loss.min_cosine <= 1
    (search,) = report.searches
    assert (search.dataset, search.metric, search.n) == ("data/test", "ndcg@10", 30)
    assert search.difference == pytest.approx(search.bucketed - search.exact)
    assert search.low is not None
    assert search.high is not None
    assert search.low <= search.difference <= search.high
    written = json.loads((report.folder / "loss.json").read_text())
    assert [one["bin"] for one in written["losses"]] == [loss.bin for loss in report.losses]
    card = (report.folder / "README.md").read_text()
    assert card.startswith("## `temperature(law=log, n0=8)` in buckets")
    assert card.endswith("\n> # Mine\n")
    assert "How the law was chosen is not recorded here, and whether it pays is not known" in card
    assert "| 17 to 40 tokens | up-to-40 | 26 tokens | 0.6382 |" in card
    assert "| data/test | 30 | " in card


def test_each_folder_says_that_it_is_one_of_several_and_for_which_lengths(report: BucketReport) -> None:
    for low, up_to in ((one.low, one.up_to) for one in report.buckets):
        card = " ".join((report.folder / f"up-to-{up_to}/README.md").read_text().split())
        assert card.startswith(f"## One bucket of 3: for texts of {low} to {up_to} tokens ")
        assert "**A text of another length must not go here**" in card
        assert f"| {low} to {up_to} tokens | up-to-{up_to}, this one |" in card
        assert card.count("this one |") == 1
        assert card.index("One bucket of 3") < card.index("## Fixed with uncollapse") < card.index("> # Mine")


def test_buckets_that_serve_some_lengths_worse_than_nothing_are_told() -> None:
    fine = BucketLoss("8-15", 3, 0.99, 0.98, largest_error=0.1, moved=0.2)
    assert warning([fine]) == ""
    said = warning([fine, replace(fine, bin="16-31", largest_error=0.3), replace(fine, bin="32-40", moved=None)])
    assert "At 16-31, 32-40 tokens the bucket is further from the law than the model without any temperature" in said
    buckets = cut_buckets(LAW, (40,), limit=40)
    assert "**At 16-31 tokens" in write_section("x", "y", buckets, [replace(fine, bin="16-31", largest_error=0.3)], [])


def test_a_bucket_for_every_length_loses_nothing(source: Path, tmp_path: Path) -> None:
    """As many buckets as there are lengths among the texts: then the middle is the length."""
    report = export_buckets(str(source), tmp_path / "out", TemperatureLaw("log", n0=8, above_only=True), (8, 9, 40))
    nine = [loss for loss in report.losses if loss.bin.startswith("9")]
    assert all(loss.largest_error is not None and loss.largest_error < 1e-5 for loss in nine)
    assert (tmp_path / "out/up-to-8/model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    card = " ".join((tmp_path / "out/up-to-8/README.md").read_text().split())
    assert card.startswith("## One bucket of 3: for texts of ")
    assert "It has the weights of its source." in card
    assert card.endswith("> # Mine")
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_source_of_the_strangest_making_is_copied_like_any(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read only, with a folder of licences, with weights of other programs, named by a path from here."""
    strange = shutil.copytree(source, tmp_path / "strange")
    (strange / "LICENSES").mkdir()
    (strange / "LICENSES/MIT.txt").write_text("as you like")
    (strange / "pytorch_model.bin").write_bytes(b"old")
    for path in (*strange.rglob("*"), strange):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.chdir(tmp_path)
    export_buckets("strange", "out", TemperatureLaw("log", n0=8, above_only=True), (8, 40))
    for folder in (Path("out"), Path("out/up-to-8"), Path("out/up-to-40")):
        assert (folder / "LICENSES/MIT.txt").read_text() == "as you like"
        assert not (folder / "pytorch_model.bin").exists()
        assert str(tmp_path) not in (folder / "README.md").read_text()
    assert "`strange`" in Path("out/up-to-40/README.md").read_text()
    assert all(path.stat().st_mode & 0o200 for path in Path("out").rglob("*"))


def test_the_folder_is_a_model_for_this_package_when_trusted(report: BucketReport) -> None:
    encoder = load_model(str(report.folder), device="cpu", trust_remote_code=True)
    assert encoder.folded_fix == "temperature(law=log, n0=8) in buckets up to 8, 16, 40"
    np.testing.assert_allclose(encoder.vectors(TEXTS), encode(report.folder, TEXTS, trust_remote_code=True), atol=2e-6)
    with pytest.raises(ArchitectureError, match="Expected one transformers model"), patch(encoder.model, LAW):
        pass


def test_the_picking_file_runs_alone(report: BucketReport) -> None:
    file = report.folder / "pick_bucket.py"
    assert "uncollapse" not in file.read_text()
    assert "import uncollapse" not in (report.folder / "length_router.py").read_text()
    found = subprocess.run([sys.executable, "-I", str(file), "say: ab cd"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == pick(count("say: ab cd", report.folder), report.folder)


def test_a_folder_that_does_not_pick_right_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = folders._write_router

    def shifted(stock: Any, part: Path, *rest: Any, **named: Any) -> None:
        write(stock, part, *rest, **named)
        about = json.loads((part / "buckets.json").read_text())
        about["buckets"][0]["transformer"] = "up-to-40"
        (part / "buckets.json").write_text(json.dumps(about))

    monkeypatch.setattr(folders, "_write_router", shifted)
    with pytest.raises(ModelError, match="must give texts of 6 to 8 tokens the vectors of 'up-to-8', but differs by"):
        export_buckets(str(source), tmp_path / "out", LAW, ENDS)
    assert list(tmp_path.iterdir()) == []


BAD_ENDS = {
    (): r"rising and above 3, got none. Give some, such as --buckets 128,512",
    (16, 8): "rising and above 3, got 16, 8",
    (3, 40): "rising and above 3",
    (8, 16): r"reads 40 tokens, and the last bucket ends at 16, .* --buckets 8,16,40",
    (8, 40, 512): r"cuts texts at 40 tokens, so no text would be in the bucket up to 512. Give --buckets 8,40\.",
    (64, 512): r"the bucket up to 512. Give --buckets 40\.",
}


@pytest.mark.parametrize("ends", BAD_ENDS)
def test_ends_that_make_no_buckets_are_refused(ends: tuple[int, ...]) -> None:
    with pytest.raises(UncollapseError, match=BAD_ENDS[ends]):
        cut_buckets(LAW, ends, limit=40, shortest=3)


def test_the_last_bucket_may_be_told_generously() -> None:
    assert [one.up_to for one in cut_buckets(LAW, (8, 64), limit=40)] == [8, 40]
    with pytest.raises(UncollapseError, match="head_dim"):
        cut_buckets(TemperatureLaw("infoscale", n0=8), (40,), limit=40)


def test_what_cannot_be_bucketed_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FixError, match=r"that follows length, such as .* got `temperature.0.8.`. Use `fix`"):
        export_buckets(str(source), tmp_path / "out", parse("temperature(0.8)"), ENDS)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is not replaced even with"):
        export_buckets(str(source), tmp_path, LAW, ENDS, force=True)
    (tmp_path / "buckets.json").write_text('{"schema": "theirs/1"}')
    with pytest.raises(OutputError, match="is not replaced even with"):
        export_buckets(str(source), tmp_path, LAW, ENDS, force=True)
    with pytest.raises(OutputError, match="lie one in the other"):
        export_buckets(str(source), source / "out", LAW, ENDS)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "buckets.json"}


def test_the_command(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    law = ["--law", "temperature(law=log, n0=8)"]
    refused = {
        ("--law", "x"): "Without --buckets, --law would do nothing",
        ("--buckets", "8,x", *law): "--buckets must be numbers of tokens with commas between, got '8,x'",
        ("--buckets", "²,30", *law): "--buckets must be numbers of tokens with commas between, got '²,30'",
        ("--buckets", "8,40"): "Buckets are for a temperature that follows length: give it",
        ("--buckets", "8,40", "--format", "onnx", *law): "so --format would do nothing",
    }
    for options, said in refused.items():
        assert run(["export", str(source), "-o", "out", *options]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    command = ["export", str(source), "-o", "out", "--buckets", "16,40", *law]
    assert run(command) == 0
    printed = capsys.readouterr()
    assert re.search(r"up-to-16: 6 to 16 tokens, tau 0\.\d+ \(that of 10\)", printed.out)
    assert "writing up-to-40 ..." in printed.err
    assert run(command) == 2
    capsys.readouterr()
    assert run([*command, "--force", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["law"] == "temperature(law=log, n0=8)"
