"""The token limit at which a model is served, and sampled documents as it reads them there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.units import TOKENS
from uncollapse.encoders import TextEncoder
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.measures import unit
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Finding
from uncollapse.reservoir import Kept


@dataclass(frozen=True)
class Served:
    """At which limits a diagnosis measures; all count special tokens and prompt, and None stands for no limit.

    A study of length lets a model read as far as its positions reach, which nobody does who serves it. So what length
    costs in search, and what a score means, is measured at the limit of the model's folder, unless a user named one.

    Args:
        limit: of costs and scores.
        in_use: of lengths and causes.
        folder: that of the model's folder.
        studied: whether lengths and causes are measured as far as the model's positions reach, and not at a limit
            that a user named.
    """

    limit: int | None
    in_use: int | None
    folder: int | None
    studied: bool = False

    @classmethod
    def of(cls, encoder: TextEncoder, *, moved: bool = False) -> Self:
        """The limits of a model.

        Args:
            encoder: the model, with its fix on.
            moved: whether that fix changes how far the model reads, as the folder written with it will.
        """
        in_use, folder = encoder.max_tokens, encoder.folder_max_tokens
        studied = bool(getattr(encoder, "raised_to_study", False)) and folder is not None and not moved
        limit = min(folder or in_use, in_use) if studied else in_use
        return cls(_known(limit), _known(in_use), limit if moved else folder, studied)

    @property
    def is_lower(self) -> bool:
        """Whether texts are cut shorter for costs and scores than for the study of length."""
        return self.limit is not None and self.limit != self.in_use


def _known(limit: int) -> int | None:
    return limit if limit < NO_LIMIT else None


@contextmanager
def reading_as_served(encoder: TextEncoder, served: Served) -> Iterator[None]:
    """Let a model read as much as it does where it is served; afterwards it reads as much as before."""
    if served.limit is None or not served.is_lower:
        yield
        return
    with encoder.window(served.limit):
        yield


def read_as_served(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    served: Served,
    memory: Memory,
    progress: Reporter | None = None,
) -> tuple[Kept, ...]:
    """The sampled documents as the model reads them where it is served: those that it cuts shorter are encoded anew.

    Args:
        encoder: inside `reading_as_served`.
        documents: with their vectors, as they were read for the study.
        served: the limits.
        memory: of what other rooms embedded already.
        progress: told about tokens.
    """
    long = [row for row, one in enumerate(documents) if served.is_lower and one.n_tokens > (served.limit or 0)]
    if not long:
        return tuple(documents)
    prepared = encoder.prepare([documents[row].text for row in long])
    total = int(prepared.n_tokens.sum())
    with (progress or Silent()).track("long texts as they are served", total, "tokens") as advance:
        vectors = unit(memory.vectors(encoder, prepared.texts, prepared.n_tokens, advance=advance))
    read = list(documents)
    for row, text, n_tokens, vector in zip(long, prepared.texts, prepared.n_tokens, vectors, strict=True):
        read[row] = replace(read[row], text=text, n_tokens=int(n_tokens), vector=np.asarray(vector, np.float32))
    return tuple(read)


def explain_limit(served: Served, unit: str = TOKENS) -> Iterator[Finding]:
    """At which limit costs and thresholds hold, where the model's folder or the study has another.

    Args:
        served: the limits.
        unit: what they are counted in.
    """
    if served.limit is None or served.folder is None or {served.limit} == {served.in_use, served.folder}:
        return
    title = f"Costs and thresholds hold at {served.limit:,} {unit}"
    if served.is_lower:
        yield Finding(
            title,
            "The model's folder cuts texts there, and so does whoever serves it. What length costs in search and what "
            f"a score means is measured on texts cut at {served.limit:,} {unit}; lengths and causes above are "
            f"measured at {served.in_use:,}. For costs and thresholds at that limit: --max-tokens {served.in_use}.",
            "neutral",
        )
        return
    if served.studied:
        yield Finding(
            title,
            f"The model's positions reach no further, although its folder cuts texts only at {served.folder:,}. It "
            f"has no place for longer texts: set a limit of {served.limit:,} wherever it is served.",
            "neutral",
        )
        return
    yield Finding(
        title,
        f"That is the limit you named. The model's folder cuts texts at {served.folder:,}, where scores and what is "
        "found are others. For costs and thresholds at the folder's limit: --max-tokens model.",
        "neutral",
    )
