"""A model that reads texts to their end: what its limit would cut off is read in chunks, and all of it is one vector.

Needs sentence-transformers and `trust_remote_code=True`. Without, load the folder `model` beside this file: it is the
same model, ordinary, and cuts texts off at its limit.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import load_dir_path, load_file_path

from uncollapse.fixes.texts.cutting import cut_ranges, piece_text

CONFIG, RECORD = "long_texts.json", "uncollapse.json"

ROUNDING, TINY = 1e-6, 1e-12
"""How far from 1 rounding takes a norm, and what is none."""

AT_ONCE = 32
"""Pieces that go through the model together."""

SOURCE = ("token", "cache_folder", "revision", "local_files_only")
"""What says where files are, among the arguments of `load`."""


class LongTexts(torch.nn.Module):
    """Leaves texts that the model reads whole as they are, and queries; reads all others to their end.

    v = s^2 x + (1 - s^2) c / |c|, over its norm where vectors are compared by direction: x is the model's vector of
    the text, which stops at its limit, s the share of the text's tokens that it read, and c the mean of the vectors
    of chunks of the whole text.

    Args:
        inner: the model.
        chunk: tokens of a chunk at most, special tokens and prompt not counted.
        directed: whether vectors are scaled to norm 1.
        about: whatever else long_texts.json says.

    Attributes:
        at_once: pieces that go through the model together.
        record: what the model's folder says of what was done to it, which is saved along.
    """

    forward_kwargs = frozenset({"task"})
    save_in_root = True

    def __init__(self, inner: SentenceTransformer, *, chunk: int, directed: bool, **about: Any) -> None:
        super().__init__()
        self.inner, self.chunk, self.directed, self.about, self.at_once = inner, chunk, directed, about, AT_ONCE
        self.record = ""
        inner[0].unpad_inputs = False  # texts packed into one row could not be told apart

    def __setattr__(self, name: str, value: Any) -> None:
        """Whoever sets `auto_model` means the model's own: a compiled one in place of it, for instance."""
        if name != "auto_model":
            super().__setattr__(name, value)
            return
        first = self.inner[0]
        setattr(first, name if name in first._modules else "model", value)  # releases differ in what they call it

    @property
    def auto_model(self) -> Any:
        """The transformer."""
        return self.inner[0].auto_model

    @property
    def tokenizer(self) -> Any:
        """The model's."""
        return self.inner.tokenizer

    @property
    def max_seq_length(self) -> int:
        """Tokens that the model reads at once."""
        limit: int = self.inner.max_seq_length
        return limit

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.inner.max_seq_length = value

    def get_sentence_embedding_dimension(self) -> int:
        """Length of a vector."""
        found = getattr(self.inner, "get_embedding_dimension", None) or self.inner.get_sentence_embedding_dimension
        width: int = found()
        return width

    get_embedding_dimension = get_sentence_embedding_dimension

    def tokenize(self, texts: Sequence[str], **kwargs: Any) -> dict[str, Any]:
        """As `preprocess`, for releases of sentence-transformers that call it so."""
        return self.preprocess(texts, **kwargs)

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, task: str | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Tokens of all pieces of all texts; beside them, how many pieces each text has and what share was read."""
        before, limit = prompt or "", self.max_seq_length
        room = max(1, limit - len(self.tokenizer(before)["input_ids"]))
        if self.chunk > room:
            raise ValueError(f"Chunks of {self.chunk} tokens need a longer limit than {limit}: set max_seq_length.")
        pieces: list[str] = []
        counts, shares = [], []
        for text, spans, n_tokens in self._marked(inputs, before):
            whole = len(spans) <= room or task == "query"
            ranges = [] if whole else cut_ranges(text, spans, self.chunk)
            chunks = [piece_text(text, spans, of) for of in ranges]
            pieces += [text, *chunks]
            counts.append(1 + len(chunks))
            read = len(spans) - max(0, n_tokens - limit)
            shares.append(1.0 if whole else min(1.0, read / self._read(chunks, ranges, before, room)))
        features = self._tokens(pieces, prompt, task, kwargs)
        told = {"pieces": torch.tensor(counts), "read": torch.tensor(shares)}
        return {**features, **told, **({"task": task} if task else {})}

    def _marked(self, texts: Sequence[Any], prompt: str) -> Iterator[tuple[str, Any, int]]:
        """Each text, where its tokens begin and end, and how many there are with special tokens and prompt."""
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("Expected texts, got something else: this model reads text alone.")
        encoded = self.tokenizer(
            [prompt + text for text in texts], truncation=False, return_offsets_mapping=True, verbose=False
        )
        for text, offsets, ids in zip(texts, encoded["offset_mapping"], encoded["input_ids"], strict=True):
            spans = np.array(offsets, np.int64).reshape(-1, 2) - len(prompt)
            yield text, spans[(spans[:, 0] >= 0) & (spans[:, 1] > spans[:, 0])], len(ids)

    def _read(self, chunks: list[str], ranges: list[tuple[int, int]], prompt: str, room: int) -> int:
        """Tokens of all chunks, less what the model cuts off those that have more alone than in their text."""
        total = sum(stop - start for start, stop in ranges)
        if max(stop - start for start, stop in ranges) * 2 <= room:
            return total
        alone = self.tokenizer([prompt + chunk for chunk in chunks], truncation=False, verbose=False)["input_ids"]
        return total - sum(max(0, len(ids) - self.max_seq_length) for ids in alone)

    def _tokens(self, pieces: list[str], prompt: str | None, task: str | None, kwargs: Any) -> dict[str, Any]:
        told = {**kwargs, **({"task": task} if task else {})}
        found: dict[str, Any] = (
            self.inner.preprocess(pieces, prompt=prompt, **told)
            if hasattr(self.inner, "preprocess")
            else self.inner.tokenize(pieces)
        )
        return found

    def forward(self, features: dict[str, Any], task: str | None = None, **_: Any) -> dict[str, Any]:
        """One vector a text."""
        counts, task = features["pieces"], task or features.get("task")
        vectors = self._encode(features, task)
        owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        firsts = counts.cumsum(0) - counts
        sums = torch.zeros_like(vectors[firsts]).index_add(0, owners, vectors).sub(vectors[firsts])
        share = features["read"].to(vectors.dtype).square()[:, None]
        mixed = self._direct(share * vectors[firsts] + (1 - share) * torch.nn.functional.normalize(sums))
        return {**features, "sentence_embedding": torch.where(counts[:, None] > 1, mixed, vectors[firsts])}

    def _direct(self, vectors: torch.Tensor) -> torch.Tensor:
        if not self.directed:
            return vectors
        norms = vectors.norm(dim=1, keepdim=True)
        return torch.where((norms - 1).abs() < ROUNDING, vectors, vectors / norms.clamp_min(TINY))

    def _encode(self, features: dict[str, Any], task: str | None) -> torch.Tensor:
        """The vector of each piece, the longest first through the model and a few at once."""
        mask = features["attention_mask"]
        order = mask.sum(dim=1).argsort(descending=True, stable=True)
        done = []
        for rows in order.split(self.at_once):
            columns = mask[rows].any(dim=0).nonzero()[:, 0]  # without what is padding in all of them
            part = {name: _take(value, mask, rows, columns) for name, value in features.items()}
            found = self.inner(part, **({"task": task} if task else {}))["sentence_embedding"]
            done.append(self._direct(found))
        vectors = torch.cat(done)
        return torch.empty_like(vectors).index_copy(0, order, vectors)

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the model into a folder of its own, and long_texts.json."""
        self.inner.save(str(Path(output_path) / "model"))
        said = {**self.about, "chunk": self.chunk, "directed": self.directed}
        (Path(output_path) / CONFIG).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        if self.record:
            (Path(output_path) / "model" / RECORD).write_text(self.record, encoding="utf-8")

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", trust_remote_code: bool | None = None, **kwargs: Any
    ) -> "LongTexts":
        """Read long_texts.json and the model.

        Code that the model itself names runs only where long_texts.json has a `remote_code` of true, which says that
        whoever wrote the folder had read that code, too.

        Args:
            model_name_or_path: a folder, or a name on the Hugging Face hub.
            subfolder: of it, with these files.
            trust_remote_code: None from releases of sentence-transformers that do not say.
            kwargs: whatever else sentence-transformers hands to a module.
        """
        if trust_remote_code is False:
            raise ValueError(
                f"{model_name_or_path!r} runs code of its own, long_texts.py, to read texts to their end. Read it, "
                "then load with trust_remote_code=True; or load its folder `model`, which cuts texts off."
            )
        where = {key: kwargs[key] for key in SOURCE if key in kwargs}
        file, folder = ((Path(subfolder) / name).as_posix() for name in (CONFIG, "model"))
        config = json.loads(Path(load_file_path(model_name_or_path, file, **where)).read_text(encoding="utf-8"))
        options = {key: kwargs[key] for key in _OPTIONS if kwargs.get(key)}
        place, trusted = load_dir_path(model_name_or_path, folder, **where), config.get("remote_code") is True
        inner = SentenceTransformer(place, device="cpu", trust_remote_code=trusted, **options)
        if any(inner.prompts.values()) and not hasattr(inner, "preprocess"):
            raise ValueError("This model puts a prompt before texts, which needs sentence-transformers 5.4 or newer.")
        made = cls(inner, **config)
        if (record := Path(place) / RECORD).is_file():
            made.record = record.read_text(encoding="utf-8")
        return made


_OPTIONS = ("model_kwargs", "processor_kwargs", "tokenizer_kwargs", "config_kwargs", "backend")


def _take(value: Any, mask: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> Any:
    """Some rows and columns of what has an entry a token; anything else as it is."""
    if not isinstance(value, torch.Tensor) or value.shape[:2] != mask.shape:
        return value
    return value[rows][:, columns]
