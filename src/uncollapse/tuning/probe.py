"""A search with known answers out of unlabelled documents: a sentence asks for the document it was taken out of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.corpora.texts import Text
from uncollapse.diagnosis.costs.sentences import draw, locate_sentences, once_only, quotable
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.pipelines.fitting import Unlabelled
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir

PROBE = "inverse cloze"
"""What the probe is called, and the split of its task."""

FEWEST_SENTENCES = 4
"""Sentences a document must have: one is taken out of it, and something must be left to find."""

FIRST = 100
"""Documents of the smallest sample of successive halving."""


@dataclass(frozen=True)
class Probe:
    """Documents in random order, from most of which a sentence was taken out.

    Args:
        task: every document as it is without its sentence, and the sentences as queries.
        asked: by document, in the task's order, the number of its query; -1 where it has none.
    """

    task: Retrieval
    asked: tuple[int, ...]

    def first(self, size: int) -> Retrieval:
        """The search among the first documents only, for their own sentences."""
        return self.among(size, self.asked[:size])

    def among(self, size: int, asked: Iterable[int]) -> Retrieval:
        """The search for some of the sentences among the first documents.

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

    def sizes(self) -> tuple[int, ...]:
        """Of growing samples: 100, 200, 400, ... and all."""
        n, sizes = len(self.asked), [FIRST]
        while 2 * sizes[-1] < n:
            sizes.append(2 * sizes[-1])
        return (*(size for size in sizes if size < n), n)


def make_probe(corpus: Unlabelled, name: str, *, most: int, seed: int) -> Probe:
    """The probe on a random sample of documents.

    Every document is searched without its sentence, so that each is encoded once. The sentence is drawn from all of
    the document, also from beyond what a model reads.

    Args:
        corpus: the documents.
        name: of the corpus.
        most: documents at most.
        seed: of the draw.
    """
    order = np.argsort(sampling_order(document_keys(corpus.ids), seed=seed), kind="stable")[:most].tolist()
    ids, texts = [corpus.ids[row] for row in order], [corpus.documents[row] for row in order]
    located = [locate_sentences(text) for text in texts]
    once = once_only(sentence for sentences in located for sentence in sentences)
    rests: list[str] = []
    queries: dict[str, tuple[str, str]] = {}
    asked: list[int] = []
    for place, (text, sentences) in enumerate(zip(texts, located, strict=True)):
        options = quotable(sentences, once) if len(sentences) >= FEWEST_SENTENCES else ()
        if not options:
            rests.append(text)
            asked.append(-1)
            continue
        sentence = draw(options, f"{ids[place]}\0cloze", seed=seed)
        before, after = text[: sentence.start].rstrip(), text[sentence.stop :].lstrip()
        rests.append(f"{before} {after}".strip())
        asked.append(len(queries))
        queries[f"sentence of {ids[place]}"] = (sentence.text, ids[place])
    return Probe(_task(name, ids, rests, queries), tuple(asked))


def _task(name: str, ids: Sequence[str], rests: Sequence[str], queries: dict[str, tuple[str, str]]) -> Retrieval:
    return Retrieval(
        name,
        PROBE,
        Texts(tuple(ids), tuple(rests)),
        Texts(tuple(queries), tuple(sentence for sentence, _ in queries.values())),
        {query: {document: 1} for query, (_, document) in queries.items()},
        notes=(
            f"{len(queries):,} of {len(ids):,} documents have a sentence that can be asked for: four sentences or "
            "more, and one of 6 to 40 words that occurs only once",
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
