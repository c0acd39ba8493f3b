"""One section for every data set of a race: all families in a table, gain against cost, gain by length."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uncollapse.records import Result, Row
from uncollapse.reporting import glossary, words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, Tile, gaps
from uncollapse.reporting.races import plots
from uncollapse.reporting.races.plots import Priced
from uncollapse.reporting.tasks import ladders
from uncollapse.reporting.tasks.rows import PROVEN, RULE, RULE_ALIKE, SIGNIFICANT, linked_sentence, outcome, start

RACE, BY_LENGTH, DIALS, COSTS, BLIND, WHOLE = (
    "race", "race_by_length", "race_dials", "race_costs", "race_blind", "the whole race",
)  # fmt: skip
"""Views of the rows of a race, and the fix of those about fix and dial chosen together."""

TONES = {"better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Race:
    """One data set of a race.

    Args:
        key: of its section.
        rows: those of this data set.
        entry: what `about` says of it.
    """

    key: str
    rows: tuple[Row, ...]
    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.entry["dataset"])

    @property
    def main(self) -> str:
        return str(self.entry["main"])

    @property
    def families(self) -> list[Mapping[str, Any]]:
        """Those that raced, largest gain first."""
        return sorted(self.entry["families"], key=lambda family: -self.value(family["name"]))

    def value(self, name: str) -> float:
        row = self.one(f"{self.main}_gain", RACE, name)
        return row.value if row else 0.0

    def one(self, measure: str, view: str, fix: str) -> Row | None:
        return next((row for row in self.rows if (row.measure, row.view, row.fix) == (measure, view, fix)), None)

    def some(self, measure: str, view: str) -> list[Row]:
        return [row for row in self.rows if (row.measure, row.view) == (measure, view)]

    def cost(self, measure: str, name: str, default: float) -> float:
        row = self.one(measure, COSTS, name)
        return row.value if row else default


def read_races(result: Result) -> list[Race]:
    """The data sets of a race; none where the result is of something else."""
    entries = result.about.get("races") or result.about.get("tuned") or ()
    return [
        Race(f"race-{place}", tuple(row for row in result.rows if row.dataset == entry["dataset"]), entry)
        for place, entry in enumerate(entries, start=1)
        if entry["families"]
    ]


def make_race_sections(result: Result) -> list[Section]:
    """One section a data set."""
    return [_section(race) for race in read_races(result)]


def make_race_tiles(result: Result) -> list[Tile]:
    """Of a race on a single data set: the score as it is, the winner's gain, and what following the race is worth."""
    races = read_races(result)
    if len(races) != 1:
        return []
    (race,) = races
    title, winner = glossary.title(race.main), race.entry.get("winner")
    wanted = [(race.one(race.main, RACE, "none"), f"{title}, {words.STOCK}", "before")]
    wanted += [(race.one(f"{race.main}_gain", RACE, winner), f"gain by {winner}", "after")] if winner else []
    wanted.append((race.one(f"{race.main}_gain", RACE, WHOLE), "gain by whatever the race chooses", "after"))
    return [
        Tile(words.number(row.value, row.measure), label, words.interval(row), role, row.n)
        for row, label, role in wanted
        if row is not None
    ]


def _section(race: Race) -> Section:
    entry = race.entry
    asked = "judged queries" if entry["labelled"] else "queries made out of the documents (no labels)"
    lead = (
        f"{words.count(entry['n_documents'])} documents, {words.count(entry['n_queries'])} {asked}{_groups(entry)}. "
        "Every gain is on queries that had no say in the dial: it was chosen on some, and scored on the others, over "
        "and over."
    )
    linked = linked_sentence({race.name: race.rows})
    lead = f"{lead} {linked}" if linked else lead
    charts = [_table(race), _ladder(race), *_costs(race), *_lengths(race), _dials(race)]
    return Section(
        race.key, f"Which fix pays on {race.name}?", tuple(charts), (), lead, look="task", notes=_notes(race)
    )


def _groups(entry: Mapping[str, Any]) -> str:
    """What n counts, where that is not the queries."""
    groups = entry.get("n_groups") or entry["n_queries"]
    if groups == entry["n_queries"]:
        return ""
    return f" in {words.count(groups)} independent groups, which n counts (queries that share an answer are one)"


def _notes(race: Race) -> tuple[str, ...]:
    left_out = race.entry["left_out"]
    said = [f"Left out: {', '.join(left_out)}. {next(iter(left_out.values()))}"] if left_out else []
    return (*map(str, race.entry["notes"]), *said)


