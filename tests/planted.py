"""Models and corpora with a planted cause of a rise of the mean cosine: words are tokens, and the truth is known."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from uncollapse.encoders import Prepared, SentenceEncoder
from uncollapse.records import Embeddings
from uncollapse.reservoir import Kept

Table = npt.NDArray[np.float64]
Pool = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(states [texts, tokens, dim], mask [texts, tokens], numbers of the words [texts, tokens]) -> [texts, dim]."""


def words(numbers: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Words by their numbers; word k is row k of the table."""
    return " ".join(f"w{number}" for number in numbers)


def kept(texts: Sequence[str], limit: int = 10**9) -> list[Kept]:
    """Documents of a diagnosis, cut to what a model of so many words sees."""
    return [
        Kept(f"d{row}", " ".join(text.split()[:limit]), min(len(text.split()), limit), full=text)
        for row, text in enumerate(texts)
    ]


# Models


def mean_pooled(states: torch.Tensor, mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """The mean of the tokens: no attention at all."""
    return (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def uniform_attention(dim: int, *, seed: int = 0) -> Pool:
    """A layer of attention whose scores are all equal, with values, a residual, and mean pooling."""
    values = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / dim**0.5

    def pool(states: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(*mask.shape, mask.shape[1], dtype=states.dtype)
        weights = scores.masked_fill(mask[:, None, :] == 0, -torch.inf).softmax(dim=-1)
        return mean_pooled(states + weights @ states @ values, mask, numbers)

    return pool


def flattening_attention(topical: int, *, sharpness: float = 6.0, sharp_until: int = 32) -> Pool:
    """One query that looks for topic words (numbers from `topical` on): sharp in short texts, flat in long ones."""

    def pool(states: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        length = mask.sum(dim=1, keepdim=True)
        scores = sharpness * (numbers >= topical).to(states.dtype) * sharp_until / length.clamp(min=sharp_until)
        weights = scores.masked_fill(mask == 0, -torch.inf).softmax(dim=-1)
        return torch.einsum("bt,btd->bd", weights, states)

    return pool


class Words(InputModule):  # type: ignore[misc]  # the library is not typed for the type checker
    """A table of word vectors, and a table of positions if asked for, in float64."""

    def __init__(self, table: Table, pool: Pool, max_seq_length: int, positions: Table | None) -> None:
        super().__init__()
        self.tokenizer, self.max_seq_length, self.pool = tokenizer(len(table)), max_seq_length, pool
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(table))
        if positions is not None:
            self.position_embeddings = nn.Embedding.from_pretrained(torch.from_numpy(positions))

    def preprocess(self, inputs: list[str], **_: Any) -> dict[str, torch.Tensor]:
        return dict(
            self.tokenizer(
                list(inputs), padding=True, truncation=True, max_length=self.max_seq_length, return_tensors="pt"
            )
        )

    def forward(self, features: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        numbers, mask = features["input_ids"], features["attention_mask"].to(torch.float64)
        states = self.embedding(numbers)
        if hasattr(self, "position_embeddings"):
            states = states + self.position_embeddings(torch.arange(numbers.shape[1])[None])
        return {**features, "sentence_embedding": self.pool(states, mask, numbers)}

    def get_embedding_dimension(self) -> int:
        return int(self.embedding.embedding_dim)

    def save(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("A planted model lives in memory.")


def tokenizer(size: int) -> PreTrainedTokenizerFast:
    """Words w0, w1, ... as tokens, nothing added; word 0 also stands for what is unknown and for padding."""
    inner = Tokenizer(models.WordLevel({f"w{number}": number for number in range(size)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="w0", pad_token="w0", model_max_length=10**6)


def encoder(
    table: Table, pool: Pool = mean_pooled, *, max_tokens: int = 256, positions: Table | None = None
) -> SentenceEncoder:
    """A planted model as `load` would give it."""
    model = SentenceTransformer(modules=[Words(table, pool, max_tokens, positions)], device="cpu")
    return SentenceEncoder(model, "planted", source=Path("none"), folder_max_tokens=max_tokens)


class BlackBox:
    """A mean of word vectors behind a wall: it says `max_tokens` and reads `really` of them without a word."""

    name, notes, n_special_tokens, can_cut = "box", (), 0, False

    def __init__(self, table: Table, *, max_tokens: int, really: int | None = None) -> None:
        self.table, self.max_tokens, self.really = table, max_tokens, really or max_tokens
        self.dim, self.folder_max_tokens = table.shape[1], max_tokens
        self.encoded = 0

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([len(text.split()) for text in texts], dtype=np.int64)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
        return np.stack([ends - [len(word) for word in text.split()], ends], axis=1)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        full = self.count(texts)
        return Prepared(tuple(texts), np.minimum(full, self.max_tokens), full)

    def vectors(self, texts: Sequence[str], n_tokens: object = None) -> npt.NDArray[np.float32]:  # noqa: ARG002
        self.encoded += len(texts)
        rows = [[int(word[1:]) for word in text.split()[: self.really]] for text in texts]
        return np.stack([self.table[numbers].mean(axis=0) for numbers in rows]).astype(np.float32)

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(map(str, range(len(texts))))
        return Embeddings(self.vectors(texts), names, prepared.n_tokens, prepared.n_tokens_full)

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        before, self.max_tokens = self.max_tokens, n_tokens
        yield
        self.max_tokens = before


# Worlds: word vectors and documents


def one_word_each(n: int, length: int, *, size: int = 600, common: float = 1.0, spread: float = 5.0) -> Any:
    """Word k is `common` of one shared direction and `spread` of its own; no document says a word twice.

    A piece of p words then has squared length common^2 + spread^2 / p exactly, whichever words they are.

    Returns:
        (table, texts).
    """
    table = np.hstack([np.full((size, 1), common), spread * np.eye(size)])
    rng = np.random.default_rng(0)
    return table, [words(rng.permutation(size)[:length]) for _ in range(n)]


def topics(
    n: int, sections: int, length: int, *, common: float = 0.5, noise: float = 1.0, n_topics: int = 12, dim: int = 96
) -> Any:
    """Each word belongs to a topic; a document passes through so many topics, in equally long sections.

    Returns:
        (table, texts).
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((dim, n_topics + 1)))[0].T
    each = 40
    own = noise * rng.standard_normal((n_topics * each, dim)) / dim**0.5
    table = common * axes[0] + np.repeat(axes[1:], each, axis=0) + own
    texts = []
    for _ in range(n):
        visited = rng.permutation(n_topics)[:sections]
        chosen = [topic * each + rng.integers(each, size=length // sections) for topic in visited]
        texts.append(words(np.concatenate(chosen)))
    return table, texts


def unlike(n: int, length: int, *, dim: int = 128) -> Any:
    """Every document has a topic of its own and nothing in common with the others.

    Returns:
        (table, texts).
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((dim, n)))[0].T
    table = np.repeat(axes, 20, axis=0) + 0.05 * rng.standard_normal((20 * n, dim))
    return table, [words(20 * row + rng.integers(20, size=length)) for row in range(n)]


def boilerplate(n: int, *, title: int = 16, header: int = 48, body: int = 192, dim: int = 128) -> Any:
    """Documents of a title, a header that is the same in all, and a body about the title's own topic.

    Returns:
        (table, texts).
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((dim, n + 1)))[0].T
    table = np.repeat(axes, 60, axis=0) + 0.05 * rng.standard_normal((60 * (n + 1), dim))
    shared = rng.integers(60, size=header)
    own = [60 * (row + 1) + rng.integers(60, size=title + body) for row in range(n)]
    return table, [words(np.concatenate([words_[:title], shared, words_[title:]])) for words_ in own]


def sprinkled(n: int, length: int, *, every: int = 4, dim: int = 128) -> Any:
    """Every fourth word is the document's own topic word, the others are common words that all documents share.

    Returns:
        (table, texts, number of the first topic word).
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((dim, n + 1)))[0].T
    common = axes[0] + 0.02 * rng.standard_normal((50, dim))
    texts = []
    for row in range(n):
        numbers = rng.integers(50, size=length)
        numbers[::every] = 50 + row
        texts.append(words(numbers))
    return np.vstack([common, axes[1:]]), texts, 50
