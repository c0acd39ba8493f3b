"""The race of all fixes on a user's data: chosen on some queries, scored on others, by length, beside their cost."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uncollapse.corpora.texts import Corpus
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError, FixError
from uncollapse.evaluation.scoring import learned_note, unlabelled
from uncollapse.evaluation.tasks import Retrieval, Task
from uncollapse.fixes.statistics import Group
from uncollapse.pipelines.fitting import needed_by
from uncollapse.progress import Reporter, Silent
from uncollapse.provenance import describe_model, describe_run
from uncollapse.records import Result
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import CONTENDERS, Contender
from uncollapse.tuning.probe import FIRST, Probe, make_probe, sample_texts
from uncollapse.tuning.queries import FEWEST_WORDS
from uncollapse.tuning.rows import heat_rows
from uncollapse.tuning.rules import Rules
from uncollapse.tuning.trials import Heat, probe_blindly, race_task
from uncollapse.tuning.verdict import find_winner, judge_race


def compare(
    encoder: SentenceEncoder,
    data: Corpus | Sequence[Task],
    contenders: Sequence[Contender] | None = None,
    *,
    rules: Rules | None = None,
    cache: Path | None = None,
    progress: Reporter | None = None,
) -> Result:
    """Race families of fixes on your own data; doing nothing can win.

    With judged queries, the dial of every family is chosen on some of them and scored on the others, over and over, so
    that no gain is flattered by the choice. Gains are tested in pairs, corrected for the number of families, and
    looked at by length. Without labels queries are made out of the documents, and the verdict says so.

    Args:
        encoder: from `load`, with the token limit it is to be judged with.
        data: retrieval tasks from `open_tasks`, or a corpus from `open_corpus`.
        contenders: families, as from `read_contenders`; all of CONTENDERS if not given. Of those, what this model or
            corpus cannot take is left out, and said; what is given here by name raises instead.
        rules: splits, bins, sizes and seed.
        cache: folder where vectors are kept, so that the next run finds them; None keeps none.
        progress: shows how far the work is.

    Returns:
        Rows with n, interval and p; about["races"] says for each data set who raced, what was chosen and who won.

    Raises:
        UncollapseError: data that are no retrieval tasks, no documents, or a named fix that cannot be used.

    >>> from uncollapse import compare, load, open_tasks
    >>> result = compare(load("minilm"), open_tasks("scifact"))  # doctest: +SKIP
    >>> result.verdict[0].title  # doctest: +SKIP
    """
    rules, progress = rules or Rules(), progress or Silent()
    families = CONTENDERS if contenders is None else tuple(contenders)
    bench = Bench(encoder, rules, cache=cache)
    if contenders is not None:
        check_inside(bench, families)
    if isinstance(data, Corpus):
        heats = [_race_corpus(data, families, bench, progress)]
    else:
        heats = [_race_labelled(task, families, bench, progress) for task in only_searches(data)]
    if contenders is not None:
        refuse_failed(heats)
    return _conclude(encoder, heats, bench, data)


def check_inside(bench: Bench, families: Iterable[Contender]) -> None:
    """Raise ModelError where the model cannot take what is to be put on its inside, before anything is encoded."""
    for contender in families:
        for one in contender.configurations:
            bench.base(one)


def only_searches(tasks: Sequence[Task]) -> list[Retrieval]:
    """The tasks, which must be retrieval."""
    searches = [task for task in tasks if isinstance(task, Retrieval)]
    if not searches or len(searches) < len(tasks):
        kinds = ", ".join(sorted({task.kind for task in tasks})) or "none"
        raise CorpusError(
            f"Fixes are raced on retrieval, got tasks of kind: {kinds}. Give a BEIR folder (corpus.jsonl, "
            "queries.jsonl, qrels/), or documents alone; `uncollapse evaluate --fix` compares fixes on other tasks."
        )
    return searches


def refuse_failed(heats: Sequence[Heat]) -> None:
    """Raise where something that was named could not be used."""
    for heat in heats:
        if not heat.families and heat.left_out:
            raise FixError(next(iter(heat.left_out.values())))


def read_probe(data: Corpus | Retrieval, rules: Rules, progress: Reporter, *, most: int) -> Probe:
    """The probe without labels on a corpus, or on the documents of a task.

    Raises:
        CorpusError: no document.
    """
    if isinstance(data, Retrieval):
        return make_probe(unlabelled(data, "sentences"), data.name, most=most, seed=rules.seed)
    with progress.track("reading the corpus", None, "texts") as advance:
        texts = sample_texts(counted(data, advance), most=most, seed=rules.seed)
    return make_probe(texts, data.name, most=most, seed=rules.seed)


def counted(texts: Iterable[Any], advance: Any) -> Iterable[Any]:
    """The same texts, each told about."""
    for text in texts:
        advance(1)
        yield text


def _race_corpus(corpus: Corpus, families: Sequence[Contender], bench: Bench, progress: Reporter) -> Heat:
    probe = read_probe(corpus, bench.rules, progress, most=bench.rules.documents)
    if not probe.task.queries.ids:
        raise CorpusError(
            f"{corpus.name}: fixes are raced on queries made out of the documents, but none of {len(probe.asked)} has "
            f"{FEWEST_WORDS} words or more, and four in a row that no other has. Give longer documents, or a BEIR "
            "folder with queries and answers."
        )
    return race_task(probe.task, families, bench, bench.rules, blind=None, progress=progress)


def _race_labelled(task: Retrieval, families: Sequence[Contender], bench: Bench, progress: Reporter) -> Heat:
    probe = read_probe(task, bench.rules, progress, most=beside_labels(len(task.documents), families, bench.rules))
    blind = probe_blindly(probe, families, bench, progress)
    return race_task(task, families, bench, bench.rules, blind=blind, progress=progress)


def beside_labels(documents: int, families: Sequence[Contender], rules: Rules) -> int:
    """Documents of a probe that only says what it would have chosen: read in every way, about as many as the corpus.

    >>> from uncollapse.tuning.contenders import read_contenders
    >>> [beside_labels(n, read_contenders(["temperature"]), Rules()) for n in (300, 600, 6000)]
    [100, 150, 200]
    """
    ways = {STOCK.encoding, *(one.encoding for family in families for one in family.configurations)}
    return min(rules.beside_labels, max(FIRST, documents // len(ways)))


def _conclude(encoder: SentenceEncoder, heats: Sequence[Heat], bench: Bench, data: Corpus | Sequence[Task]) -> Result:
    rules = bench.rules
    rows = tuple(row for heat in heats for row in heat_rows(heat, rules))
    races = [heat_facts(heat) for heat in heats]
    for facts in races:
        winner = find_winner(rows, facts)
        facts["winner"] = winner.name if winner else None
    title = f"{encoder.name}: which fix pays"
    notes = (*encoder.notes, *bench.notes, *_notes(heats, data, rules))
    corpus = {"corpus": {"name": data.name, "description": data.description}} if isinstance(data, Corpus) else {}
    about = {
        "title": title, "model": describe_model(encoder), **corpus, "races": races, **describe_rules(rules),
        "vectors": bench.counts, "notes": list(dict.fromkeys(notes)),
    }  # fmt: skip
    return Result(rows=rows, verdict=judge_race(rows, races, encoder.name), about=about)


def describe_rules(rules: Rules) -> dict[str, Any]:
    """How the numbers were made, as entries of `Result.about`."""
    return {
        "seed": rules.seed, "replicates": rules.replicates, "resamples": rules.resamples, "folds": rules.folds,
        "repeats": rules.repeats, **describe_run("scipy", "ir-measures"),
    }  # fmt: skip


def _notes(heats: Sequence[Heat], data: Corpus | Sequence[Task], rules: Rules) -> list[str]:
    tasks = [] if isinstance(data, Corpus) else data
    fixes = [one.fix for heat in heats for family in heat.families for one in family.contender.configurations]
    learned = [note for fix in dict.fromkeys(fixes) for note in learned_note(fix, tasks, rules.learn_from)]
    if isinstance(data, Corpus) and any(Group.QUERIES in needed_by(fix) for fix in fixes):
        learned.append("what fixes learn of queries, they learned from sentences of the documents")
    out = [f"{heat.dataset}: {name} is left out: {why}" for heat in heats for name, why in heat.left_out.items()]
    return [*learned, *out]


def heat_facts(heat: Heat) -> dict[str, Any]:
    """What a reader is told of one data set."""
    blind: Mapping[str, str] = heat.blind.chosen if heat.blind else {}
    families = [
        {
            "name": family.name,
            "grid": list(family.measured),
            "chosen": family.chosen,
            "blind": blind.get(family.name),
            "shares": {name: round(share, 4) for name, share in family.fit.chosen.items()},
            "cost": family.contender.cost,
        }
        for family in heat.families
    ]
    return {
        "dataset": heat.dataset,
        "main": heat.main,
        "labelled": heat.labelled,
        "n_documents": heat.n_documents,
        "n_queries": len(heat.sheet),
        "n_groups": len(set(heat.sheet.groups)),
        "families": families,
        "blind": heat.blind.overall if heat.blind else None,
        "taken": heat.taken,
        "blind_documents": heat.blind.n_documents if heat.blind else 0,
        "left_out": dict(heat.left_out),
        "notes": list(heat.notes),
    }
