"""A sentence-transformers model that says how many tokens of a text it saw."""

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router
from sentence_transformers.util import batch_to_device

from uncollapse.attention.stamps import folded_fixes
from uncollapse.encoders.batches import TOKENS_ELSEWHERE, TOKENS_ON_CPU, batches, by_characters
from uncollapse.encoders.sources import fingerprint, read_record
from uncollapse.errors import ModelError
from uncollapse.records import Embeddings

NO_LIMIT = 1_000_000_000
"""Stands for no limit on tokens; larger than any text."""

# Counting a long text needs all of it once; everything after the count needs only its start, with a few tokens to
# spare, since the cut may fall inside a word.
_SPARE_TOKENS = 16
# Counting takes some hundred bytes a token; a batch of whole books would not fit.
_CHARACTERS_AT_ONCE = 1_000_000


Role = Literal["document", "query", "text"]
"""What a text is to the model: an answer, a question, or neither; each may have a prompt of its own."""

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Prepared:
    """Texts cut to what the model can see, with their token counts before and after truncation."""

    texts: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    n_tokens_full: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Marked:
    """A text with its tokens.

    Args:
        n_tokens: before truncation, special tokens and prompt in.
        spans: where each begins and ends, in characters, without special tokens: int64 [tokens, 2].
    """

    n_tokens: int
    spans: npt.NDArray[np.int64]


