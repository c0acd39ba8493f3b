"""What a pipeline is fitted to, read from files: a sample of a corpus, and queries where there are some."""

from pathlib import Path
from typing import Any

from uncollapse.corpora import open_corpus, portions
from uncollapse.corpora.sources import BEIR_QUERIES
from uncollapse.errors import CorpusError
from uncollapse.pipelines.fitting import LEARNED_FROM, Unlabelled
from uncollapse.progress import Reporter, Silent
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir


def read_unlabelled(
    corpus: str | Path,
    *,
    queries: str | Path | None = None,
    seed: int = 0,
    progress: Reporter | None = None,
    **reading: Any,
) -> Unlabelled:
    """A random sample of at most 2,000 documents of a corpus of any size, and of at most as many queries.

    Args:
        corpus: as for `open_corpus`.
        queries: a file of queries, one record or line each; those in a BEIR folder by default. Answers are not read.
        seed: of the sample.
        progress: told about texts.
        reading: as for `open_corpus`, of the corpus.

    Raises:
        CorpusError: nothing to read.
    """
    reporter = progress or Silent()
    documents = _sample(corpus, seed, "reading the corpus", reporter, **reading)
    asked = queries or _queries_in(Path(corpus))
    known = _sample(asked, seed, "reading queries", reporter) if asked else ()
    if not documents:
        raise CorpusError(f"Expected documents in {str(corpus)!r}, got none.")
    return Unlabelled(
        tuple(one.id for one in documents), tuple(one.text for one in documents), tuple(one.text for one in known)
    )


def _queries_in(folder: Path) -> Path | None:
    return next((folder / name for name in BEIR_QUERIES if (folder / name).is_file()), None)


def _sample(source: str | Path, seed: int, what: str, reporter: Reporter, **reading: Any) -> tuple[Kept, ...]:
    kept = Reservoir(LEARNED_FROM, seed)
    with reporter.track(what, None, "texts") as advance:
        for batch in portions(open_corpus(source, **reading)):
            places = sampling_order(document_keys([text.id for text in batch]), seed=seed).tolist()
            for place, text in zip(places, batch, strict=True):
                kept.offer(place, Kept(text.id, text.text, 0))
            advance(len(batch))
    return kept.documents()
