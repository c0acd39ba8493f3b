"""Buckets of text lengths, and the one temperature that stands for a law in each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.attention.laws import TemperatureLaw
from uncollapse.errors import UncollapseError


@dataclass(frozen=True)
class Bucket:
    """Texts of some lengths, which share a checkpoint.

    Args:
        low, up_to: tokens of the shortest and of the longest text, special tokens and prompt in.
        middle: token count at which the law is taken.
        tau: the law there.
    """

    low: int
    up_to: int
    middle: int
    tau: float

    @property
    def folder(self) -> str:
        """Name of its checkpoint."""
        return f"up-to-{self.up_to}"


def cut_buckets(
    law: TemperatureLaw, ends: Sequence[int], *, limit: int, shortest: int = 1, head_dim: int = 0
) -> tuple[Bucket, ...]:
    """The buckets that end at some token counts, the last of which reaches the model's limit.

    The law is taken at the geometric middle of a bucket, sqrt(low * up_to): laws go with log n, so there it is as far
    from the one end as from the other.

    Args:
        law: tau(n).
        ends: tokens of the longest text of each bucket, rising; the last may lie above the limit.
        limit: tokens at which the model cuts texts.
        shortest: tokens of the shortest text there is.
        head_dim: width of a head; infoscale depends on it.

    Raises:
        UncollapseError: ends that do not rise, leave texts without a bucket, or make one that no text is in.

    >>> [(one.folder, one.middle, round(one.tau, 3)) for one in cut_buckets(TemperatureLaw("log", n0=128), [128, 512],
    ...     limit=512, shortest=3)]
    [('up-to-128', 20, 1.62), ('up-to-512', 257, 0.874)]
    """
    _check_ends(ends, limit, shortest)
    buckets, low = [], shortest
    for end in ends:
        up_to = min(end, limit)
        middle = round(math.sqrt(low * up_to))
        tau = law.at(middle, head_dim).tau
        assert isinstance(tau, float)  # a law gives one number
        buckets.append(Bucket(low, up_to, middle, tau))
        low = up_to + 1
    return tuple(buckets)


def _check_ends(ends: Sequence[int], limit: int, shortest: int) -> None:
    said = ", ".join(map(str, ends)) or "none"
    if not ends or any(low >= high for low, high in zip((shortest, *ends), ends, strict=False)):
        raise UncollapseError(
            f"Buckets are told by the tokens of the longest text of each, rising and above {shortest}, got {said}. "
            "Give some, such as --buckets 128,512."
        )
    if ends[-1] < limit:
        raise UncollapseError(
            f"The model reads {limit:,} tokens, and the last bucket ends at {ends[-1]:,}, so longer texts would have "
            f"none. End with {limit}: --buckets {said.replace(' ', '')},{limit}."
        )
    if len(ends) > 1 and ends[-2] >= limit:
        kept = [str(end) for end in ends if end < limit]
        raise UncollapseError(
            f"The model cuts texts at {limit:,} tokens, so no text would be in the bucket up to {ends[-1]:,}. Give "
            f"--buckets {','.join([*kept, str(limit)])}."
        )
