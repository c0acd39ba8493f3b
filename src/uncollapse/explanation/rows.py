"""From what was recorded to rows with n and interval."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from uncollapse.diagnosis.rows import row_of
from uncollapse.explanation.estimates import Array, Resampled, cosine_of, resample
from uncollapse.explanation.layers import Ablation, one_layer
from uncollapse.explanation.recording import Recording
from uncollapse.explanation.settings import Settings
from uncollapse.records import FloatArray, Row
from uncollapse.resampling import Estimate, difference
from uncollapse.spectra import gaussian_law, quoted_bound

HEADS, ALL_HEADS, SPECTRUM, LAYERS, ONE_LAYER = "heads", "all heads", "spectrum", "layers", "one layer"
"""Views: a number a head, the median over heads, frequencies, what is pooled after a layer, one layer changed."""

EMBEDDINGS = "what enters the first layer"
"""View of the mean cosine of documents before any layer."""

LAWS = ("gaussian law", "quoted bound", "n^-1/2 law")
"""Views of the filter rate that a law gives from the measured score spread, or from the shortest length."""


class Rows:
    """Makes rows of recordings of the same documents.

    Args:
        ids: of the documents, in the order of every array.
        settings: for bootstrap and bands.
    """

    def __init__(self, ids: Sequence[str], settings: Settings) -> None:
        self.ids, self.settings = ids, settings

    def resample(self, values: Array) -> Resampled:
        """The mean over documents of every entry."""
        return resample(values, self.ids[: len(values)], replicates=self.settings.replicates, seed=self.settings.seed)

    def heads(self, found: Recording, fix: str = "none") -> Iterator[Row]:
        """Every measure of every head, and the median over heads."""
        for measure, values in found.heads.items():
            means = self.resample(values)
            for layer, head in means.places():
                row = row_of(measure, means.at(layer, head), view=HEADS, label=str(found.n), n_tokens=found.n, fix=fix)
                yield replace(row, layer=layer, head=head)
            yield row_of(measure, means.median(), view=ALL_HEADS, label=str(found.n), n_tokens=found.n, fix=fix)

    def states(self, found: Recording) -> Iterator[Row]:
        """Energies of the stream after every stage of every layer, and its frequencies."""
        for (stage, measure), values in found.states.items():
            means = self.resample(values)
            for (layer,) in means.places():
                yield self._layer(measure, means.at(layer), found, stage, layer)
            overall = self.resample(np.nanmean(values, axis=1, keepdims=True))
            yield row_of(measure, overall.at(0), view=stage, label=str(found.n), n_tokens=found.n)
        if found.power is None or found.low_share is None:
            return
        low, power = self.resample(found.low_share), self.resample(found.power)
        for (layer,) in low.places():
            yield self._layer("low_share", low.at(layer), found, SPECTRUM, layer)
        centres = (np.arange(self.settings.bands) + 0.5) / (2 * self.settings.bands)
        for layer, band in power.places():
            row = self._layer("power", power.at(layer, band), found, SPECTRUM, layer)
            yield replace(row, frequency=round(float(centres[band]), 6))

    def _layer(self, measure: str, estimate: Estimate, found: Recording, view: str, layer: int) -> Row:
        return replace(row_of(measure, estimate, view=view, label=str(found.n), n_tokens=found.n), layer=layer)

    def pooled(self, found: Recording) -> Iterator[Row]:
        """The mean cosine of documents that are pooled before the first layer and after every layer."""
        if found.pooled is None:
            return
        for place, vectors in enumerate(found.pooled):
            view, layer = (LAYERS, place - 1) if place else (EMBEDDINGS, 0)
            yield self._layer("pooled_mean_cosine", self._cosine(vectors), found, view, layer)

    def laws(self, recordings: Sequence[Recording]) -> Iterator[Row]:
        """What laws make of the measured score spread, length by length, with the interval of the spread."""
        first = self.resample(recordings[0].heads["filter_rate"]).median()
        for found in recordings:
            spread = self.resample(found.heads["score_spread"]).median()
            shown = {
                LAWS[0]: _through(spread, partial(_law, gaussian_law, found.n)),
                LAWS[1]: _through(spread, partial(_law, quoted_bound, found.n)),
                LAWS[2]: _through(first, partial(np.multiply, (recordings[0].n / found.n) ** 0.5)),
            }
            for view, estimate in shown.items():
                yield row_of("filter_rate", estimate, view=view, label=str(found.n), n_tokens=found.n)

    def solved(self, found: Recording) -> Iterator[Row]:
        """The temperature that keeps a head as it is at n0, the geometric mean over documents.

        A head that no temperature keeps in most documents has no row.
        """
        for measure, values in found.solved.items():
            logs = self.resample(np.log(values))
            for place in logs.places():
                if 2 * logs.n[place] > len(values):
                    tau = _through(logs.at(*place), np.exp)
                    row = row_of("solved_tau", tau, view=f"keeps {measure}", label=str(found.n), n_tokens=found.n)
                    yield replace(row, layer=place[0], head=place[1])

    def changes(self, short: Recording, long: Recording, fix: str = "none") -> Iterator[Row]:
        """What changes from the shortest length to the longest, document by document."""
        for measure, values in long.heads.items():
            change = difference(self.resample(values).median(), self.resample(short.heads[measure]).median())
            yield row_of(f"{measure}_change", change, view=ALL_HEADS, fix=fix)
        if short.pooled is None or long.pooled is None:
            return
        for place, (before, after) in enumerate(zip(short.pooled, long.pooled, strict=True)):
            rise = difference(self._cosine(after), self._cosine(before))
            view, layer = (LAYERS, place - 1) if place else (EMBEDDINGS, 0)
            yield replace(row_of("pooled_mean_cosine_change", rise, view=view), layer=layer)

    def _cosine(self, vectors: FloatArray) -> Estimate:
        return cosine_of(vectors, self.ids, replicates=self.settings.replicates, seed=self.settings.seed)

    def ablation(self, found: Ablation) -> Iterator[Row]:
        """How a temperature in one layer, and in all of them, changes the rise of the mean cosine."""
        tau, count = self.settings.at_one_layer, len(found.changes)
        yield row_of("mean_cosine_rise", found.rise, view=ONE_LAYER)
        for layer, change in found.changes.items():
            fix = f"temperature({one_layer(tau, layer, count)})"
            yield replace(row_of("rise_change", change, view=ONE_LAYER, fix=fix), layer=layer)
        if found.together is not None:
            yield row_of("rise_change", found.together, view=ONE_LAYER, fix=f"temperature({tau})")


def _law(law: Callable[[float, float], float], n: int, spreads: Array) -> Array:
    """What a law makes of score spreads at n tokens."""
    return np.array([law(spread, n) for spread in np.ravel(spreads)]).reshape(np.shape(spreads))


def _through(estimate: Estimate, function: Callable[[Array], Array]) -> Estimate:
    """A function of an estimate, taken on every replicate."""
    value, replicates = (np.asarray(function(np.asarray(part))) for part in (estimate.value, estimate.replicates))
    return Estimate.of(float(value), replicates, n=estimate.n)
