"""Run a model over texts of one length and keep a few numbers of every layer and head of every text."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from uncollapse.attention.observing import Heads, States, observe
from uncollapse.attention.sites import find_sites
from uncollapse.encoders import SentenceEncoder
from uncollapse.encoders.batches import TOKENS_ELSEWHERE, TOKENS_ON_CPU
from uncollapse.explanation.maps import MOST_ENTRIES, measure_logits
from uncollapse.explanation.pooling import find_pooling
from uncollapse.explanation.settings import Settings
from uncollapse.explanation.solving import Targets, solve
from uncollapse.measures import unit
from uncollapse.progress import Advance
from uncollapse.records import chunks
from uncollapse.spectra import (
    bands,
    hc_share,
    low_share,
    measure_states,
    power_spectrum,
)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recording:
    """What was seen at one length.

    Args:
        n: tokens of every text.
        heads: by measure, float64 [documents, layers, heads]; NaN where a layer has fewer heads.
        states: by stage and measure, float64 [documents, layers].
        power: float64 [documents, layers, bands], shares of the power of what a layer hands on, that of the mean left
            out; NaN in bands below the lowest frequency of so many tokens; None if not asked for.
        low_share: float64 [documents, layers], the share below the cut.
        pooled: float32 [layers + 1, documents, dim], unit vectors of the pooled states: of what enters the first
            layer, then of what each layer hands on.
        vectors: float32 [documents, dim], unit vectors of the model.
        solved: by measure kept, float64 [solved documents, layers, heads]; NaN where no temperature keeps it.
    """

    n: int
    heads: dict[str, Array]
    states: dict[tuple[str, str], Array]
    power: Array | None
    low_share: Array | None
    pooled: npt.NDArray[np.float32] | None
    vectors: npt.NDArray[np.float32]
    solved: dict[str, Array]


class Looker:
    """Records what a model does with texts of one length after the other, while it is observed."""

    def __init__(self, encoder: SentenceEncoder, settings: Settings) -> None:
        self.encoder, self.settings = encoder, settings
        sites = find_sites(encoder.model)
        self.n_layers, self.n_heads = sum(len(site.layers) for site in sites), max(site.heads for site in sites)
        self.pool = find_pooling(encoder.model)
        self.special = special_ids(encoder.model.tokenizer)
        self.recorder: _Recorder | None = None

    def record(
        self, texts: Sequence[str], n: int, *, targets: Targets | None = None, advance: Advance = lambda _: None
    ) -> Recording:
        """Cut texts to n tokens, embed them, and look inside on the way.

        Args:
            texts: each at least n tokens long.
            n: tokens, special tokens in.
            targets: what the heads of the first documents are solved for; None for nothing.
            advance: told the tokens done.
        """
        recorder = self.recorder = _Recorder(self, len(texts), targets)
        vectors: list[npt.NDArray[np.float32]] = []
        with self.encoder.window(n):
            for few in chunks(texts, self._together(n)):
                recorder.start(len(few))
                vectors.append(self.encoder.run_once(few))
                advance(float(n * len(few)))
        return recorder.finish(n, unit(np.concatenate(vectors)))

    def _together(self, n: int) -> int:
        """Texts of one pass: as few as are fast, so that one layer's maps fit into memory."""
        tokens = TOKENS_ON_CPU if self.encoder.model.device.type == "cpu" else TOKENS_ELSEWHERE
        most = min(tokens // n, MOST_ENTRIES // (self.n_heads * n * n))
        return max(1, min(most, self.encoder.batch_size or most))

    def see_heads(self, heads: Heads) -> None:
        """Hand a layer's attention to what is recorded."""
        if self.recorder:
            self.recorder.see_heads(heads)

    def see_states(self, states: States) -> None:
        """Hand a layer's stream to what is recorded."""
        if self.recorder:
            self.recorder.see_states(states)


@contextmanager
def looking(encoder: SentenceEncoder, settings: Settings, *, states: bool = True) -> Iterator[Looker]:
    """Observe a model inside the `with`; afterwards it is as before.

    Args:
        encoder: the model; patch it first to look at it under a temperature.
        settings: what to look at.
        states: look at the stream between the layers too.
    """
    looker = Looker(encoder, settings)
    with observe(encoder.model, on_heads=looker.see_heads, on_states=looker.see_states if states else None):
        yield looker


def special_ids(tokenizer: Any) -> torch.Tensor | None:
    """The tokens that stand for no part of a text, such as [CLS] and [SEP]; None where the tokenizer does not say.

    The token of unknown words stands for a word, unless the tokenizer puts it at the ends of texts too.

    Args:
        tokenizer: of the model.

    Returns:
        int64 [special tokens].
    """
    special = getattr(tokenizer, "all_special_ids", None)
    if special is None:
        return None
    added = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "cls", "sep", "pad")}
    unknown = {getattr(tokenizer, "unk_token_id", None)} - added
    return torch.tensor(sorted(set(special) - unknown), dtype=torch.long)


