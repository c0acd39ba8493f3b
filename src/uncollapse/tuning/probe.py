"""A search with known answers out of unlabelled documents: queries made out of a document ask for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.corpora.texts import Text
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir
from uncollapse.tuning.queries import FEWEST_WORDS, SHINGLE, make_query, read_sources
from uncollapse.tuning.rules import PROBE

FIRST = 100
"""Documents of the smallest sample of successive halving."""


@dataclass(frozen=True)
class Probe:
    """Documents in random order, most of which are asked for.

    Args:
        task: every document as it is, and a query for each that is asked for.
        asked: by document, in the task's order, the number of its query; -1 where it has none.
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
            asked: numbers of queries whose documents are among them; -1 for none.
        """
        documents, queries = self.task.documents, self.task.queries
        chosen = [row for row in asked if row >= 0]
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
        return sum(row >= 0 for row in self.asked[:size])

    def sizes(self) -> tuple[int, ...]:
        """Of growing samples: 100, 200, 400, ... and all."""
        n, sizes = len(self.asked), [FIRST]
        while 2 * sizes[-1] < n:
            sizes.append(2 * sizes[-1])
        return (*(size for size in sizes if size < n), n)


def make_probe(corpus: Unlabelled, name: str, *, most: int, seed: int) -> Probe:
    """The probe on a random sample of documents.

    The documents stay as they are, so that what is encoded for the probe is encoded for the corpus. A query is made
    of any part of a document, also of what lies beyond what a model reads.

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
        asked.append(-1 if source is None else len(queries))
        if source is not None:
            queries[f"stretch of {document}"] = (make_query(source, document, seed=seed), document)
    return Probe(_task(name, ids, texts, queries), tuple(asked))


def _task(name: str, ids: Sequence[str], texts: Sequence[str], queries: dict[str, tuple[str, str]]) -> Retrieval:
    return Retrieval(
        name,
        PROBE,
        Texts(tuple(ids), tuple(texts)),
        Texts(tuple(queries), tuple(query for query, _ in queries.values())),
        {query: {document: 1} for query, (_, document) in queries.items()},
        notes=(
            f"{len(queries):,} of {len(ids):,} documents are asked for by a stretch of them: "
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
