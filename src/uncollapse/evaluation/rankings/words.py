"""Word matching by BM25, the search that needs no model; only this file knows bm25s."""

import importlib.metadata
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.errors import CorpusError, UncollapseError
from uncollapse.evaluation.rankings.languages import PLAIN, library, read_language, snowball
from uncollapse.evaluation.rankings.retrieval import Ints, Retrieved, assemble_ranking, own_documents, tie_places
from uncollapse.evaluation.rankings.trec_eval import DEPTH
from uncollapse.evaluation.tasks import Retrieval, Task
from uncollapse.measures.search import Hits

BM25 = "bm25"
"""What results call this ranking."""

K1, B = 1.5, 0.75
"""How soon a repeated word stops counting, and how much a document's length is held against it."""

STOP_WORDS = {
    **{"danish": "danish", "dutch": "dutch", "dutch_porter": "dutch", "english": "english", "french": "french"},
    **{"german": "german", "italian": "italian", "norwegian": "norwegian", "porter": "english"},
    **{"portuguese": "portuguese", "russian": "russian", "spanish": "spanish", "swedish": "swedish"},
    "turkish": "turkish",
}
"""Whose stop words, in bm25s, are left out with the stems of each Snowball language; of the others none are."""

PACKAGES = ("bm25s", "PyStemmer")

Floats = npt.NDArray[np.float64]


def check_words(language: str, tasks: Sequence[Task], names: Sequence[str] = ()) -> None:
    """Refuse before the work what word matching could not do.

    Args:
        language: as for `read_language`.
        tasks: those to be searched, of which one at least must be a search.
        names: of the models beside it.

    Raises:
        MissingExtraError: bm25s or PyStemmer is not installed.
        UncollapseError: a language that Snowball does not know, no task that is a search, or a model of its name.
    """
    _matcher()
    read_language(language)
    if not any(isinstance(task, Retrieval) for task in tasks):
        kinds = ", ".join(sorted({task.kind for task in tasks})) or "nothing"
        raise UncollapseError(
            f"Word matching ranks documents, and what was given is {kinds}, so bm25 (--bm25) would do nothing. Leave "
            "it out, or give a search: documents, queries and judgements."
        )
    if BM25 in names:
        raise UncollapseError(
            f"Results call the ranking by words {BM25!r}, and a model has that name too. Rename the model's folder."
        )


def left_out_note(tasks: Sequence[Task]) -> list[str]:
    """Which tasks word matching has nothing to say about."""
    others = [f"{task.name}/{task.split} ({task.kind})" for task in tasks if not isinstance(task, Retrieval)]
    return [f"{BM25} ranks documents, so it was left out of {', '.join(others)}"] if others else []


def describe_words(language: str) -> dict[str, Any]:
    """What was searched with, as an entry of `Result.about`."""
    return {
        "name": BM25,
        "language": language,
        "stems": language != PLAIN,
        "stop_words": STOP_WORDS.get(language),
        "k1": K1,
        "b": B,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
    }