class SentenceEncoder:
    """A sentence-transformers model with token counts.

    Texts are encoded as documents: with the model's own document prompt, if it has one, counted in the tokens;
    `as_role` gives an encoder of queries.

    Args:
        model: the loaded model, in evaluation mode.
        name: what the user called it.
        source: the folder it came from.
        folder_max_tokens: the limit its folder sets, None for no limit.
        batch_size: texts a forward pass; None for as many as are fast at their length.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        name: str,
        *,
        source: Path,
        folder_max_tokens: int | None,
        batch_size: int | None = None,
    ) -> None:
        self.model, self.name, self.source = model, name, source
        self.folder_max_tokens, self.batch_size = folder_max_tokens, batch_size
        self.role: Role = "document"
        self.prompt = _prompt(model, "document")
        self.dim: int = model.get_embedding_dimension()
        self.notes: tuple[str, ...] = ()
        self.raised_to_study = False  # whether its limit is another than its folder's only to study length
        self._reads: int | None = None

    def as_role(self, role: Role) -> Self:
        """The same model, putting before every text the prompt of another role.

        Args:
            role: "query" or "document" of a search, or "text" where texts are compared as equals: the model's default
                prompt, which most models do not have.
        """
        other = copy.copy(self)
        other.role, other.prompt = role, _prompt(self.model, role)
        return other

    def reading(self, max_tokens: int | None) -> Self:
        """The same model, which counts and cuts texts as if its limit were another: see `reading_under`.

        Args:
            max_tokens: the limit; None for that of the model itself.
        """
        other = copy.copy(self)
        other._reads = max_tokens
        return other

    @property
    def similarity(self) -> str:
        """How vectors are meant to be compared, as sentence-transformers calls it."""
        return str(self.model.similarity_fn_name)

    @property
    def normalises(self) -> bool:
        """Whether the model itself makes vectors of norm 1."""
        return any(isinstance(module, Normalize) for module in self.model.modules())

    def unnormalised(self) -> Self:
        """The same model, with the same weights in memory, up to where it makes vectors of norm 1.

        Raises:
            ModelError: a model that makes norms 1 before its last steps.
        """
        kept = {name: module for name, module in self.model.named_children() if not isinstance(module, Normalize)}
        other = copy.copy(self)
        other.model = copy.copy(self.model)
        other.model._modules = kept
        if other.normalises or list(kept) != list(self.model._modules)[: len(kept)]:
            raise ModelError(
                f"{self.name!r} makes vectors of norm 1 before its last steps, so that it has no vectors with a norm "
                "of their own. Choose a fix that does not weigh by norms."
            )
        return other

    @property
    def tower(self) -> str:
        """Which part of a model with a part for each role texts go through; "" where there is one way for all."""
        routed = any(isinstance(module, Router) for module in self.model)
        return self.role if routed and self.role != "text" else ""

    @property
    def max_tokens(self) -> int:
        """Tokens of a text the model sees, special tokens and prompt in."""
        if self._reads is not None:
            return self._reads
        limit: float | None = self.model.max_seq_length
        return NO_LIMIT if limit is None else int(min(limit, NO_LIMIT))

    @property
    def can_cut(self) -> bool:
        """Whether the model's token limit can be set; a static model reads everything."""
        try:
            self.model.max_seq_length = self.model.max_seq_length
        except AttributeError:
            return False
        return True

    @property
    def folded_fix(self) -> str:
        """What `fix` wrote into the weights, as its notation; "none" for a model as it came."""
        if known := str(read_record(self.source).get("fix", "")):
            return known
        config = getattr(getattr(self.model[0], "model", None), "config", None)
        folded = folded_fixes(config) if config is not None else ()
        return " + ".join(str(fix) for fix in folded) or "none"

    @property
    def text_fix(self) -> str:
        """The fix on texts that the folder asks for, as its notation; "" for none."""
        return str(read_record(self.source).get("text_fix", ""))

    @property
    def architecture(self) -> str:
        """Class of the transformer inside, or of the first module."""
        first = self.model[0]
        return type(getattr(first, "model", first)).__name__

    @property
    def dtype(self) -> str:
        """What the weights are computed in, such as "float32"."""
        kinds = (tensor.dtype for tensor in self.model.parameters() if tensor.is_floating_point())
        return str(next(kinds, torch.float32)).removeprefix("torch.")

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
            "dtype": self.dtype,
            "fingerprint": fingerprint(self.source),
        }

    @property
    def n_special_tokens(self) -> int:
        """Tokens added to every text: special tokens and prompt."""
        return int(self.count([""])[0])

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation, special tokens and prompt in: int64 [texts]."""
        encoded = self._tokenize(texts)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Count the tokens of texts, and cut off what the model will never see."""
        cut, full = [], []
        for few in by_characters(texts, _CHARACTERS_AT_ONCE):
            encoded = self._tokenize(few, offsets=True)
            offsets = encoded.get("offset_mapping")
            for row, text in enumerate(few):
                full.append(len(encoded["input_ids"][row]))
                cut.append(text if offsets is None else self._cut(text, offsets[row]))
        counts = np.array(full, dtype=np.int64)
        return Prepared(tuple(cut), np.minimum(counts, self.max_tokens), counts)

    def _cut(self, text: str, offsets: Sequence[tuple[int, int]]) -> str:
        keep = self.max_tokens + _SPARE_TOKENS
        if len(offsets) <= keep:
            return text
        end = max(stop for _, stop in offsets[: keep + 1])  # the last of them may be a special token, which ends at 0
        return text[: max(0, end - len(self.prompt))]

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2], without special tokens.

        Words, where the tokenizer does not tell.
        """
        return next(self.mark([text])).spans

    def mark(self, texts: Iterable[str]) -> Iterator[Marked]:
        """The tokens of each text, each tokenized once, many at a time."""
        for few in by_characters(texts, _CHARACTERS_AT_ONCE):
            encoded = self._tokenize(few, offsets=True)
            offsets = encoded.get("offset_mapping")
            for row, text in enumerate(few):
                spans = word_spans(text) if offsets is None else self._spans(text, offsets[row])
                yield Marked(len(encoded["input_ids"][row]), spans)

    def _spans(self, text: str, offsets: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
        found = np.array(offsets, np.int64).reshape(-1, 2) - len(self.prompt)
        found = found[(found[:, 0] >= 0) & (found[:, 1] > found[:, 0])]
        return found if len(found) else word_spans(text)

    def vectors(self, texts: Sequence[str], n_tokens: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float32]:
        """One vector a text, float32 [texts, dim], as the model gives it.

        Args:
            texts: encoded longest first, in batches of like length.
            n_tokens: their tokens, where they are known already.
        """
        vectors = np.empty((len(texts), self.dim), np.float32)
        counts = self.prepare(texts).n_tokens if n_tokens is None else n_tokens
        for rows in self.passes(counts):
            vectors[rows] = self._forward([texts[row] for row in rows], len(rows))
        return vectors

    def passes(self, n_tokens: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Which rows go through the model together, the longest texts first.

        Args:
            n_tokens: of each text, after truncation.
        """
        most = TOKENS_ON_CPU if self.model.device.type == "cpu" else TOKENS_ELSEWHERE
        return batches(n_tokens, most, self.batch_size)

    def _forward(self, texts: list[str], batch_size: int) -> npt.NDArray[np.float32]:
        encoded: npt.NDArray[Any] = self.model.encode(
            texts,
            prompt=self.prompt,
            batch_size=batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            task=self.tower or None,
        )
        return np.asarray(encoded, dtype=np.float32).reshape(len(texts), self.dim)

    @torch.inference_mode()
    def run_once(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector a text in a single forward pass whose rows are the texts in their order.

        The library's own `encode` sorts texts before it runs, so whoever looks inside could not tell them apart.

        Args:
            texts: as many as fit into one pass.
        """
        task = {"task": self.tower} if self.tower else {}
        features = self.model.preprocess(list(texts), prompt=self.prompt, **task)
        embedded = self.model(batch_to_device(features, self.model.device), **task)["sentence_embedding"]
        return np.asarray(embedded[:, : self.model.truncate_dim].float().cpu().numpy(), np.float32)

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts."""
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        return Embeddings(
            self.vectors(prepared.texts, prepared.n_tokens), names, prepared.n_tokens, prepared.n_tokens_full
        )

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        """Cut every text to at most `n_tokens` tokens inside the `with`, by the model's own truncation.

        Raises:
            ModelError: less room than the special tokens take, or more than the model can see.
        """
        if not self.n_special_tokens < n_tokens <= self.max_tokens:
            raise ModelError(
                f"A window must be longer than the {self.n_special_tokens} special and prompt tokens of {self.name!r} "
                f"and at most {self.max_tokens} tokens, got {n_tokens}."
            )
        if not self.can_cut:
            raise ModelError(f"{self.name!r} has no token limit to set, so texts cannot be cut to {n_tokens} tokens.")
        before, reads = self.model.max_seq_length, self._reads
        self.model.max_seq_length, self._reads = n_tokens, None
        try:
            yield
        finally:
            self.model.max_seq_length, self._reads = before, reads

    def _tokenize(self, texts: Sequence[str], *, offsets: bool = False) -> Any:
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            raise ModelError(f"{self.name!r} has no tokenizer, so the tokens of a text cannot be counted.")
        if not hasattr(tokenizer, "is_fast"):
            encoded = tokenizer.encode_batch([self.prompt + text for text in texts], add_special_tokens=False)
            return {
                "input_ids": [item.ids for item in encoded],
                "offset_mapping": [item.offsets for item in encoded],
            }
        cuts_the_end = tokenizer.is_fast and tokenizer.truncation_side == "right"
        keywords = {"return_offsets_mapping": True} if offsets and cuts_the_end else {}
        return tokenizer(
            [self.prompt + text for text in texts],
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **keywords,
        )


_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {
    "document": ("document", "passage", "corpus"),
    "query": ("query",),
    "text": (),
}


def _prompt(model: SentenceTransformer, role: Role) -> str:
    """The prompt sentence-transformers puts before a text of this role."""
    for name in _PROMPT_NAMES[role]:
        if name in model.prompts:
            return model.prompts[name] or ""
    return model.prompts.get(model.default_prompt_name) or ""


def word_spans(text: str) -> npt.NDArray[np.int64]:
    """Where each word of a text begins and ends, in characters: int64 [words, 2].

    >>> word_spans("two  words").tolist()
    [[0, 3], [5, 10]]
    """
    return np.array([word.span() for word in re.finditer(r"\S+", text)], np.int64).reshape(-1, 2)
