"""Vectors that exist already: a file of them in the place of a model."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Corpus
from uncollapse.corpora.embedded import Columns, EmbeddedText, EmbeddedTexts
from uncollapse.corpora.shards import MANIFEST
from uncollapse.corpora.texts import excerpt
from uncollapse.encoders.sentence import NO_LIMIT, Prepared
from uncollapse.encoders.tokens import UNKNOWN_LIMIT, TokenCounter, open_counter
from uncollapse.errors import ModelError
from uncollapse.records import Embeddings


class VectorFile:
    """Vectors of a .parquet or .npy file, or of a folder that `embed` wrote, with the texts they are of.

    It stands in for a model, but only for its own texts, which carry their vectors: `diagnose(vectors,
    vectors.corpus)`. Texts are read in order, a few rows at a time, so a file may be larger than memory; a row whose
    vector is missing, of another length, not finite or zero is named. Nothing is ever unpickled.

    Args:
        path: the file. A .npy file is a matrix of floats, a row a text.
        texts: .jsonl, .json, .tsv (also .gz) or .parquet file whose n-th record is the text of the n-th vector; by
            default the .parquet file itself, or the file beside a .npy file that has its name.
        columns: names of its columns.
        tokenizer: a tokenizer.json or the folder of a model with one, to count tokens with where no column does.
        max_tokens: at how many tokens the model cut its texts off, where that is known; a folder says it itself.

    Attributes:
        corpus: its texts; `read` has them with a limit, or without rows that cannot be used.

    Raises:
        CorpusError: a file or column that is not there, or neither texts nor token counts.
        ModelError: a limit or a tokenizer that cannot be used.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.npy"
    >>> np.save(path, np.eye(2, dtype=np.float32))
    >>> _ = path.with_suffix(".jsonl").write_text('{"text": "one more"}\\n{"text": "two"}\\n')
    >>> vectors = VectorFile(path)
    >>> texts = [text.text for text in vectors.corpus]
    >>> vectors.encode(texts).vectors.tolist(), vectors.encode(texts).n_tokens.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [2, 1])
    """

    can_cut, n_special_tokens = False, 0
    architecture, folded_fix = "a file of vectors", "none"
    folder_max_tokens: int | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        texts: str | Path | None = None,
        columns: Columns | None = None,
        tokenizer: str | Path | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.path = Path(path)
        self._texts = EmbeddedTexts(self.path, texts=None if texts is None else Path(texts), columns=columns)
        self.name, self.dim = self.path.name, self._texts.matrix.dim
        self._counter = self._choose_counter(tokenizer)
        self.max_tokens = _limit(self._texts.max_tokens if max_tokens is None else max_tokens, self.name)
        self.notes: tuple[str, ...] = tuple(self._notes())
        self.corpus = self.read()

    def read(
        self, *, limit: int | None = None, skip_bad: bool = False, sample: int | None = None, seed: int = 0
    ) -> Corpus:
        """The texts of the file, read anew at every pass.

        Args:
            limit: stop after this many texts.
            skip_bad: count rows that cannot be used and go on, instead of an error at the first.
            sample, seed: read this many drawn at random.
        """
        return self._texts.corpus(limit=limit, skip_bad=skip_bad, sample=sample, seed=seed)

    @property
    def unit(self) -> str:
        """What lengths are counted in: "tokens" or "words"."""
        return self._counter.unit if self._counter else "tokens"

    @property
    def knows_limit(self) -> bool:
        """Whether it is known where the model cut its texts off; if not, they count with their full length."""
        return self.max_tokens < NO_LIMIT or self._texts.reads_on

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of it; the fingerprint is of the whole file, or of the digests of all shards."""
        with (self.path / MANIFEST if self.path.is_dir() else self.path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:32]
        return {
            "name": self.name,
            "architecture": self.architecture,
            "dim": self.dim,
            "max_tokens": self.max_tokens,
            "folder_max_tokens": None,
            "unit": self.unit,
            "knows_limit": self.knows_limit,
            "folded_fix": self.folded_fix,
            "fingerprint": digest,
        }

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation: int64 [texts]."""
        own = self._own(texts)
        if self._counter is not None:
            return self._counter.count(own)
        return np.array([text.n_tokens for text in own], dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2]; words, without a tokenizer."""
        return (self._counter or open_counter(None)).spans(text)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """The texts as they are, with their tokens before and after truncation."""
        full = self.count(texts)
        return Prepared(tuple(texts), np.minimum(full, self.max_tokens), full)

    def vectors(self, texts: Sequence[str], n_tokens: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """The vectors the file holds for its own texts: float32 [texts, dim].

        Raises:
            ModelError: a text that is not from `corpus` or `read`.
        """
        found = np.empty((len(texts), self.dim), np.float32)
        for row, text in enumerate(self._own(texts)):
            found[row] = text.vector
        return found

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        """Vectors of its own texts with ids (their numbers, if none are given) and token counts."""
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        return Embeddings(self.vectors(texts), names, prepared.n_tokens, prepared.n_tokens_full)

    def window(self, n_tokens: int) -> AbstractContextManager[None]:
        """Refused: a text that is cut needs a vector of its own, and there is no model to make it."""
        raise ModelError(f"{self.name!r} holds vectors and no model, so texts cannot be cut to {n_tokens} tokens.")

    def _own(self, texts: Sequence[str]) -> list[EmbeddedText]:
        return [text if self._is_own(text) else self._refuse(text) for text in texts]

    def _is_own(self, text: str) -> TypeGuard[EmbeddedText]:
        return isinstance(text, EmbeddedText) and text.owner is self._texts

    def _refuse(self, text: str) -> EmbeddedText:
        raise ModelError(
            f"{self.name!r} holds vectors of its own texts only, got {excerpt(str(text))}. Pass its own texts, "
            "diagnose(vectors, vectors.corpus); anything new needs a model or an endpoint."
        )

    def _choose_counter(self, tokenizer: str | Path | None) -> TokenCounter | None:
        """None where the file itself has token counts."""
        counted = self._texts.tokens_field
        if counted is None:
            return open_counter(tokenizer)
        if tokenizer is not None:
            raise ModelError(
                f"{self.name!r} has token counts in its column {counted!r}, so a tokenizer would do nothing. Leave it "
                "out."
            )
        return None

    def _notes(self) -> list[str]:
        texts = self._texts
        said = [
            f"{self.name} holds vectors and no model: what needs new texts embedded (nested windows, causes, costs) "
            "and what needs the inside of a model is left out."
        ]
        if not self.knows_limit:
            said.append(UNKNOWN_LIMIT)
        if texts.text_field is None:
            said.append(
                f"{self.name} comes without texts: where a text would be shown, its id is, and characters are those "
                "of the id."
            )
        return [*said, *(self._counter.notes if self._counter else ())]


def _limit(max_tokens: int | None, name: str) -> int:
    if max_tokens is None:
        return NO_LIMIT
    if not 1 <= max_tokens <= NO_LIMIT:
        raise ModelError(f"The token limit of {name!r} must be at least 1, got {max_tokens}.")
    return max_tokens