def rank_words(task: Retrieval, language: str, *, seed: int = 0) -> Retrieved:
    """Rank the documents of a task by the words they share with each query.

    score = sum over the query's words w of idf(w) tf / (tf + k1 (1 - b + b length / mean length)), where tf counts w
    in the document, idf(w) = log(1 + (N - n + 0.5) / (n + 0.5)), n of N documents have w, k1 = 1.5 and b = 0.75.

    A word is a run of two or more letters, marks on them, digits or underscores, in lower case, cut to its stem. Only
    documents that share a word are found, at most 1000, and texts are read to their ends. Of equal scores the larger
    id comes first. A query that lies among the documents does not find itself.

    Args:
        task: its texts and judgements.
        language: of Snowball's stems, with bm25s's stop words left out where it has them for it; "plain" for neither.
        seed: of the random documents that length is held against.

    Returns:
        The ranking; lengths are counted in its words, stop words apart.

    Raises:
        MissingExtraError: bm25s or PyStemmer is not installed.
        CorpusError: no query shares a word with any document.

    >>> from uncollapse.evaluation.tasks import Texts
    >>> documents = Texts(("a", "b"), ("Dogs run over green grass.", "An old boat on the water."))
    >>> task = Retrieval("docs", "test", documents, Texts(("q",), ("running dogs",)), {"q": {"a": 1}})
    >>> rank_words(task, "english").ranked.top.tolist()
    [[0, -1]]

    Reference:
        Robertson & Zaragoza (2009), The Probabilistic Relevance Framework: BM25 and Beyond; the variant of Lucene as
        Kamphuis et al. (2020), Which BM25 Do You Mean?, write it; Lu (2024), BM25S, arXiv 2407.03618.
    """
    documents, queries = (_cut(part.texts, language) for part in (task.documents, task.queries))
    words = _Words.of(documents, queries)
    hits = words.search(tie_places(task.documents.ids), own_documents(task), min(DEPTH, len(task.documents)))
    silent = int((hits.documents[:, 0] < 0).sum())
    if silent == len(task.queries):
        raise CorpusError(
            f"Expected queries that share words with documents, got {silent} of {task.name}/{task.split} that share "
            "none: word matching (--bm25) finds nothing. A word is a run of letters or digits: texts that put no "
            "blanks between words have few. Leave it out, or cut the texts into words first."
        )
    of_queries, of_documents = (np.array([*map(len, part)], np.int64) for part in (queries, documents))
    found = assemble_ranking(
        task, hits, words.scores, query_lengths=of_queries, document_lengths=of_documents, seed=seed
    )
    return replace(found, notes=(*found.notes, *_silence(silent, len(queries))))


@dataclass(frozen=True, eq=False)
class _Words:
    """An index of documents, and the queries as the numbers of the words that it holds."""

    index: Any
    queries: list[list[int]]

    @classmethod
    def of(cls, documents: list[list[str]], queries: list[list[str]]) -> "_Words":
        if not any(documents):
            return cls(None, [[] for _ in queries])
        index = _matcher().BM25(k1=K1, b=B, method="lucene", dtype="float64", backend="numpy")
        index.index(documents, show_progress=False)
        return cls(index, [index.get_tokens_ids(words) for words in queries])

    def search(self, places: Ints, own: Ints, depth: int) -> Hits:
        """The best documents of each query, those without any of its words apart."""
        documents = np.full((len(self.queries), depth), -1, np.int64)
        scores = np.full(documents.shape, np.nan)
        for row, words in enumerate(self.queries):
            if words:
                best, values = _best(self._score(row), places, int(own[row]), depth)
                documents[row, : len(best)], scores[row, : len(best)] = best, values
        return Hits(documents, scores)

    def scores(self, rows: Ints, columns: Ints) -> Floats:
        """Of some pairs of a query and a document, 0 where they share no word: float64 [pairs]."""
        found, order = np.zeros(len(rows)), np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        for pairs in np.split(order, starts[1:]):
            if len(pairs) and self.queries[row := int(rows[pairs[0]])]:
                found[pairs] = self._score(row)[columns[pairs]]
        return found

    def _score(self, row: int) -> Floats:
        """A query with every document."""
        return np.asarray(self.index.get_scores_from_ids(self.queries[row]), np.float64)


def _best(scores: Floats, places: Ints, own: int, depth: int) -> tuple[Ints, Floats]:
    if own >= 0:
        scores[own] = 0.0
    some = np.flatnonzero(scores)
    if len(some) > depth:
        some = some[scores[some] >= np.partition(scores[some], -depth)[-depth]]
    best = some[np.lexsort((places[some], -scores[some]))[:depth]]
    return best, scores[best]


def _cut(texts: Sequence[str], language: str) -> list[list[str]]:
    """The words of each text, cut to their stems."""
    stemmer = None if language == PLAIN else snowball().Stemmer(language)
    words: list[list[str]] = _matcher().tokenize(
        list(texts),
        token_pattern=_word_pattern(),
        stopwords=STOP_WORDS.get(language),
        stemmer=stemmer,
        return_ids=False,
        show_progress=False,
    )
    return words


@cache
def _word_pattern() -> str:
    """What a word is; marks, such as vowel signs, are none of the letters of `re`, and words would break at them."""
    marks = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("M"))
    return rf"[\w{''.join(marks)}]{{2,}}"


def _silence(silent: int, queries: int) -> tuple[str, ...]:
    said = f"{silent} of {queries} queries share no word with a document that they may find, and count as 0"
    return (said,) if silent else ()


def _matcher() -> Any:
    return library("bm25s", "bm25s")
