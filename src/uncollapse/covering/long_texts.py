"""A model that reads texts to their end: what its limit would cut off is read in chunks, and all of it is one vector.

Needs sentence-transformers and `trust_remote_code=True`. Without, load the folder `model` beside this file: it is the
same model, ordinary, and cuts texts off at its limit.
"""

import copy
import json
import shutil
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

OPTIONS = ("model_kwargs", "processor_kwargs", "tokenizer_kwargs", "config_kwargs", "backend")
"""What goes on to the model, among them."""

PROMPTS = "This model can put a prompt before texts from sentence-transformers 5.4 on. Upgrade it, or give no prompt."


class LongTexts(torch.nn.Module):
    """Leaves texts that the model reads whole as they are, and queries; reads all others to their end.

    v = s^2 x + (1 - s^2) c / |c|, over its norm where vectors are compared by direction: x is the model's vector of
    the text, which stops at its limit, s the share of the text's tokens that it read, and c the mean of the vectors
    of chunks of the whole text.

    Args:
        inner: the model; or where it is, from releases of sentence-transformers before 5, which call no `load`.
        chunk: tokens of a chunk at most, special tokens and prompt not counted.
        directed: whether vectors are scaled to norm 1.
        record: what the model's folder says of what was done to it, which is saved along.
        about: whatever else long_texts.json says; what those releases hand to a first module.

    Attributes:
        at_once: pieces that go through the model together.
    """

    forward_kwargs = frozenset({"task"})
    save_in_root = True

    def __init__(self, inner: Any, *, chunk: int = 0, directed: bool = True, record: str = "", **about: Any) -> None:
        super().__init__()
        if isinstance(inner, str):
            inner, about = _read(inner, **_as_load(about))
            chunk, directed, record = (about.pop(name) for name in ("chunk", "directed", "record"))
        self.inner, self.chunk, self.directed, self.about, self.at_once = inner, chunk, directed, about, AT_ONCE
        self.record = record
        self.counter = copy.deepcopy(inner.tokenizer)  # never cuts; the other always does, maybe in another thread
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
        room = max(1, limit - len(self._ids([before])[0]))
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
            raise ValueError("Expected texts, got something else: this model reads text alone.")
        encoded = self.counter(
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
        alone = self._ids([prompt + chunk for chunk in chunks])
        return total - sum(max(0, len(ids) - self.max_seq_length) for ids in alone)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.counter(texts, truncation=False, verbose=False)["input_ids"]
        return ids

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
        if (length := features.get("prompt_length")) and not hasattr(self.inner, "preprocess"):
            self._refuse_prompt(length)
        vectors, dtype = self._encode(features, task)
        owners = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        firsts = counts.cumsum(0) - counts
        sums = torch.zeros_like(vectors[firsts]).index_add(0, owners, vectors).sub(vectors[firsts])
        share = features["read"].square()[:, None]
        mixed = self._direct(share * vectors[firsts] + (1 - share) * torch.nn.functional.normalize(sums))
        return {**features, "sentence_embedding": torch.where(counts[:, None] > 1, mixed, vectors[firsts]).to(dtype)}

    def _refuse_prompt(self, length: int) -> None:
        """Of releases that put it before the text and say only how many tokens it has, with special ones before it."""
        if length >= len(self._ids([""])[0]):
            raise ValueError(PROMPTS)

    def _direct(self, vectors: torch.Tensor) -> torch.Tensor:
        if not self.directed:
            return vectors
        norms = vectors.norm(dim=1, keepdim=True)
        return torch.where((norms - 1).abs() < ROUNDING, vectors, vectors / norms.clamp_min(TINY))

    def _encode(self, features: dict[str, Any], task: str | None) -> tuple[torch.Tensor, torch.dtype]:
        """The vector of each piece in float32, and what the model gave it in; the longest first, a few at once."""
        mask = features["attention_mask"]
        order = mask.sum(dim=1).argsort(descending=True, stable=True)
        done = []
        for rows in order.split(self.at_once):
            columns = mask[rows].any(dim=0).nonzero()[:, 0]  # without what is padding in all of them
            part = {name: _take(value, mask, rows, columns) for name, value in features.items()}
            found = self.inner(part, **({"task": task} if task else {}))["sentence_embedding"]
            done.append(self._direct(found[:, : self.inner.truncate_dim].float()))
        vectors = torch.cat(done)
        return torch.empty_like(vectors).index_copy(0, order, vectors), found.dtype

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the model into a folder of its own, and long_texts.json."""
        place = Path(output_path)
        self.inner.save(str(place / "model"))
        said = {**self.about, "chunk": self.chunk, "directed": self.directed}
        (place / CONFIG).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        if self.record:
            (place / "model" / RECORD).write_text(self.record, encoding="utf-8")
        if (config := place / "model/config.json").is_file():  # servers ask for it
            shutil.copyfile(config, place / "config.json")

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> "LongTexts":
        """Read long_texts.json and the model.

        Code that the model itself names runs only where long_texts.json has a `remote_code` of true, which says that
        whoever wrote the folder had read that code, too.

        Args:
            model_name_or_path: a folder, or a name on the Hugging Face hub.
            subfolder: of it, with these files.
            kwargs: whatever else sentence-transformers hands to a module.
        """
        inner, about = _read(model_name_or_path, subfolder, **kwargs)
        return cls(inner, **about)


def _read(name: str, subfolder: str = "", **kwargs: Any) -> tuple[SentenceTransformer, dict[str, Any]]:
    """The model in a folder, or on the hub, and what is said of it."""
    if not kwargs.get("trust_remote_code"):
        raise ValueError(
            f"{name!r} runs code of its own, long_texts.py, to read texts to their end. Read it, then load with "
            "trust_remote_code=True; or load its folder `model`, which cuts texts off."
        )
    where = {key: kwargs[key] for key in SOURCE if key in kwargs}
    file, folder = ((Path(subfolder) / part).as_posix() for part in (CONFIG, "model"))
    about = json.loads(Path(load_file_path(name, file, **where)).read_text(encoding="utf-8"))
    here = Path(name, folder) if Path(name).is_dir() else load_dir_path(name, folder, **where)
    if not here or not Path(here).is_dir():  # never a model of that name on the hub
        raise ValueError(f"Expected a folder {folder!r} with the model in {name!r}, and it is not there.")
    trusted = about.get("remote_code") is True
    named = [one["type"] for one in json.loads((Path(here) / "modules.json").read_text(encoding="utf-8"))]
    if not trusted and (foreign := [one for one in named if not one.startswith("sentence_transformers.")]):
        raise ValueError(f"The model in {name!r} asks for code that its {CONFIG} knows nothing of: {foreign}.")
    options = {key: kwargs[key] for key in OPTIONS if kwargs.get(key)}
    inner = SentenceTransformer(str(here), device="cpu", trust_remote_code=trusted, **options)
    if any(inner.prompts.values()) and not hasattr(inner, "preprocess"):
        raise ValueError(PROMPTS)
    record = Path(here) / RECORD
    return inner, {**about, "record": record.read_text(encoding="utf-8") if record.is_file() else ""}


def _as_load(given: dict[str, Any]) -> dict[str, Any]:
    """What releases before 5 hand to a first module, as later ones hand it to `load`: there it is in all three."""
    kinds = {"model_args": "model_kwargs", "tokenizer_args": "tokenizer_kwargs", "config_args": "config_kwargs"}
    hub = ("token", "revision", "local_files_only", "trust_remote_code")
    options = {new: {k: v for k, v in given[old].items() if k not in hub} for old, new in kinds.items()}
    told = {key: value for key, value in given["model_args"].items() if key in hub}
    return {**told, **options, "cache_folder": given["cache_dir"], "backend": given["backend"]}


def _take(value: Any, mask: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> Any:
    """Some rows and columns of what has an entry a token; anything else as it is."""
    if not isinstance(value, torch.Tensor) or value.shape[:2] != mask.shape:
        return value
    return value[rows][:, columns]
