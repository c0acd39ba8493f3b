"""A whole trial: every task under the stock model and under every fix, as one result."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, Scorable, inside, reading_under
from uncollapse.errors import CorpusError, UncollapseError
from uncollapse.evaluation.comparison import STOCK, Plan, compare, items_of
from uncollapse.evaluation.rankings.languages import read_language
from uncollapse.evaluation.rankings.retrieval import Retrieved, ranking_sheets, read_ranking
from uncollapse.evaluation.rankings.run_files import check_names
from uncollapse.evaluation.rankings.words import BM25, check_words, describe_words, left_out_note
from uncollapse.evaluation.reading.trec import Run
from uncollapse.evaluation.scoring import (
    Scored,
    counted_like,
    learned_note,
    score_task,
    score_words,
    texts_of,
    unlabelled,
)
from uncollapse.evaluation.tasks import Clustering, Judgements, Retrieval, SummaryEvaluation, Task
from uncollapse.evaluation.verdicts import judge
from uncollapse.fixes import Composition, Fix, compose
from uncollapse.pipelines.encoder import FixedEncoder, encoding_work, of_folder
from uncollapse.pipelines.fitting import fit_pipeline
from uncollapse.pipelines.pieces import check_text_fix
from uncollapse.progress import Reporter, Silent
from uncollapse.provenance import describe_model, describe_run
from uncollapse.records import Item, Result, Row

Settings = dict[str, tuple[Scorable, Composition]]
"""What is compared, by name: models with their fixes; the first is the stock model."""

MOST_ITEMS = 2000
"""Scored items kept in a result for the eye; all of them go to the sink."""


class Nowhere:
    """Keeps nothing."""

    def write(self, dataset: str, fix: str, scored: Scored) -> None:
        """Forget it."""


class Sink(Protocol):
    """Where the scores of every item go."""

    def write(self, dataset: str, fix: str, scored: Scored) -> None: ...


@dataclass(frozen=True)
class _Part:
    """What one data set adds to a result."""

    rows: tuple[Row, ...]
    items: tuple[Item, ...]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class _Trial:
    """What the data sets of one trial share, be it of fixes or of runs.

    Args:
        name: of the model, or of the first run.
        plan: how numbers are made.
        sink: gets the scores of every item.
        reporter: shows how far the work is.
        most: items of a data set kept for the eye.
        language: of the word matching that stands beside the models in every search; None for none.
    """

    name: str
    plan: Plan
    sink: Sink
    reporter: Reporter
    most: int
    language: str | None = None

    def examine(self, facts: Mapping[str, Any], scored: Mapping[str, Scored]) -> _Part:
        """Compare the settings on one data set; `facts` is what a reader is told about it."""
        dataset, main = facts["dataset"], facts["main"]
        with self.reporter.track(f"comparing {dataset}", None, "numbers") as advance:
            compared = compare(dataset, main, scored, self.plan)
            advance(len(compared.rows))
        rows = tuple(replace(row, model=self.name) for row in compared.rows)
        items = items_of(dataset, main, scored, most=self.most, seed=self.plan.seed)
        for fix, one in scored.items():
            self.sink.write(dataset, fix, one)
        return _Part(rows, items, {**facts, "undefined": compared.undefined})

    def conclude(
        self,
        parts: Sequence[_Part],
        fixes: list[str],
        rivals: Collection[str],
        *,
        subject: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> Result:
        """The result of all data sets.

        Args:
            parts: one a data set.
            fixes: the settings.
            rivals: those that are models or runs of their own.
            subject: what was tried.
            facts: whatever else a reader is told.
        """
        rows = tuple(row for part in parts for row in part.rows)
        tasks = [part.about for part in parts]
        return Result(
            rows=rows,
            verdict=judge(rows, tasks, fixes, self.name, rivals),
            items=tuple(item for part in parts for item in part.items),
            about={
                "title": _title(self.name, fixes),
                **subject,
                "tasks": tasks,
                "fixes": fixes,
                **_describe_plan(self.plan),
                **facts,
            },
        )


def evaluate(
    encoder: Scorable,
    tasks: Sequence[Task],
    fixes: Sequence[Fix] = (),
    *,
    against: Sequence[Scorable] = (),
    bm25: str | None = None,
    plan: Plan | None = None,
    cache: Path | None = None,
    sink: Sink | None = None,
    progress: Reporter | None = None,
) -> Result:
    """Score a model on tasks, by length, and compare fixes and other models with it in pairs.

    All lengths are those that the first model counts, so that a length bin holds the same items under every setting.

    Args:
        encoder: from `load`, with the token limit it is to be judged with; also an exported model.
        tasks: from `open_tasks`.
        fixes: each is compared with the model as it came; an exported one takes none that act inside it.
        against: so is each of these models; the rows that are theirs have its name for a fix.
        bm25: so is word matching, on every task that is a search, as "bm25": the language of the texts, of Snowball's
            ("english", "german"), or "plain" for neither stems nor stop words; see `rank_words`.
        plan: bins, bootstrap, tests and seed.
        cache: folder where vectors are kept, so that the next run finds them; None keeps none.
        sink: gets the scores of every item.
        progress: shows how far the work is.

    Returns:
        Rows with n, interval and length bin, p-values of the comparisons, the findings in plain words, scored items,
        and what is needed to do it again.

    Raises:
        UncollapseError: no task, a fix that this model cannot take, vectors that cannot be scored, or word matching
            without a task that is a search.
        MissingExtraError: word matching without bm25s and PyStemmer.

    >>> from uncollapse import evaluate, load, open_tasks, parse
    >>> tasks = open_tasks("scifact")  # doctest: +SKIP
    >>> result = evaluate(load("minilm"), tasks, [parse("temperature(0.9)")])  # doctest: +SKIP
    >>> row = result.select(measure="ndcg@10_gain", view="overall")[0]  # doctest: +SKIP
    """
    settings = _settings(encoder, fixes, against)
    _check_tasks(tasks)
    if bm25 is not None:
        bm25 = read_language(bm25)
        check_words(bm25, tasks, [encoder.name, *(other.name for other in against)])
    most = MOST_ITEMS // len(tasks)
    trial = _Trial(encoder.name, plan or Plan(), sink or Nowhere(), progress or Silent(), most, bm25)
    with _kept(cache, settings) as folder:
        bases = _bases(settings, folder)
        parts = [_try(task, settings, bases, trial) for task in tasks]
    notes = [*encoder.notes, *(f"{other.name}: {note}" for other in against for note in other.notes)]
    notes += [note for one in bases.values() for note in one.notes]
    notes += [note for _, fix in settings.values() for note in learned_note(fix, tasks, trial.plan.learn_from)]
    words = [] if bm25 is None else [describe_words(bm25)]
    notes += left_out_note(tasks) if words else []
    counts = {
        "encoded": sum(one.encoded for one in bases.values()),
        "from the cache": sum(one.reused for one in bases.values()),
    }
    rivals = [*(describe_model(other) for other in against), *words]
    others = {"against": rivals} if rivals else {}
    return trial.conclude(
        parts,
        [*settings, *(one["name"] for one in words)],
        [one["name"] for one in rivals],
        subject={"model": describe_model(encoder), **others},
        facts={"vectors": counts, "notes": list(dict.fromkeys(notes))},
    )


def evaluate_runs(
    runs: Sequence[Run],
    judgements: Judgements,
    lengths: Mapping[str, int],
    *,
    name: str,
    query_lengths: Mapping[str, int] | None = None,
    unit: str = "",
    plan: Plan | None = None,
    sink: Sink | None = None,
) -> Result:
    """Score rankings of any search engine, by length, without any model.

    Args:
        runs: from `read_run`; further ones are compared with the first in pairs.
        judgements: from `read_qrels`.
        lengths: of every document of the corpus, in tokens or words, from `read_lengths`.
        name: of the data, for headings.
        query_lengths: of every judged query, if known.
        unit: what lengths are counted in, in the plural; "" where that is not known.
        plan: bins, bootstrap, tests and seed.
        sink: gets the scores of every item.

    Raises:
        CorpusError: no relevant document, a document or judged query without a length, a run without any judged
            query, or two runs of one name.
    """
    judged = {query: grades for query, grades in judgements.items() if max(grades.values(), default=0) > 0}
    if not runs or not judged:
        raise CorpusError(
            f"Expected at least one run and one query with a relevant document, got {len(runs)} runs and "
            f"{len(judged)} such queries among {len(judgements)}. Check that the judgements have grades above 0."
        )
    check_names(runs, first=STOCK)
    rankings = {_run_name(run, i): read_ranking(run, judged, lengths, query_lengths) for i, run in enumerate(runs)}
    scored = {fix: Scored(ranking_sheets(one), one, {}, one.notes) for fix, one in rankings.items()}
    trial = _Trial(runs[0].name, plan or Plan(), sink or Nowhere(), Silent(), MOST_ITEMS)
    facts = {"dataset": name, "kind": Retrieval.kind, "main": Retrieval.main, **_describe_retrieved(rankings[STOCK])}
    facts |= {"unit": unit, "notes": _notes_of_runs(runs, list(rankings.values()))}
    part = trial.examine(facts, scored)
    left_out = len(judgements) - len(judged)
    notes = [f"{left_out} queries without a relevant document were left out"] if left_out else []
    subject = {"runs": [run.name for run in runs]}
    return trial.conclude([part], list(scored), list(scored)[1:], subject=subject, facts={"notes": notes})


def label(task: Task) -> str:
    """Name and split of a task, as in `Row.dataset`."""
    kind = f" {task.kind}" if isinstance(task, Clustering | SummaryEvaluation) else ""
    return f"{task.name}/{task.split}{kind}"


def describe(task: Task, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """What a task is, for readers."""
    first = next(iter(scored.values()))
    facts: dict[str, Any] = {"dataset": label(task), "kind": task.kind, "main": task.main}
    if first.ranking:
        facts |= _describe_retrieved(first.ranking)
    else:
        facts[f"n_{first.sheets[0].items}"] = len(first.sheets[0])
    others = (f"{fix}: {note}" for fix, one in scored.items() for note in one.notes if note not in first.notes)
    facts["notes"] = list(dict.fromkeys((*task.notes, *first.notes, *others)))
    return facts


def _describe_retrieved(ranking: Retrieved) -> dict[str, Any]:
    ranked = ranking.ranked
    groups = {} if ranking.shared is not None else {"n_groups": len(set(ranked.groups))}
    return {
        "n_documents": len(ranked.lengths),
        "n_queries": len(ranked),
        **groups,
        "n_judged": len(ranked.judged),
        "n_relevant": int((ranked.judged.grade > 0).sum()),
    }


def _describe_plan(plan: Plan) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "replicates": plan.replicates,
        "resamples": plan.resamples,
        **describe_run("scikit-learn", "scipy", "ir-measures"),
    }


def _settings(encoder: Scorable, fixes: Sequence[Fix], against: Sequence[Scorable]) -> Settings:
    """The stock model, every fix by its notation and every other model; a fix that it cannot take is refused here."""
    settings: Settings = {STOCK: (encoder, of_folder(encoder))}
    given = [*((str(fix), encoder, fix) for fix in fixes), *((other.name, other, None) for other in against)]
    for name, model, fix in given:
        if name in (*settings, encoder.name):
            raise UncollapseError(f"Each fix and model is compared once, but {name!r} was given twice. Give it once.")
        settings[name] = (model, Composition((*of_folder(model).parts, *compose(fix).parts)))
        for one in settings[name][1].model:
            with patch(inside(model, f"`{one}`"), one):
                pass
        if text := settings[name][1].text:
            check_text_fix(text, reading_under(model, settings[name][1].model))
    return settings


def _bases(settings: Settings, cache: Path | None) -> dict[tuple[int, str], CachedEncoder]:
    """An encoder for every model and what is put on its inside; fixes that differ elsewhere share one."""
    bases: dict[tuple[int, str], CachedEncoder] = {}
    for model, fix in settings.values():
        bases.setdefault(_base_key(model, fix), CachedEncoder(model, fix.model, folder=cache))
    return bases


@contextmanager
def _kept(cache: Path | None, settings: Settings) -> Iterator[Path | None]:
    """Where vectors are kept: for the time being, if no longer, where fixes are fitted to what is scored after it."""
    if cache is not None or not any(fix.is_fitted_to_corpus for _, fix in settings.values()):
        yield cache
        return
    with TemporaryDirectory(prefix="uncollapse-") as folder:
        yield Path(folder)


def _base_key(model: Scorable, fix: Composition) -> tuple[int, str]:
    return id(model), str(Composition(fix.model))


def _try(task: Task, settings: Settings, bases: Mapping[tuple[int, str], CachedEncoder], trial: _Trial) -> _Part:
    """One task under every setting; what a fix learns, it learns from the texts of the task, without their labels."""
    scored: dict[str, Scored] = {}
    words = _match_words(task, trial)  # before hours of encoding, as it may find nothing
    for name, (model, fix) in settings.items():
        base, seed = bases[_base_key(model, fix)], trial.plan.seed
        encoder = _fit(base, fix, task, trial)
        work = sum(encoding_work(base, fix, part, role) for role, part in texts_of(task))
        with trial.reporter.track(label(task) if name == STOCK else name, work, "characters") as advance:
            found = score_task(task, encoder, approximate=trial.plan.approximate, seed=seed, advance=advance)
        scored[name] = found if model is settings[STOCK][0] else counted_like(found, scored[STOCK])
    scored |= {name: counted_like(found, scored[STOCK]) for name, found in words.items()}
    limits = {name: bases[_base_key(model, fix)].max_tokens for name, (model, fix) in settings.items()}
    facts = {**describe(task, scored), "limit_tokens": limits[STOCK], "limits_tokens": limits}
    return trial.examine(facts | dict.fromkeys(words, trial.language), scored)


def _match_words(task: Task, trial: _Trial) -> dict[str, Scored]:
    """Word matching of a search, if it is asked for."""
    if trial.language is None or not isinstance(task, Retrieval):
        return {}
    with trial.reporter.track(f"{BM25} {label(task)}", len(task.queries), "queries") as advance:
        found = score_words(task, trial.language, seed=trial.plan.seed)
        advance(len(task.queries))
    return {BM25: found}


def _fit(base: CachedEncoder, fix: Composition, task: Task, trial: _Trial) -> FixedEncoder:
    if not fix.is_fitted_to_corpus:
        return FixedEncoder(base, fix)
    with trial.reporter.track(f"fitting {fix}", None, "characters") as advance:
        return fit_pipeline(base, fix, unlabelled(task, trial.plan.learn_from), seed=trial.plan.seed, advance=advance)


def _check_tasks(tasks: Sequence[Task]) -> None:
    labels = [label(task) for task in tasks]
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if not tasks or twice:
        raise UncollapseError(
            f"Expected tasks that all have another name and split, got {len(tasks)} tasks"
            f"{f', and {twice[0]!r} twice' if twice else ''}. Take them from open_tasks."
        )


def _run_name(run: Run, place: int) -> str:
    """The first run stands where the stock model stands in a trial of fixes."""
    return run.name if place else STOCK


def _notes_of_runs(runs: Sequence[Run], rankings: Sequence[Retrieved]) -> list[str]:
    """What a reader must know, with the run where it is not so of all."""
    notes = dict.fromkeys(note for ranking in rankings for note in ranking.notes)
    said = {note: [run.name for run, one in zip(runs, rankings, strict=True) if note in one.notes] for note in notes}
    return [note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in said.items()]


def _title(name: str, settings: Sequence[str]) -> str:
    others = [fix for fix in settings if fix != STOCK]
    return f"{name} against {', '.join(others)}" if others else f"{name} by length"
