"""An exported model as an encoder: the tokenizer and the graph of a folder, and no torch in between."""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Encoding, Tokenizer

from uncollapse.encoders.batches import TOKENS_ON_CPU, batches
from uncollapse.encoders.limits import MaxTokens, Reach, wanted_limit
from uncollapse.encoders.runtimes import FORMATS, Graph, route_file
from uncollapse.encoders.sentence import NO_LIMIT, Marked, Prepared, Role, SentenceEncoder, word_spans
from uncollapse.encoders.sources import digest_files, text_fix_notes
from uncollapse.encoders.tokens import TokenizerFile
from uncollapse.errors import ModelError, nearest
from uncollapse.records import Embeddings
from uncollapse.writing import is_written

SCHEMA = "uncollapse.export/1"
"""Name and version of `ABOUT`; the number grows when a reader would have to change."""

ABOUT, TOKENIZER = "export.json", "tokenizer.json"
"""Files of an exported folder beside the graph."""

FEATURES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""What a graph may ask for, and what the tokenizer calls it."""


@dataclass(frozen=True)
class Export:
    """What an exported folder says of its model.

    Args:
        format: one of FORMATS.
        architecture: class of the transformer.
        dim: length of its vectors.
        max_tokens: where it cuts texts; None for nowhere.
        reach: of its positions; None where nothing says.
        prompts: put before a text, by its role.
        similarity: how its vectors are meant to be compared, as sentence-transformers calls it.
        folded_fix: what is in its weights.
        source: name and fingerprint of the model it was made from.
        versions: of the packages that made it.
        routes: roles that have a graph of their own; none where all texts go through one.
        text_fix: notation of the fix on texts that its source asks for, which no graph holds; "" for none.
        normalises: whether its vectors have norm 1.
    """

    format: str
    architecture: str
    dim: int
    max_tokens: int | None
    reach: Reach | None
    prompts: Mapping[Role, str]
    similarity: str
    folded_fix: str
    source: Mapping[str, str]
    versions: Mapping[str, str]
    routes: tuple[Role, ...] = ()
    text_fix: str = ""
    normalises: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its graphs, one a route."""
        return tuple(route_file(FORMATS[self.format].file, route) for route in self.routes or ("",))

    def to_json(self) -> str:
        """Strict JSON, two-space indented."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; another schema is refused by name."""
        data = json.loads(text)
        found = data.pop("schema", None)
        if found != SCHEMA:
            raise ModelError(f"Expected an exported model of schema {SCHEMA!r}, got {found!r}. Export it again.")
        if data["format"] not in FORMATS:
            raise ModelError(f"No format {data['format']!r}. {nearest(data['format'], FORMATS, 'Known formats')}")
        reach = Reach(**data["reach"]) if data["reach"] else None
        return cls(**{**data, "reach": reach, "routes": tuple(data.get("routes", ()))})


def is_export(name: str | Path) -> bool:
    """Whether a name is that of a folder written by `export`."""
    return is_written(Path(name) / ABOUT, SCHEMA)


def refuse_damaged(name: str | Path) -> None:
    """Raise if a name is that of a folder of whose `export.json` nobody can tell what it says.

    Raises:
        ModelError: it is no JSON.
    """
    file = Path(name) / ABOUT
    if not file.is_file():
        return
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Expected JSON in {str(file)!r}, which says what an exported model is, got {error}. Export the model "
            "again, or remove the file if this is a model of sentence-transformers."
        ) from error


