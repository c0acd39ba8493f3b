"""One dial out of many: chosen without labels, with labels where there are any, and checked on what had no say."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uncollapse.corpora.texts import Corpus, Text
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import CorpusError, FixError
from uncollapse.evaluation.scoring import unlabelled
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.statistics.scores import gain
from uncollapse.evaluation.statistics.significance import MIN_GROUPS
from uncollapse.evaluation.tasks import Retrieval, Task
from uncollapse.evaluation.verdicts.numbers import change, sentence
from uncollapse.progress import Reporter, Silent
from uncollapse.provenance import describe_model
from uncollapse.records import Finding, Result, Row
from uncollapse.tuning.bench import STOCK, Bench
from uncollapse.tuning.contenders import START, Configuration, Contender
from uncollapse.tuning.criteria import DEFAULT, Criterion, Matched, check_seen, cut_windows, match, read_criterion
from uncollapse.tuning.probe import Probe, sample_texts
from uncollapse.tuning.queries import FEWEST_WORDS
from uncollapse.tuning.race import check_inside, describe_rules, heat_facts, only_searches, read_probe
from uncollapse.tuning.rows import RACE, blind_rows, heat_rows, tested
from uncollapse.tuning.rules import PROBE, Rules
from uncollapse.tuning.trials import UNITS, Blind, Heat, probe_blindly, race_task
from uncollapse.tuning.verdict import is_sure

ALL = "the dial"
"""The family that all fixes of a tuning make together."""

HELD_OUT = 1 / 3
"""Share of the probe's documents whose queries have no say in the choice."""

CHECK = "tune_check"
"""View of rows about made queries that had no say in a choice without labels."""


def tune(
    encoder: SentenceEncoder,
    data: Corpus | Task,
    contenders: Sequence[Contender],
    *,
    labels: bool | None = None,
    criterion: str = DEFAULT,
    rules: Rules | None = None,
    cache: Path | None = None,
    progress: Reporter | None = None,
) -> Result:
    """Choose one dial among those of some fixes.

    Without labels a stretch of 16 words is taken from each document, and the dial is chosen that best finds documents
    by theirs: successive halving on growing samples, then the mildest dial that they cannot tell from the best; or,
    where what `fix --auto` writes is among them, that unless another is proven. Stretches that had no say tell what it
    is worth. With labels the best dial on the judged queries is chosen, and what that is worth comes from queries that
    had no say: nested cross-validation over independent groups of queries.

    Args:
        encoder: from `load`.
        data: a corpus, or a retrieval task.
        contenders: whose members are tried, as from `read_contenders`.
        labels: whether to use judgements; None for where there are any.
        criterion: what chooses without labels: "probe", or a row of CRITERIA, which matches a number of the model at
            long texts with that at shorter ones.
        rules: sizes, splits and seed.
        cache: folder where vectors are kept; None keeps none.
        progress: shows how far the work is.

    Returns:
        about["chosen"] is the notation that was chosen, with labels where there are any; None where there is nothing
        to choose by. The verdict says whether it surely beats the model as it is. Rows hold the numbers of every dial.

    Raises:
        UncollapseError: labels asked for where there are none, no fix, a fix that cannot be used here, or one that the
            criterion cannot see.
    """
    rules, progress = rules or Rules(), progress or Silent()
    together = merged(contenders)
    searched = data if isinstance(data, Corpus) else only_searches([data])[0]
    if labels and isinstance(searched, Corpus):
        raise CorpusError(
            "A dial is chosen with labels from judged queries, but documents alone were given. Give a BEIR folder "
            "(corpus.jsonl, queries.jsonl, qrels/), or leave --labels out."
        )
    bench = Bench(encoder, rules, cache=cache)
    check_inside(bench, [together])
    matching, judged = read_criterion(criterion), not isinstance(searched, Corpus) and labels is not False
    if matching is not None:
        found = _by_matching(matching, searched, together, bench, progress)
    else:
        most = rules.beside_labels if judged else rules.documents
        found = _without_labels(read_probe(searched, rules, progress, most=most), together, bench, progress)
    if isinstance(searched, Corpus) or not judged:
        return _conclude(encoder, bench, found, None)
    heat = race_task(searched, [together], bench, rules, blind=found.blind, progress=progress)
    if not heat.families:
        raise FixError(next(iter(heat.left_out.values())))
    return _conclude(encoder, bench, found, heat)


def merged(contenders: Sequence[Contender]) -> Contender:
    """One family of all members.

    Raises:
        FixError: no member.
    """
    grid = tuple(dict.fromkeys(notation for contender in contenders for notation in contender.grid))
    if not grid:
        raise FixError('Expected a fix to tune, got none. Name one, such as --fix "whitening" or --fix "temperature".')
    return Contender(ALL, grid, "")


