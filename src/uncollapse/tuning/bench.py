"""Where configurations are scored: each text goes through each variant of the model once, whatever comes after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, SentenceEncoder
from uncollapse.errors import FixError, ModelError, NotationError
from uncollapse.evaluation.rankings.retrieval import main_scores
from uncollapse.evaluation.scoring import score_task, texts_of, unlabelled
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.statistics import Group
from uncollapse.measures import unit
from uncollapse.pipelines.encoder import FixedEncoder, encoding_work, of_folder
from uncollapse.pipelines.fitting import LEARNED_FROM, fit_pipeline, needed_by
from uncollapse.tuning.contenders import Configuration
from uncollapse.tuning.rules import PROBE, Rules

Floats = npt.NDArray[np.float64]
Advance = Callable[[float], None]
T = TypeVar("T")

STOCK = Configuration("none", Composition(()))
"""The model as it came."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A configuration on one task.

    Args:
        scores: of every query, float64 [queries].
        tokens: that went through the model for all documents, or would have without a cache.
        vectors: kept of each document, on average.
        dim: of them.
        fitted: texts that it learned from, by group; nothing where it needs none.
        fresh: tokens that this race had not asked the model for before, shared by all that are encoded alike.
    """

    scores: Floats
    tokens: int
    vectors: float
    dim: int
    fitted: dict[str, int]
    fresh: int


class Scorer(Protocol):
    """What scores configurations; a bench, or a table in its stead."""

    def sheet(self, task: Retrieval) -> Sheet:
        """The lines of a task, one a query, with the scores of the model as it came."""
        ...

    def measure(
        self,
        task: Retrieval,
        some: Sequence[Configuration],
        *,
        advance: Advance = lambda _: None,
        keep: bool = True,
    ) -> dict[str, Measured]:
        """Every configuration on a task, by notation; what cannot be is left out."""
        ...

    def work(self, task: Retrieval, some: Sequence[Configuration]) -> float:
        """About how much they cost to encode, in the units of `advance`."""
        ...

    def refusals(self, task: Retrieval) -> dict[str, str]:
        """Why some could not be measured on a task, by notation."""
        ...


class Bench:
    """Configurations of one model, scored on retrieval tasks.

    Args:
        encoder: the model.
        rules: what fixes learn from, and the seed.
        cache: folder where vectors are kept; None keeps none.
    """

    def __init__(self, encoder: SentenceEncoder, rules: Rules, *, cache: Path | None = None) -> None:
        self.encoder, self.rules, self.cache = encoder, rules, cache
        self.bases: dict[str, CachedEncoder] = {}
        self._refused: dict[tuple[str, str, str], str] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Texts that went through the model, and texts that were known."""
        return {
            "encoded": sum(base.encoded for base in self.bases.values()),
            "from the cache": sum(base.reused for base in self.bases.values()),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the cache."""
        return tuple(dict.fromkeys(note for base in self.bases.values() for note in base.notes))

    def base(self, configuration: Configuration) -> CachedEncoder:
        """The model with what this configuration puts inside.

        Raises:
            ModelError: something that the inside of this model cannot take.
        """
        if configuration.inside not in self.bases:
            for one in configuration.fix.model:
                with patch(self.encoder.model, one):
                    pass
            made = CachedEncoder(self.encoder, configuration.fix.model, folder=self.cache, remember=True)
            self.bases[configuration.inside] = made
        return self.bases[configuration.inside]

    def _whole(self, one: Configuration) -> Composition:
        """A configuration, with the fix on texts that the folder of the model asks for."""
        return Composition((*of_folder(self.encoder).parts, *one.fix.parts))

    def _before_vectors(self, one: Configuration) -> Composition:
        """What decides the vectors of texts before anything is fitted."""
        whole = self._whole(one)
        return Composition((*whole.model, *([whole.text] if whole.text else [])))

    def sheet(self, task: Retrieval) -> Sheet:
        """See `Scorer`."""
        encoder = FixedEncoder(self.base(STOCK), self._whole(STOCK))
        return score_task(task, encoder, seed=self.rules.seed).sheets[0]

    def work(self, task: Retrieval, some: Sequence[Configuration]) -> float:
        """See `Scorer`."""
        taken = of_folder(self.encoder).text is not None
        ways = {one.encoding: self._before_vectors(one) for one in some if not (taken and one.fix.text)}
        parts = [(CachedEncoder(self.encoder, way.model), way) for way in ways.values()]
        return sum(encoding_work(base, way, part, role) for base, way in parts for role, part in texts_of(task))

    def measure(
        self,
        task: Retrieval,
        some: Sequence[Configuration],
        *,
        advance: Advance = lambda _: None,
        keep: bool = True,
    ) -> dict[str, Measured]:
        """See `Scorer`; `keep` holds vectors in memory for the next call."""
        found: dict[str, Measured] = {}
        for inside, same_inside in groupby(_in_order(some), key=lambda one: one.inside):
            for _, alike in groupby(same_inside, key=lambda one: one.encoding):
                found.update(self._measure_alike(task, list(alike), advance))
            if not keep and inside in self.bases:
                self.bases[inside].forget()
        return found

    def refusals(self, task: Retrieval) -> dict[str, str]:
        """See `Scorer`."""
        where = (task.name, task.split)
        return {notation: why for (*at, notation), why in self._refused.items() if tuple(at) == where}

    def _measure_alike(
        self, task: Retrieval, members: Sequence[Configuration], advance: Advance
    ) -> dict[str, Measured]:
        """Configurations that differ only in what comes after the vectors of texts."""
        tokens = self._tried(task, members, lambda: self._encode(task, members[0], advance))
        if tokens is None:
            return {}
        made = {str(one): self._tried(task, [one], partial(self._score, task, one, tokens)) for one in members}
        return {notation: measured for notation, measured in made.items() if measured is not None}

    def _tried(self, task: Retrieval, members: Sequence[Configuration], act: Callable[[], T]) -> T | None:
        try:
            return act()
        except (FixError, ModelError, NotationError) as error:
            self._refused.update({(task.name, task.split, str(one)): str(error) for one in members})
            return None

    def _encode(self, task: Retrieval, one: Configuration, advance: Advance) -> tuple[int, int]:
        """Have all texts go through the model; returns tokens of the documents, and how many were new to it."""
        base = self.base(one)
        encoder = FixedEncoder(base, self._before_vectors(one))
        before = base.tokens, base.fresh
        encoder.encode_pieces(task.documents.texts, task.documents.ids, role="document", advance=advance)
        tokens = base.tokens - before[0], base.fresh - before[1]
        encoder.encode_pieces(task.queries.texts, task.queries.ids, role="query", advance=advance)
        return tokens

    def _score(self, task: Retrieval, one: Configuration, read: tuple[int, int]) -> Measured:
        # Queries of a probe are made of the very documents, which no log of searches is.
        texts = unlabelled(task, "sentences" if task.split == PROBE else self.rules.learn_from)
        encoder = fit_pipeline(self.base(one), self._whole(one), texts, seed=self.rules.seed)
        several = encoder.encode_several(task.documents.texts, task.documents.ids, role="document")
        documents, owners = several.flat, None if several.is_single else several.owners
        queries = encoder.encode(task.queries.texts, task.queries.ids, role="query")
        directed = (lambda vectors: vectors) if encoder.inner_product else unit
        scores = main_scores(task, directed(queries.vectors), directed(documents.vectors), owners)
        counts = {Group.DOCUMENTS: len(texts.documents), Group.QUERIES: len(texts.queries)}
        sizes = {group: min(count, LEARNED_FROM) for group, count in counts.items()}
        seen = encoder.fitted.learned_from  # vectors, of which a text may have several
        fitted = {str(group): sizes.get(group) or seen.get(str(group), 0) for group in sorted(needed_by(one.fix))}
        tokens, fresh = read
        kept, dim = len(documents) / len(task.documents), documents.vectors.shape[1]
        return Measured(scores, tokens, kept, dim, fitted, fresh)


def _in_order(some: Sequence[Configuration]) -> list[Configuration]:
    """Those with the same inside together, and among them those whose texts are cut alike, else in their order."""
    insides = list(dict.fromkeys(one.inside for one in some))
    ways = list(dict.fromkeys(one.encoding for one in some))
    return sorted(some, key=lambda one: (insides.index(one.inside), ways.index(one.encoding)))
