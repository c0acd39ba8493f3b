"""What a command is given to read and to apply, looked at before anybody waits for torch."""

from collections.abc import Iterable
from pathlib import Path

from uncollapse.errors import UncollapseError


def check_tasks(paths: Iterable[str]) -> None:
    """Raise unless every set of tasks is there; those of mteb are asked of mteb itself, later.

    Args:
        paths: as for `open_tasks`, or `mteb:NAME`.

    Raises:
        CorpusError: there is none; names near to it are said.
    """
    from uncollapse.evaluation.reading.files import TASKS, find

    for path in paths:
        if not path.startswith("mteb:"):
            find(path, TASKS)


def check_rankings(runs: Iterable[Path], qrels: Path | None, lengths: Iterable[Path | None]) -> None:
    """Raise unless every file about rankings is there.

    Args:
        runs: rankings.
        qrels: judgements.
        lengths: of documents and of queries; folders of vectors know them, too.

    Raises:
        CorpusError: a file is not there, or is a folder; names near to it are said.
    """
    from uncollapse.corpora.shards import is_vector_folder
    from uncollapse.evaluation.reading.trec import LENGTHS, QRELS, RUN, trec_file

    counted = (file for file in lengths if file is not None and not is_vector_folder(file))
    kinds = [*((run, RUN) for run in runs), (qrels, QRELS), *((file, LENGTHS) for file in counted)]
    for path, what in kinds:
        if path is not None:
            trec_file(path, what)


def read_words(language: str) -> str:
    """The language of --bm25, as word matching calls it.

    Args:
        language: what came after the option, which may be the next option where somebody left the language out.

    Raises:
        UncollapseError: an option, or a language that nobody knows.
    """
    from uncollapse.evaluation.rankings.languages import read_language

    if language.startswith("-"):
        raise UncollapseError(
            f"--bm25 takes the language of the texts, and the option {language!r} came instead. Write --bm25 english "
            f"{language} ..., or --bm25 plain for words as they are written."
        )
    return read_language(language)
