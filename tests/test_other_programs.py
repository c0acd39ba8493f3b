"""Programs that others wrote run an exported folder by the lines that docs/export.md gives, with the same vectors.

They need places of their own, such as

    python -m venv fastembed && fastembed/bin/pip install fastembed
    mkdir node && (cd node && npm install --ignore-scripts @huggingface/transformers)
    UNCOLLAPSE_FASTEMBED=fastembed/bin/python UNCOLLAPSE_TRANSFORMERS_JS=node pytest tests/test_other_programs.py
"""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

from export_examples import made_models
from served_folders import CORPUS, OFFSET, ROLES
from uncollapse import export
from uncollapse.checkpoints import fix
from uncollapse.encoders import load_model
from uncollapse.errors import ModelError
from uncollapse.exporting.tokenizing import CONFIG, write_config
from uncollapse.fixes import compose, parse

FASTEMBED, NODE = "UNCOLLAPSE_FASTEMBED", "UNCOLLAPSE_TRANSFORMERS_JS"
PAGE = Path(__file__).parents[1] / "docs/export.md"
FIT = ["short", "ünïcödé, 文, and a line\nbreak", " spaces  around ", "a text of some length, with commas, " * 8]
LONG = "a text beyond the limit " * 90


def lines(language: str) -> str:
    """What the page gives in a language, with the texts of the test."""
    code = next(
        code
        for code in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if "fastembed" in code or "@huggingface" in code
    )
    assert '["a text", "another one"]' in code
    return code.replace('["a text", "another one"]', "texts")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the bundled model lies with a fix by role and with an offset, and their exports."""
    root = tmp_path_factory.mktemp("programs")
    for name, written in {"offset": OFFSET, "roles": ROLES}.items():
        fix("minilm", compose(parse(written)), root / name, corpus=CORPUS)
        (root / "by" / name).mkdir(parents=True)
        export(str(root / name), root / "by" / name / "my-model-onnx")
    return root


def run(command: list[str], where: Path) -> npt.NDArray[np.float64]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=where)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads((where / "vectors.json").read_text()))


def by_fastembed(folder: Path, file: str, texts: list[str]) -> npt.NDArray[np.float64]:
    code = lines("python").replace('"model.onnx"', f'"{file}.onnx"')
    kept = "import json\njson.dump([vector.tolist() for vector in vectors], open('vectors.json', 'w'))\n"
    (folder / "run.py").write_text(f"texts = {texts!r}\n{code}{kept}", encoding="utf-8")
    return run([os.environ[FASTEMBED], "run.py"], folder)


def by_transformers_js(folder: Path, file: str, texts: list[str]) -> npt.NDArray[np.float64]:
    packages = folder / "node_modules"
    if not packages.exists():
        packages.symlink_to(Path(os.environ[NODE]).resolve() / "node_modules")
    code = lines("js").replace('model_file_name: "model"', f'model_file_name: "{file}"')
    kept = 'import fs from "node:fs";\nfs.writeFileSync("vectors.json", JSON.stringify(vectors));\n'
    (folder / "run.mjs").write_text(f"const texts = {json.dumps(texts)};\n{code}{kept}", encoding="utf-8")
    return run(["node", "run.mjs"], folder)


GRAPHS = {
    ("offset", "model"): "encode",
    ("roles", "model_document"): "encode_document",
    ("roles", "model_query"): "encode_query",
    ("roles", "model_text"): "encode",
}


@pytest.mark.real
@pytest.mark.skipif(FASTEMBED not in os.environ, reason=f"set {FASTEMBED} as the top of this file says")
@pytest.mark.parametrize(("name", "graph"), GRAPHS)
def test_fastembed_gives_the_vectors_of_an_exported_folder(name: str, graph: str, place: Path) -> None:
    found = by_fastembed(place / "by" / name, graph, [*FIT, LONG])
    right = getattr(SentenceTransformer(str(place / name), device="cpu"), GRAPHS[name, graph])([*FIT, LONG])
    np.testing.assert_allclose(found, right, atol=2e-6)


@pytest.mark.real
@pytest.mark.skipif(NODE not in os.environ, reason=f"set {NODE} as the top of this file says")
@pytest.mark.parametrize(("name", "graph"), GRAPHS)
def test_transformers_js_gives_them_for_texts_that_fit_and_cuts_others_elsewhere(
    name: str, graph: str, place: Path
) -> None:
    found = by_transformers_js(place / "by" / name, graph, [*FIT, LONG])
    right = getattr(SentenceTransformer(str(place / name), device="cpu"), GRAPHS[name, graph])([*FIT, LONG])
    np.testing.assert_allclose(found[:-1], right[:-1], atol=2e-6)
    assert 1e-3 < np.abs(found[-1] - right[-1]).max() < 1e-2, "it cuts now as others do: say so on the page"


def test_transformers_reads_the_tokenizer_and_what_the_transformer_is() -> None:
    """With the same tokens, the same limit among them, and nothing in it that asks for code or names a place."""
    root = made_models()
    texts = [*FIT, LONG, ""]
    read = AutoTokenizer.from_pretrained(root / "onnx")
    ours = Tokenizer.from_file(str(root / "onnx/tokenizer.json")).encode_batch(texts)
    assert read.model_max_length == 40
    card = " ".join((root / "onnx/README.md").read_text(encoding="utf-8").split())
    assert "fastembed (`PoolingType.DISABLED`, `normalization=False`; it takes no model without a token limit)" in card
    assert read(texts, padding=True, truncation=True)["input_ids"] == [one.ids for one in ours]
    source = AutoConfig.from_pretrained(root / "fixed")
    assert AutoConfig.from_pretrained(root / "onnx").to_diff_dict() == source.to_diff_dict()
    for file in ("config.json", "tokenizer_config.json"):
        assert str(root) not in (root / "onnx" / file).read_text(encoding="utf-8")


def test_a_config_names_no_code_and_no_place_of_its_source_and_has_the_padding_of_the_tokenizer(
    tmp_path: Path,
) -> None:
    stock = load_model(str(made_models() / "fixed"), device="cpu")
    config = stock.model[0].model.config
    config.auto_map, config._name_or_path, config.pad_token_id = {"AutoModel": "code.Mine"}, "a/place", None
    config.inner = {"_name_or_path": "a/place", "kept": [{"auto_map": {}, "size": 3}]}
    write_config(stock, tmp_path)
    said = json.loads((tmp_path / CONFIG).read_text())
    assert said["inner"] == {"kept": [{"size": 3}]}
    assert not {"auto_map", "_name_or_path"} & set(said)
    assert said["pad_token_id"] == stock.model.tokenizer.pad_token_id
    for bad in (float("inf"), object()):
        config.inner = bad
        with pytest.raises(ModelError, match=r"Expected what JSON can hold in the config.json of the model, got"):
            write_config(stock, tmp_path)