@dataclass(frozen=True, eq=False)
class _Unlabelled:
    """A choice without labels and what it is worth.

    Args:
        blind: the choice; its `overall` is None where there are too few documents to ask for.
        check: what it adds on made queries that had no say; None where there are none.
        rows: the scores of the dials, and of the check.
        refused: why some could not be tried, by notation.
        matched: what was matched, where that and no made query chose.
    """

    blind: Blind
    check: Row | None
    rows: tuple[Row, ...]
    refused: Mapping[str, str]
    matched: Matched | None = None


def _by_matching(
    criterion: Criterion, data: Corpus | Retrieval, family: Contender, bench: Bench, progress: Reporter
) -> _Unlabelled:
    """A choice by a number of the model, which no query checks."""
    members, rules = family.configurations, bench.rules
    check_seen(criterion, members)
    if isinstance(data, Corpus):
        texts: Iterable[Text] = data
        learned = sample_texts(data, most=rules.documents, seed=rules.seed)
    else:
        texts = [Text(*one) for one in zip(data.documents.ids, data.documents.texts, strict=True)]
        learned = unlabelled(data, rules.learn_from)
    windows = cut_windows(bench.encoder, texts, learned, progress, seed=rules.seed)
    found = match(criterion, members, bench, windows, progress)
    name = data.name
    rows = tuple(replace(row, dataset=f"{name}/{criterion.name}") for row in found.rows)
    return _Unlabelled(Blind({}, {ALL: found.chosen}, found.chosen, {}, len(windows.texts)), None, rows, {}, found)


def _without_labels(probe: Probe, family: Contender, bench: Bench, progress: Reporter) -> _Unlabelled:
    heard = _with_a_say(probe)
    blind = probe_blindly(heard, [family], bench, progress)
    refused = bench.refusals(heard.task)
    if blind.overall is None:
        return _Unlabelled(blind, None, (), refused)
    unheard = probe.among(len(probe.asked), probe.asked[len(heard.asked) :])
    chosen = next(one for one in family.configurations if str(one) == blind.overall)
    rows = [replace(row, dataset=f"{probe.task.name}/{PROBE}") for row in blind_rows(blind)]
    check = _check(unheard, chosen, bench, progress) if len(unheard.queries) else None
    return _Unlabelled(blind, check, (*rows, *([check] if check else [])), refused)


def _with_a_say(probe: Probe) -> Probe:
    """The part of a probe that a dial is chosen on."""
    return Probe(probe.task, probe.asked[: max(1, round(len(probe.asked) * (1 - HELD_OUT)))])


def _check(unheard: Retrieval, chosen: Configuration, bench: Bench, progress: Reporter) -> Row:
    """What the chosen dial adds on queries of documents that had no say, searched among all."""
    with progress.track("checking on other queries", bench.work(unheard, [STOCK, chosen]), UNITS) as advance:
        found = bench.measure(unheard, [STOCK, chosen], advance=advance)
    sheet, rules = bench.sheet(unheard), bench.rules
    before, after = (replace(sheet, columns={unheard.main: found[str(one)].scores}) for one in (STOCK, chosen))
    worth = gain(before, after, unheard.main, replicates=rules.replicates, resamples=rules.resamples, seed=rules.seed)
    row = tested(f"known_item_{unheard.main}_gain", worth, CHECK, str(chosen))
    return replace(row, p_holm=row.p, dataset=f"{unheard.name}/{PROBE}")


def _conclude(encoder: SentenceEncoder, bench: Bench, without: _Unlabelled, heat: Heat | None) -> Result:
    labelled, blind = heat.families[0].chosen if heat else None, without.blind.overall
    rows = (*(heat_rows(heat, bench.rules) if heat else ()), *without.rows)
    left_out = {**without.refused, **(heat.left_out if heat else {})}
    about = {
        "title": f"{encoder.name}: which dial",
        "model": describe_model(encoder),
        "chosen": labelled or blind,
        "chosen_with_labels": labelled,
        "chosen_without_labels": blind,
        "tuned": [heat_facts(heat)] if heat else [],
        "criterion": without.matched.criterion.name if without.matched else DEFAULT,
        **describe_rules(bench.rules),
        "vectors": bench.counts,
        "notes": [*encoder.notes, *bench.notes, *(f"{name}: {why}" for name, why in left_out.items())],
    }
    return Result(rows=tuple(dict.fromkeys(rows)), verdict=tuple(_judge(heat, rows, without)), about=about)


