"""Choosing a dial without labels by a number of the model: that of long texts is to be what it is for shorter ones."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.observing import find_support
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.corpora.texts import Text
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import ArchitectureError, FixError, UncollapseError, nearest
from uncollapse.explanation.reading import Chosen, choose
from uncollapse.explanation.recording import looking
from uncollapse.explanation.settings import Settings
from uncollapse.explanation.study import N0
from uncollapse.measures import unit
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline
from uncollapse.progress import Reporter
from uncollapse.records import Row
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import Configuration, Contender

Floats = npt.NDArray[np.float64]

DEFAULT = "probe"
"""Queries made out of documents look for them; the rows of CRITERIA stand beside it."""

CRITERION = "tune_criterion"
"""View of rows about how far every dial is from where it should be."""

DOCUMENTS = 64
"""Documents that are cut to two lengths."""

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Windows:
    """The same documents at two lengths.

    Args:
        texts: each at least `long` tokens long.
        short, long: tokens, special tokens in.
        fitted_to: what fixes on vectors learn from.
    """

    texts: tuple[str, ...]
    short: int
    long: int
    fitted_to: Unlabelled


Values = Callable[[Bench, Windows, Configuration, int], Floats]
"""Numbers of every document at one length, under a configuration: float64 [documents, ...]."""


@dataclass(frozen=True)
class Criterion:
    """One way to choose without labels.

    Args:
        name: as `--criterion` takes it.
        title: of the number, in words.
        takes: kinds of fixes that it can see.
        values: the number, document by document.
        apart: how far values at the long length are from those of the model as it is at the short one.
        why: why it cannot see other fixes.
    """

    name: str
    title: str
    takes: Callable[[Configuration], bool]
    values: Values
    apart: Callable[[Floats, Floats], float]
    why: str


@dataclass(frozen=True, eq=False)
class Matched:
    """What a criterion found.

    Args:
        criterion: its row.
        chosen: the dial that comes nearest, of equal ones the mildest.
        apart: by notation, the model as it came among them: distance and standard error.
        windows: what it was measured on.
    """

    criterion: Criterion
    chosen: str
    apart: Mapping[str, tuple[float, float]]
    windows: Windows

    @property
    def rows(self) -> tuple[Row, ...]:
        """A row a dial."""
        return tuple(self._row(name, *found) for name, found in self.apart.items())

    def _row(self, name: str, value: float, error: float) -> Row:
        note = (
            f"from {self.windows.short} tokens of the model as it is; the interval is 1.96 standard errors, jackknife"
        )
        low, high = max(0.0, value - 1.96 * error), value + 1.96 * error
        n, at = len(self.windows.texts), self.windows.long
        measure = f"{self.criterion.name}_apart"
        return Row(measure, value, low, high, n, bin=str(at), n_tokens=at, view=CRITERION, fix=name, note=note)


def read_criterion(name: str) -> Criterion | None:
    """A row of CRITERIA; None for the probe.

    Raises:
        UncollapseError: another name.

    >>> read_criterion("entropy").title, read_criterion("probe")
    ('attention entropy', None)
    """
    if name == DEFAULT:
        return None
    if name not in CRITERIA:
        known = dict.fromkeys([DEFAULT, *CRITERIA])
        raise UncollapseError(f"--criterion has no {name!r}. {nearest(name, known, 'Criteria')}")
    return CRITERIA[name]


def check_seen_by(name: str, contenders: Sequence[Contender]) -> None:
    """Raise where there is no such criterion, or where it cannot see what a member does."""
    if criterion := read_criterion(name):
        check_seen(criterion, [one for contender in contenders for one in contender.configurations])


def check_seen(criterion: Criterion, members: Sequence[Configuration]) -> None:
    """Raise FixError where a criterion cannot see what a fix does."""
    for one in members:
        if not criterion.takes(one):
            raise FixError(
                f"--criterion {criterion.name} cannot choose `{one}`: {criterion.why} Use --criterion {DEFAULT}."
            )


def cut_windows(
    encoder: SentenceEncoder, texts: Iterable[Text], fitted_to: Unlabelled, progress: Reporter, *, seed: int
) -> Windows:
    """Documents that can be cut to two lengths: the longest that enough of them reach, and 128 tokens or half of that.

    Raises:
        CorpusError: too few long texts.
    """
    chosen: Chosen = choose(encoder, texts, Settings(documents=DOCUMENTS, seed=seed), progress=progress)
    long = chosen.lengths[-1]
    short = max((n for n in chosen.lengths[:-1] if n <= N0), default=chosen.lengths[0])
    return Windows(tuple(one.text for one in chosen.documents), short, long, fitted_to)


def match(
    criterion: Criterion, members: Sequence[Configuration], bench: Bench, windows: Windows, progress: Reporter
) -> Matched:
    """The dial under which long texts come nearest to what shorter ones are for the model as it is.

    Args:
        criterion: a row of CRITERIA.
        members: the mildest first.
        bench: of the model.
        windows: of the corpus.
        progress: shows how far the work is.

    Raises:
        FixError: a fix that the criterion cannot see.
        ArchitectureError: attention that cannot be observed.
    """
    check_seen(criterion, members)
    apart: dict[str, tuple[float, float]] = {}
    with progress.track(f"matching the {criterion.title}", 2.0 + len(members), "passes") as advance:
        wanted = criterion.values(bench, windows, STOCK, windows.short)
        advance(1.0)
        for one in (STOCK, *members):
            found = criterion.values(bench, windows, one, windows.long)
            apart[str(one)] = with_error(criterion.apart, wanted, found)
            advance(1.0)
    chosen = min((str(one) for one in members), key=lambda name: apart[name][0])
    return Matched(criterion, chosen, apart, windows)


def with_error(apart: Callable[[Floats, Floats], float], wanted: Floats, found: Floats) -> tuple[float, float]:
    """A distance, and its standard error: the jackknife over documents, the same left out at both lengths.

    >>> distance = lambda a, b: float(b.mean() - a.mean())
    >>> value, error = with_error(distance, np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0]))
    >>> value, round(error, 4)  # the standard error of a mean
    (2.5, 0.6455)

    Source: Efron & Tibshirani (1993), An introduction to the bootstrap, chapter 11.
    """
    n = len(wanted)
    without = [apart(np.delete(wanted, i, axis=0), np.delete(found, i, axis=0)) for i in range(n)]
    return apart(wanted, found), float(np.sqrt((n - 1) * np.var(without)))


def _vectors(bench: Bench, windows: Windows, one: Configuration, n: int) -> Floats:
    """Unit vectors of the documents cut to n tokens: float64 [documents, dim]."""
    encoder = fit_pipeline(bench.base(one), one.fix, windows.fitted_to, seed=bench.rules.seed)
    cut = [_first(bench.encoder, text, n) for text in windows.texts]
    return unit(encoder.encode(cut, role="document").vectors.astype(np.float64))


def _first(encoder: SentenceEncoder, text: str, n: int) -> str:
    """The beginning of a text that makes n tokens, special tokens in."""
    spans = encoder.spans(text)
    return text[: int(spans[min(len(spans), n - encoder.n_special_tokens) - 1, 1])]


def _cosine_apart(wanted: Floats, found: Floats) -> float:
    return abs(mean_pairwise(found) - mean_pairwise(wanted))


def mean_pairwise(vectors: Floats) -> float:
    """Mean cosine of all pairs of unit vectors.

    >>> mean_pairwise(np.eye(2)), mean_pairwise(np.ones((3, 1)))
    (0.0, 1.0)
    """
    n, total = len(vectors), vectors.sum(axis=0)
    return float((total @ total - np.einsum("ij,ij->", vectors, vectors)) / (n * (n - 1)))


def _heads(measure: str, bench: Bench, windows: Windows, one: Configuration, n: int) -> Floats:
    """A number of every head: float64 [documents, heads of all layers]."""
    encoder = bench.encoder
    if unseen := find_support(encoder.model).heads:
        raise ArchitectureError(unseen)
    settings = Settings(documents=DOCUMENTS, seed=bench.rules.seed)
    with _patched(encoder, one), looking(encoder, settings, states=False) as looker:
        values = looker.record(windows.texts, n).heads[measure]
    return values.reshape(len(values), -1)


@contextmanager
def _patched(encoder: SentenceEncoder, one: Configuration) -> Iterator[None]:
    with ExitStack() as undo:
        for fix in one.fix.model:
            undo.enter_context(patch(encoder.model, fix))
        yield


def _heads_apart(wanted: Floats, found: Floats) -> float:
    """Mean over heads of |log of the ratio of their means over documents|."""
    before, after = (np.log(np.maximum(one.mean(axis=0), _TINY)) for one in (wanted, found))
    return float(np.nanmean(np.abs(after - before)))


def _is_temperature(one: Configuration) -> bool:
    return bool(one.fix.parts) and all(isinstance(part, Temperature | TemperatureLaw) for part in one.fix.parts)


def _makes_vectors(one: Configuration) -> bool:
    return one.fix.text is None and one.fix.score is None


_OF_ATTENTION = "it is a number of attention maps, which temperatures alone change."

CRITERIA: Mapping[str, Criterion] = {
    row.name: row
    for row in (
        Criterion(
            "mean_cosine", "mean cosine", _makes_vectors, _vectors, _cosine_apart,
            "it compares vectors of texts that the model reads whole, which fixes on texts and on scores leave alone.",
        ),
        Criterion(
            "filter_rate", "filter rate", _is_temperature, partial(_heads, "filter_rate"), _heads_apart, _OF_ATTENTION
        ),
        Criterion(
            "entropy", "attention entropy", _is_temperature, partial(_heads, "entropy"), _heads_apart, _OF_ATTENTION
        ),
    )
}  # fmt: skip
"""Criteria beside the probe: one row each."""