@dataclass(eq=False)
class _Recorder:
    """Takes what the layers of a batch show and files it by document."""

    looker: Looker
    documents: int
    targets: Targets | None
    first: int = 0
    next: int = 0
    heads: dict[str, Array] = field(default_factory=dict)
    states: dict[tuple[str, str], Array] = field(default_factory=dict)
    solved: dict[str, Array] = field(default_factory=dict)
    power: Array | None = None
    low_share: Array | None = None
    pooled: npt.NDArray[np.float32] | None = None

    @property
    def settings(self) -> Settings:
        """What to look at."""
        return self.looker.settings

    def start(self, texts: int) -> None:
        """A new batch begins."""
        self.first, self.next = self.next, self.next + texts

    def see_heads(self, heads: Heads) -> None:
        """One layer's attention on texts of one length."""
        rows = [self.first + row for row in heads.rows]
        for name, values in {**self._measure(heads), "output_hc_share": hc_share(heads.output)}.items():
            self._file(self.heads, name, rows, heads.layer, values)
        self._solve(heads, rows)

    def _measure(self, heads: Heads) -> dict[str, torch.Tensor]:
        keys: dict[str, Any] = {
            "special": self._special(heads),
            "window": self.settings.window,
            "seed": self.settings.seed,
        }
        found = measure_logits(heads.logits, **keys)
        return {
            "filter_rate": found.rates.value,
            "entropy": found.entropy / max(math.log(heads.n), 1e-12),
            "share_special": found.shares.special,
            "share_own": found.shares.own,
            "share_window": found.shares.window,
            "score_spread": found.spread,
        }

    def _special(self, heads: Heads) -> torch.Tensor | None:
        """Which tokens of these texts are special ones, bool [texts, n]; None where nobody knows."""
        special = self.looker.special
        return None if special is None or heads.ids is None else torch.isin(heads.ids, special.to(heads.ids.device))

    def _solve(self, heads: Heads, rows: list[int]) -> None:
        if self.targets is None or min(rows) >= self.settings.solved:
            return
        for name, values in solve(heads.logits, self.targets, heads.layer, seed=self.settings.seed).items():
            self._file(self.solved, name, rows, heads.layer, values)

    def _file(self, into: dict[str, Array], name: str, rows: list[int], layer: int, values: torch.Tensor) -> None:
        if name not in into:
            into[name] = np.full((self.documents, self.looker.n_layers, self.looker.n_heads), np.nan)
        into[name][rows, layer, : values.shape[-1]] = values.cpu().double().numpy()

    def see_states(self, states: States) -> None:
        """The stream through one layer, on texts of one length."""
        rows = [self.first + row for row in states.rows]
        for stage, tensor in states.stages.items():
            numbers = measure_states(tensor)
            for name in ("hc_share", "token_cosine"):
                values = getattr(numbers, name).cpu().double().numpy()
                self.states.setdefault((stage, name), self._empty())[rows, states.layer] = values
        stages = list(states.stages.values())
        if states.layer == 0:
            self._pool(stages[0], rows, 0)
        self._pool(stages[-1], rows, states.layer + 1)
        self._see_frequencies(stages[-1], rows, states.layer)

    def _empty(self) -> Array:
        return np.full((self.documents, self.looker.n_layers), np.nan)

    def _pool(self, states: torch.Tensor, rows: list[int], place: int) -> None:
        pooled = self.looker.pool(states).float().cpu().numpy()
        if self.pooled is None:
            self.pooled = np.zeros((self.looker.n_layers + 1, self.documents, pooled.shape[-1]), np.float32)
        self.pooled[place, rows] = unit(pooled)

    def _see_frequencies(self, states: torch.Tensor, rows: list[int], layer: int) -> None:
        spectrum, n = power_spectrum(states), states.shape[-2]
        if self.power is None or self.low_share is None:
            self.power = np.full((self.documents, self.looker.n_layers, self.settings.bands), np.nan)
            self.low_share = self._empty()
        edges = [band / (2 * self.settings.bands) for band in range(self.settings.bands + 1)]
        power = bands(spectrum, n, edges) / spectrum.sum(-1, keepdim=True)
        self.power[rows, layer] = power.cpu().double().numpy()
        self.low_share[rows, layer] = low_share(spectrum, n, self.settings.cut).cpu().double().numpy()

    def finish(self, n: int, vectors: npt.NDArray[np.float32]) -> Recording:
        """Everything, in the order of the documents."""
        solved = {name: values[: self.settings.solved] for name, values in self.solved.items()}
        return Recording(n, self.heads, self.states, self.power, self.low_share, self.pooled, vectors, solved)