def _judge(heat: Heat | None, rows: Sequence[Row], without: _Unlabelled) -> Iterator[Finding]:
    if heat is not None:
        yield _judge_labelled(heat, rows)
        yield from _judge_regret(heat, rows)
    yield _judge_without(without)


def _judge_labelled(heat: Heat, rows: Sequence[Row]) -> Finding:
    (family,) = heat.families
    row = next(r for r in rows if (r.measure, r.view, r.fix) == (f"{heat.main}_gain", RACE, ALL))
    title, metric = f"{family.chosen} is the best dial on {heat.dataset}", METRICS[heat.main].title
    said = (
        f"Of {len(family.measured)} dials it has the highest {metric} over all queries. A dial chosen on some queries "
        f"adds {change(row)} on the others to the model as it is."
    )
    if row.n < MIN_GROUPS:
        return Finding(title, f"{said} That many queries are too few to tell anything.", "unknown")
    share = family.fit.chosen[family.chosen]
    said += f" It was chosen in {share:.0%} of all splits of the queries."
    return Finding(title, f"{said} {_advice(row)}", _kind(row))


def _judge_regret(heat: Heat, rows: Sequence[Row]) -> Iterator[Finding]:
    row = next((r for r in rows if (r.measure, r.fix) == (f"{heat.main}_regret", ALL)), None)
    if row is not None and heat.blind is not None and heat.blind.overall != heat.families[0].chosen:
        lost = f"On the judged queries it scores {row.value:.3f} (n = {row.n}) below the best dial"
        why = "the best was picked on the same queries, which makes the loss look larger than it is"
        yield Finding(f"Without labels the choice would have been {heat.blind.overall}", f"{lost}; {why}.")


def _judge_matched(found: Matched) -> Finding:
    windows, criterion = found.windows, found.criterion
    apart, before = found.apart[found.chosen], found.apart[str(STOCK)]
    said = (
        f"Of {len(found.apart) - 1} dials it brings the {criterion.title} of texts of {windows.long} tokens "
        f"nearest to that of the model as it came at {windows.short}: {apart[0]:.3f} apart (standard error "
        f"{apart[1]:.3f}, n = {len(windows.texts)} documents), where the model as it came is {before[0]:.3f} apart"
    )
    doubt = "That matches a number of the model; whether a search gets better it does not say."
    return Finding(f"By its {criterion.title}: {found.chosen}", f"{said}. {doubt} Judged queries do.", "unknown")


def _judge_without(found: _Unlabelled) -> Finding:
    if found.matched is not None:
        return _judge_matched(found.matched)
    blind = found.blind
    if blind.overall is None:
        return Finding("No dial can be chosen without labels", _why_none(found), "unknown")
    dropped = sum(1 for tried in blind.tried.values() if tried < max(blind.tried.values()))
    said = f"{_why(blind)}; {dropped} were dropped on smaller samples."
    title = f"Without labels: {blind.overall}"
    if found.check is None:
        return Finding(title, f"{said} No documents were left to check it.", "unknown")
    checked = f"On made queries that had no say it adds {change(found.check)} to nDCG@10. {_advice(found.check)}"
    return Finding(title, f"{said} {checked} People's questions may like it less.", _kind(found.check))


def _why_none(found: _Unlabelled) -> str:
    if found.blind.scores:
        return f"None of them could be tried. {sentence(next(iter(found.refused.values()), ''))}".rstrip()
    asked = f"documents of {FEWEST_WORDS} words or more, with four in a row that no other has"
    fewest = math.ceil(MIN_GROUPS / (1 - HELD_OUT))
    return (
        f"That takes about {fewest} {asked}, a third of which has no say, and there are fewer. Give more or longer "
        "documents."
    )


def _why(blind: Blind) -> str:
    others = len(blind.scores) - 1
    if blind.overall == START:
        return (
            f"It is what `fix --auto` writes, chosen on public collections, and none of {others - 1} other dials is "
            "surely better at finding documents by stretches of them (two standard errors)"
        )
    if START in blind.scores:
        return (
            "Stretches of documents find them surely better with it than with what `fix --auto` "
            f"writes (two standard errors), and of {others} dials it is the best of which that can be said"
        )
    return (
        f"{blind.overall} is the mildest of {others} dials that queries made out of documents cannot tell "
        "from the best"
    )


def _advice(row: Row) -> str:
    if is_sure(row):
        return "That is surely better." if row.value > 0 else "That is surely worse: leave the model as it is."
    return "That is not surely better than the model as it is."


def _kind(row: Row) -> str:
    return ("good" if row.value > 0 else "bad") if is_sure(row) else "unknown"