def _table(race: Race) -> Chart:
    columns = ("family", "gain", "where", "without labels", "tokens, storage")
    lines = tuple(_line(race, family) for family in race.families)
    reading = (
        f"A gain is what is added to {glossary.title(race.main)} of the {words.STOCK}, {_stock(race)}: better or "
        f"worse where {RULE}, no difference that matters where {RULE_ALIKE}. Tokens and storage are times those of "
        f"the {words.STOCK}. 'Without labels' is the dial that queries made out of the documents choose, and how much "
        "the best dial is ahead of it."
    )
    table = Table(f"All families on {race.name}, largest gain first.", columns, lines)
    return Chart(f"{race.key}-families", "All families in one table", reading, table=table, wide=True)


def _stock(race: Race) -> str:
    row = race.one(race.main, RACE, "none")
    if row is None:
        return words.UNKNOWN
    return f"which is {words.number(row.value, row.measure)} (n = {words.count(row.n)})"


def _line(race: Race, family: Mapping[str, Any]) -> tuple[Cell, ...]:
    name, gain = family["name"], race.one(f"{race.main}_gain", RACE, family["name"])
    share = family["shares"].get(family["chosen"], 0)
    dial = f"{family['chosen']}, chosen in {share:.0%} of splits" if len(family["grid"]) > 1 else ""
    return (
        Cell(name, dial),
        _gain(gain),
        _where(race, name),
        _blind(race, family),
        _price(race, family),
    )


def _price(race: Race, family: Mapping[str, Any]) -> Cell:
    """What a family costs, as counted, then in words."""
    numbers = (words.number(race.cost(what, family["name"], 1.0), what) for what in ("encode_cost", "storage_cost"))
    cost = f"costs {family['cost']}; " if family["cost"] else ""
    return Cell(", ".join(numbers), f"{cost}learned from {_learned(race, family['name'])}")


def _gain(gain: Row | None) -> Cell:
    if gain is None:
        return Cell(words.UNKNOWN)
    under, word = (
        words.unbroken(words.interval(gain) or words.reason(gain.note), words.chance(gain.p_holm)),
        outcome(gain),
    )
    return Cell(words.number(gain.value, gain.measure), under, word, TONES.get(word, "neutral"))


def _where(race: Race, name: str) -> Cell:
    rows = [row for row in race.some(f"{race.main}_gain", BY_LENGTH) if row.fix == name]
    if not rows:
        return Cell(words.UNKNOWN, "too few queries to look at single lengths")
    proven = [(outcome(row), row) for row in rows if outcome(row) in PROVEN]
    marks = tuple((TONES[word], f"{word}: {words.sized(words.span(row.bin), 'tokens')}") for word, row in proven)
    return Cell("" if marks else "sure at no length", marks=marks)


def _blind(race: Race, family: Mapping[str, Any]) -> Cell:
    row = race.one(f"{race.main}_regret", RACE, family["name"])
    if not family["blind"] or row is None:
        return Cell(words.UNKNOWN, family["blind"] or "")
    behind = f"behind by {words.number(row.value)}" if row.value else "the best dial"
    return Cell(
        behind, "; ".join(part for part in (family["blind"], words.interval(row) if row.value else "") if part)
    )


def _learned(race: Race, name: str) -> str:
    groups = {what: race.one(f"fitted_{what}", COSTS, name) for what in ("documents", "queries", "windows")}
    return ", ".join(f"{words.count(row.value)} {what}" for what, row in groups.items() if row) or "nothing"


def _ladder(race: Race) -> Chart:
    """Families under their cost, the cheapest first."""
    priced = _priced(race)
    classes = sorted({(round(one.encode, 2), round(one.storage, 2)) for one in priced})
    groups = [
        ladders.Group(_class(encode, storage), tuple(_step(one) for one in priced if _same(one, encode, storage)))
        for encode, storage in classes
    ]
    said = "; ".join(f"{one.name} {words.number(one.gain.value, '_gain')}: {outcome(one.gain)}" for one in priced)
    reading = (
        f"A dot right of the upright line is a better score than that of the {words.STOCK}; a filled dot is "
        f"{SIGNIFICANT}, a hollow one can be chance or too small to matter, and the line through it is the 95 % "
        "interval. What stands under one heading costs the same, times what the model as it is costs; dearer families "
        "come further down"
    )
    names = {one.name: one.name for one in priced}
    figure = ladders.gains(groups, title="gain", names=names)
    return Chart(
        f"{race.key}-ladder", "What each family adds, by what it costs", f"{reading}.", figure, f"Gains. {said}.",
        remarks=gaps([one.gain for one in priced]), height=ladders.ladder_height(groups), wide=True,
    )  # fmt: skip


