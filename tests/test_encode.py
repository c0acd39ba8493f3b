"""One call that encodes texts as `embed` writes them, with all that a model's folder asks for."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from text_fix_examples import sentences
from tiny import save_tiny
from uncollapse import embed, encode, fix, load, open_corpus, parse
from uncollapse.encoders.sentence import ROLES
from uncollapse.errors import ModelError
from uncollapse.pipelines.fitting import Unlabelled

CORPUS = Unlabelled(tuple(f"d{i}" for i in range(60)), sentences(60, 0), sentences(30, 1, 8))
TEXTS = ["a dog", " ".join(sentences(6, 3, 60)), "water"]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("encoded")
    fix(str(save_tiny(root / "stock")), parse("centering(role) + cover(20)"), root / "fixed", corpus=CORPUS)
    (root / "docs.txt").write_text("\n".join(TEXTS))
    return root / "fixed"


def test_it_gives_what_embed_writes(fixed: Path, tmp_path: Path) -> None:
    embed(load(str(fixed)), open_corpus(fixed.parent / "docs.txt"), tmp_path / "vectors")
    written = pq.read_table(tmp_path / "vectors/vectors-00000.parquet").column("vector").to_pylist()
    np.testing.assert_allclose(encode(load(str(fixed)), TEXTS).vectors, written, atol=1e-6)


def test_it_reads_on_and_each_role_has_its_own(fixed: Path) -> None:
    model = load(str(fixed))
    found = {role: encode(model, TEXTS, role=role).vectors for role in ROLES}
    assert encode(model, TEXTS).n_tokens[1] == encode(model, TEXTS).n_tokens_full[1] > model.max_tokens
    assert np.abs(found["document"] - found["query"]).max() > 1e-3
    cut = model.encode(TEXTS).vectors
    np.testing.assert_allclose(found["document"][[0, 2]], cut[[0, 2]], atol=1e-6)
    assert np.abs(found["document"][1] - cut[1]).max() > 1e-3


def test_a_role_that_would_do_nothing_is_refused(fixed: Path, tmp_path: Path) -> None:
    embed(load(str(fixed)), open_corpus(fixed.parent / "docs.txt"), tmp_path / "vectors")
    with pytest.raises(ModelError, match="takes every text alike, so role='query' would do nothing"):
        encode(load(str(tmp_path / "vectors")), TEXTS, role="query")
