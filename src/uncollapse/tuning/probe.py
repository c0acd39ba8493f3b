"""A search with known answers out of unlabelled documents: queries made out of a document ask for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.corpora.texts import Text
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir
from uncollapse.tuning.queries import FEWEST_WORDS, KINDS, SHINGLE, make_queries, read_sources
from uncollapse.tuning.rules import PROBE

FIRST = 100
"""Documents of the smallest sample of successive halving."""


@dataclass(frozen=True)
class Probe:
    """Documents in random order, most of which are asked for.

    Args:
        task: every document as it is, and one query of every kind for each that is asked for, those of one document
            in a row.
        asked: by document, in the task's order, its place among those asked for; -1 where it is not.
    """

    task: Retrieval
    asked: tuple[int, ...]

    def first(self, size: int) -> Retrieval:
        """The search among the first documents only, for themselves."""
        return self.among(size, self.asked[:size])

    def among(self, size: int, asked: Iterable[int]) -> Retrieval:
        """The search for some of the documents among the first.

        Args:
            size: documents that are searched.
            asked: places of those that are asked for, which are among them; -1 for none.
        """
        documents, queries = self.task.documents, self.task.queries
        chosen = [row for place in asked if place >= 0 for row in range(place * len(KINDS), (place + 1) * len(KINDS))]
        names = tuple(queries.ids[row] for row in chosen)
        return Retrieval(
            self.task.name,
            self.task.split,
            Texts(documents.ids[:size], documents.texts[:size]),
            Texts(names, tuple(queries.texts[row] for row in chosen)),
            {name: self.task.judgements[name] for name in names},
            notes=self.task.notes,
        )

    def count(self, size: int) -> int:
        """How many of the first documents are asked for."""
        return sum(place >= 0 for place in self.asked[:size])

    def sizes(self) -> tuple[int, ...]:
        """Of growing samples: 100, 200, 400, ... and all."""
        n, sizes = len(self.asked), [FIRST]
        while 2 * sizes[-1] < n:
            sizes.append(2 * sizes[-1])
        return (*(size for size in sizes if size < n), n)


def by_document(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores of the queries of a probe: float64 [documents asked for, kinds of queries]."""
    return scores.reshape(-1, len(KINDS))


def make_probe(corpus: Unlabelled, name: str, *, most: int, seed: int) -> Probe:
    """The probe on a random sample of documents.

    The documents stay as they are, so that what is encoded for the probe is encoded for the corpus. Queries are made
    of all of a document, also of what lies beyond what a model reads.

    Args:
        corpus: the documents.
        name: of the corpus.
        most: documents at most.
        seed: of the draws.
    """
    order = np.argsort(sampling_order(document_keys(corpus.ids), seed=seed), kind="stable")[:most].tolist()
    ids, texts = [corpus.ids[row] for row in order], [corpus.documents[row] for row in order]
    queries: dict[str, tuple[str, str]] = {}
    asked: list[int] = []
    for document, source in zip(ids, read_sources(texts), strict=True):
        asked.append(-1 if source is None else len(queries) // len(KINDS))
        if source is not None:
            made = zip(KINDS, make_queries(source, document, seed=seed), strict=True)
            queries.update({f"{kind} of {document}": (query, document) for kind, query in made})
    return Probe(_task(name, ids, texts, queries), tuple(asked))


def _task(name: str, ids: Sequence[str], texts: Sequence[str], queries: dict[str, tuple[str, str]]) -> Retrieval:
    return Retrieval(
        name,
        PROBE,
        Texts(tuple(ids), tuple(texts)),
        Texts(tuple(queries), tuple(query for query, _ in queries.values())),
        {query: {document: 1} for query, (_, document) in queries.items()},
        notes=(
            f"{len(queries) // len(KINDS):,} of {len(ids):,} documents are asked for by a stretch of them: "
            f"those of {FEWEST_WORDS} words or more, with {SHINGLE} in a row that no other has",
        ),
    )


def sample_texts(texts: Iterable[Text], *, most: int, seed: int) -> Unlabelled:
    """A random sample of a corpus that streams, the same whatever its order.

    Args:
        texts: of the corpus.
        most: documents at most.
        seed: of the draw.
    """
    kept = Reservoir(most, seed)
    for text in texts:
        place = int(sampling_order(document_keys([text.id]), seed=seed)[0])
        kept.offer(place, Kept(text.id, text.text, 0))
    documents = kept.documents()
    return Unlabelled(tuple(one.id for one in documents), tuple(one.text for one in documents))