def _priced(race: Race) -> list[Priced]:
    found = []
    for family in race.families:
        name = family["name"]
        if (gain := race.one(f"{race.main}_gain", RACE, name)) is not None:
            costs = (race.cost(measure, name, 1.0) for measure in ("encode_cost", "storage_cost"))
            found.append(Priced(name, gain, *costs))
    return found


def _class(encode: float, storage: float) -> str:
    encoding, storing = words.number(encode, "encode_cost"), words.number(storage, "storage_cost")
    return f"tokens {encoding}, storage {storing}"


def _times(ratio: float, measure: str) -> str:
    return f"{words.number(ratio, measure)} times"


def _same(one: Priced, encode: float, storage: float) -> bool:
    return (round(one.encode, 2), round(one.storage, 2)) == (encode, storage)


def _step(one: Priced) -> ladders.Step:
    return ladders.Step(one.name, one.gain, outcome=outcome(one.gain), role="after")


def _costs(race: Race) -> Iterator[Chart]:
    """Gain against tokens, where not all cost the same."""
    priced = _priced(race)
    if len({round(one.encode, 2) for one in priced}) < 2:
        return
    title = glossary.title(race.main)
    reading = (
        f"Up is better and left is cheaper: each dot is a family, blue where its gain is {SIGNIFICANT}, larger where "
        "more is to be stored, and the line through it is the 95 % interval; hover or tap to read its name. Families "
        "of the same cost stand side by side"
    )
    said = (
        f"{one.name} {_times(one.encode, 'encode_cost')}: {words.number(one.gain.value, '_gain')}" for one in priced
    )
    figure = plots.cost_chart(priced, title=title)
    heading = f"Gain of {title} against the tokens to encode"
    yield Chart(f"{race.key}-cost", heading, f"{reading}.", figure, f"{'; '.join(said)}.", wide=True)


def _lengths(race: Race) -> Iterator[Chart]:
    rows = race.some(f"{race.main}_gain", BY_LENGTH)
    bins = sorted(dict.fromkeys(row.bin for row in rows), key=start)
    key, heading = f"{race.key}-lengths", "What each family adds, by length of the documents"
    reading = (
        "Each line is a family and each column the queries whose relevant documents are of about that length: blue is "
        "a gain, orange a loss, the stronger the larger, and bold is significant (p, corrected for the bins of its "
        "family, below 0.05 and the whole interval on one side of 0). A family that is surely worse at one length is "
        "not recommended."
    )
    names = [family["name"] for family in race.families]
    if len(bins) < 2:
        yield Chart(key, heading, reading, missing="There are too few queries to look at single lengths.", wide=True)
        return
    found = {(row.fix, row.bin): row for row in rows}
    table: Sequence[Sequence[Row | None]] = [[found.get((name, label)) for label in bins] for name in names]
    figure = plots.length_map(table, names=names, bins=bins, title=glossary.title(race.main), unit="tokens")
    lowest = min(rows, key=lambda row: row.value)
    alt = f"{heading}. The lowest is {words.number(lowest.value, '_gain')}, of {lowest.fix} at {lowest.bin} tokens."
    yield Chart(key, heading, reading, figure, alt, height=plots.AROUND + plots.LINE * len(names), wide=True)


def _dials(race: Race) -> Chart:
    """Every dial over all queries, and what the probe without labels gives it."""
    columns = ("dial", "gain over all queries", "probe without labels")
    lines = [
        (
            Cell(notation, "chosen" if notation == family["chosen"] and len(family["grid"]) > 1 else ""),
            _gain_alone(race.one(f"{race.main}_gain", DIALS, notation)),
            _score(race.one("known_item_ndcg@10", BLIND, notation)),
        )
        for family in race.families
        for notation in family["grid"]
    ]
    reading = (
        "These gains are over all queries, without setting any aside: the best of several dials looks better here "
        "than it is on other queries. The probe is nDCG@10 of stretches of documents that look for their own "
        "document; dials that were surely worse on a small sample were not tried on larger ones, so that only "
        "numbers of one n compare."
    )
    table = Table(f"Every dial on {race.name}.", columns, tuple(lines[:4]), tuple(lines[4:]), "Show all dials")
    return Chart(f"{race.key}-dials", "Every dial", reading, table=table, wide=True)


def _gain_alone(row: Row | None) -> Cell:
    return Cell(words.UNKNOWN) if row is None else Cell(words.number(row.value, row.measure), words.interval(row))


def _score(row: Row | None) -> Cell:
    if row is None:
        return Cell(words.UNKNOWN)
    return Cell(words.number(row.value, row.measure), words.unbroken(words.interval(row), f"n = {words.count(row.n)}"))