class ExportedEncoder:
    """A folder written by `export`, run by its own runtime on the processor, with token counts.

    Texts are encoded as documents; `as_role` gives an encoder of queries. Where roles have graphs of their own, each
    is opened when it is first asked for. A graph is computed by as many threads as torch would take.

    Args:
        folder: with export.json, tokenizer.json and the graph.
        name: what the user calls it; the folder by default.
        max_tokens: as for `load_model`.
        batch_size: texts a pass; None for as many as are fast at their length.

    Raises:
        ModelError: a folder that is not whole, or a limit beyond the position table.
        MissingExtraError: its runtime is not installed.
    """

    can_cut = True

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        *,
        max_tokens: MaxTokens = "model",
        batch_size: int | None = None,
    ) -> None:
        self.folder, self.name, self.batch_size = folder, name or str(folder), batch_size
        self.export = _read_about(folder)
        self.dim, self.folder_max_tokens = self.export.dim, self.export.max_tokens
        self.architecture, self.folded_fix = self.export.architecture, self.export.folded_fix
        self.text_fix, self.normalises = self.export.text_fix, self.export.normalises
        self._counter = TokenizerFile(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self.role: Role = "document"
        self.prompt = self.export.prompts["document"]
        self._graphs: dict[str, Graph] = {}  # those that are open, of all roles
        self._open()
        self.raised_to_study = max_tokens == "table"
        self.notes: tuple[str, ...] = (*self._set_limit(max_tokens), *text_fix_notes(self.name, self.text_fix))

    def as_role(self, role: Role) -> Self:
        """The same model, putting before every text the prompt of another role."""
        other = copy.copy(self)
        other.role, other.prompt = role, self.export.prompts[role]
        return other

    @property
    def tower(self) -> str:
        """Which graph texts go through; "" where there is one for all."""
        return self.role if self.export.routes else ""

    @property
    def similarity(self) -> str:
        """How vectors are meant to be compared, as sentence-transformers calls it."""
        return self.export.similarity

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the matrices that the graph asks for."""
        return self._open().inputs

    def _open(self) -> Graph:
        """The graph of this role."""
        if self.tower not in self._graphs:
            kind = FORMATS[self.export.format]
            file = self.folder / route_file(kind.file, self.tower)
            self._graphs[self.tower] = kind.open(file, torch.get_num_threads())
        return self._graphs[self.tower]

    def unnormalised(self) -> Self:
        """Refuse: a graph gives vectors as they leave its last step.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self.name!r} was exported, and its graph gives no vectors from before the last step. Choose a fix that "
            "does not weigh by norms, or name the model that it was made from."
        )

    @property
    def max_tokens(self) -> int:
        """Tokens of a text the model sees, special tokens and prompt in."""
        cut = self._tokenizer.truncation
        return NO_LIMIT if cut is None else int(cut["max_length"])

    @property
    def n_special_tokens(self) -> int:
        """Tokens added to every text: special tokens and prompt."""
        return int(self.count([""])[0])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the graphs, their weights, the tokenizer and the settings."""
        return digest_files(self.folder, graph_files(self.folder))

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "dim": self.dim,
            "max_tokens": self.max_tokens,
            "folder_max_tokens": self.folder_max_tokens,
            "folded_fix": self.folded_fix,
            "format": self.export.format,
            "source": dict(self.export.source),
            "fingerprint": self.fingerprint,
        }

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation, special tokens and prompt in: int64 [texts]."""
        return self._counter.count([self.prompt + text for text in texts])

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2]; words, where nothing says."""
        found = self._counter.spans(self.prompt + text) - len(self.prompt)
        found = found[found[:, 0] >= 0]
        return found if len(found) else word_spans(text)

    def mark(self, texts: Iterable[str]) -> Iterator[Marked]:
        """The tokens of each text: how many before truncation, and where they are."""
        for text in texts:
            yield Marked(int(self.count([text])[0]), self.spans(text))

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """The texts as they are, with their tokens before and after truncation."""
        full = self.count(texts)
        return Prepared(tuple(texts), np.minimum(full, self.max_tokens), full)

    def passes(self, n_tokens: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Which rows go through the model together, the longest texts first; `n_tokens` after truncation."""
        return batches(n_tokens, TOKENS_ON_CPU, self.batch_size)

    def vectors(self, texts: Sequence[str], n_tokens: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """One vector a text, float32 [texts, dim], as the graph gives it."""
        counts = self.prepare(texts).n_tokens if n_tokens is None else n_tokens
        vectors = np.empty((len(texts), self.dim), np.float32)
        for rows in self.passes(counts):
            vectors[rows] = self.run_once([texts[row] for row in rows])
        return vectors

    def run_once(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector a text in a single pass, padded to the longest of them: float32 [texts, dim]."""
        return self._open()(self.features(texts))

    def features(self, texts: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
        """What the graph gets for texts: matrices of tokens, cut off at the limit and padded."""
        encoded = self._tokenizer.encode_batch([self.prompt + text for text in texts])
        return {name: _feature(encoded, name) for name in self.inputs}

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts."""
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        return Embeddings(self.vectors(texts, prepared.n_tokens), names, prepared.n_tokens, prepared.n_tokens_full)

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        """Cut every text to at most `n_tokens` tokens inside the `with`, by the tokenizer's own truncation.

        Raises:
            ModelError: less room than the special tokens take, or more than the model can see.
        """
        if not self.n_special_tokens < n_tokens <= self.max_tokens:
            raise ModelError(
                f"A window must be longer than the {self.n_special_tokens} special and prompt tokens of {self.name!r} "
                f"and at most {self.max_tokens} tokens, got {n_tokens}."
            )
        before = self._tokenizer.truncation
        self._cut_at(n_tokens)
        try:
            yield
        finally:
            if before is None:
                self._tokenizer.no_truncation()
            else:
                self._tokenizer.enable_truncation(**before)

    def _cut_at(self, n_tokens: int) -> None:
        self._tokenizer.enable_truncation(**{**(self._tokenizer.truncation or {}), "max_length": n_tokens})

    def _set_limit(self, max_tokens: MaxTokens) -> tuple[str, ...]:
        """Set the token limit; returns what a reader must know."""
        own, reach = self.folder_max_tokens, self.export.reach
        wanted = wanted_limit(max_tokens, reach, own, self.name)
        if wanted is None or wanted == own:
            return ()
        if wanted <= self.n_special_tokens:
            raise ModelError(
                f"The token limit must leave room for text beside the {self.n_special_tokens} special and prompt "
                f"tokens of {self.name!r}, got {wanted}."
            )
        self._cut_at(wanted)
        return (
            f"{self.name!r} was exported with a limit of {own or 'no number of'} tokens, and its agreement with the "
            f"source was checked up to there. Here the limit is {wanted}. Use --max-tokens model to keep its own.",
        )


Scorable = SentenceEncoder | ExportedEncoder
"""A model that counts tokens and knows roles, whether torch runs it or another program."""


def graph_files(folder: Path) -> list[Path]:
    """The files that decide an exported model's vectors."""
    kinds = ("*.onnx", "*.onnx.data", "*.xml", "*.bin")
    return [folder / ABOUT, folder / TOKENIZER, *(file for kind in kinds for file in sorted(folder.glob(kind)))]


def _feature(encoded: Sequence[Encoding], name: str) -> npt.NDArray[np.int64]:
    return np.array([getattr(item, FEATURES[name]) for item in encoded], dtype=np.int64)


def _read_about(folder: Path) -> Export:
    refuse_damaged(folder)
    export = Export.from_json((folder / ABOUT).read_text(encoding="utf-8"))
    for file in (*export.files, TOKENIZER):
        if not (folder / file).is_file():
            raise ModelError(f"Expected {file!r} in the exported model {str(folder)!r}, got none. Export it again.")
    return export
