"""What attention does to differences between tokens: head by head, and the median over all heads by length."""

from dataclasses import replace

from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.explanation.curves import curve_chart
from uncollapse.reporting.explanation.heatmaps import Squares, around_one
from uncollapse.reporting.explanation.maps import head_grid, map_chart
from uncollapse.reporting.explanation.rows import ALL_HEADS, HEADS, Explanation, ends, size_of
from uncollapse.reporting.plots import Line

Lines = tuple[tuple[str, str, str], ...]
"""Measure, name and colour of the lines of a chart."""

_MEDIAN = ("median over heads", "before")
RATE: Lines = (("filter_rate", *_MEDIAN),)
CURVES: tuple[tuple[Frame, Lines], ...] = (
    (
        Frame(
            "heads-rate", "Filter rate, by length",
            "A line that falls says that the typical head smooths more the longer the text is, one that climbs that "
            "it smooths less, and at the grey line, which is 1, differences stay as large as they were",
            "This result holds no filter rate over all heads.", "The median over all heads of all layers.",
        ), RATE,
    ),
    (
        Frame(
            "heads-entropy", "Entropy of attention, by length",
            "At 100 % the typical head looks at all tokens alike, at 0 % every token looks at one token alone, so "
            "that a line that climbs says that attention spreads out over longer texts",
            "This result holds no entropy over all heads.",
            "The median over all heads, as a share of log n, the most that n tokens allow.",
        ), (("entropy", *_MEDIAN),),
    ),
    (
        Frame(
            "heads-shares", "Where attention goes, by length",
            "Each line is the part of a token's attention that goes to one kind of token: what goes to special tokens "
            "is the same for all tokens and smooths, what stays with itself or near it keeps tokens apart",
            "This result holds no shares of attention.",
            "The median over all heads. Near: at most {near} tokens away, the token itself included.",
        ),
        (
            ("share_special", "on special tokens", "before"), ("share_own", "on itself", "after"),
            ("share_window", "on near tokens", "relevant"),
        ),
    ),
    (
        Frame(
            "heads-output", "Differences in what heads put out, by length",
            "At 0 % a head hands the same to every token, so that a line that falls says that longer texts come out "
            "of the heads with less that tells their tokens apart",
            "This result holds no energies of what heads put out.",
            "The median over all heads of the share of their output's energy that tells tokens apart.",
        ), (("output_hc_share", *_MEDIAN),),
    ),
)  # fmt: skip
"""Curves of the median over all heads."""

_MAP = (
    "Each square is one head of one layer: blue leaves less of every difference between tokens than there was before, "
    "orange makes some of them larger, and the stronger the colour the further it is from 1"
)


def make_head_section(explanation: Explanation) -> Section:
    """Two maps of all heads, for the shortest and the longest texts, and curves of their median over length."""
    return Section(
        "heads", "What attention does to differences between tokens", (*_maps(explanation), *_curves(explanation)),
        look="explanation", notes=_measured(explanation),
        lead="Attention replaces every token by a mean over tokens, and a mean evens out what tells them apart. The "
        "filter rate says how much of those differences a head leaves at most: below 1 it only smooths, above 1 it "
        "makes some differences larger than they were.",
    )  # fmt: skip


def _measured(explanation: Explanation) -> tuple[str, ...]:
    """On what all numbers of the explanation rest."""
    documents, layers, heads = (explanation.said(key) for key in ("documents", "layers", "heads"))
    lengths = [words.listing(length) for length in explanation.listed("lengths")]
    cut = f", each cut to {', '.join(lengths)} tokens" if lengths else ""
    many = f"{layers} layer{'' if layers == '1' else 's'} of {heads} head{'' if heads == '1' else 's'}"
    size = f"The model has {many}, both counted from 0." if layers and heads else ""
    notes = [words.listing(note) for note in explanation.listed("notes")]
    return tuple(
        said for said in (f"Measured on {documents} documents{cut}." if documents else "", size, *notes) if said
    )


def _maps(explanation: Explanation) -> list[Chart]:
    found = explanation.heads("filter_rate", HEADS)
    lengths = ends(list(found))
    if not lengths:
        missing = "This result holds no filter rates of single heads."
        frame = Frame("heads-longest", "Filter rate of every head", _MAP, missing, wide=True)
        return [map_chart(frame, {}, head_grid((0, 0)), around_one([], ""))]
    maps = [found[length] for length in lengths]
    scale, grid = around_one(maps, "filter rate"), head_grid(size_of(*maps))
    keys = ("heads-shortest", "heads-longest")[-len(maps) :]
    frames = [
        Frame(key, f"Filter rate of every head, {words.count(length)} tokens", _MAP, "", wide=len(maps) == 1)
        for key, length in zip(keys, lengths, strict=True)
    ]
    return [
        map_chart(frame, squares, grid, scale, also=(_below(squares),))
        for frame, squares in zip(frames, maps, strict=True)
    ]


def _below(squares: Squares) -> str:
    """How many heads only smooth."""
    below = sum(row.value < 1 for row in squares.values())
    return f"{words.count(below)} of {words.count(len(squares))} heads are below 1."


def _curves(explanation: Explanation) -> list[Chart]:
    near = explanation.said("window", "a few")
    return [
        curve_chart(
            replace(frame, lead=frame.lead.format(near=near)),
            [Line(explanation.curve(measure, ALL_HEADS), name, role) for measure, name, role in lines],
            level=1.0 if lines is RATE else None,
        )
        for frame, lines in CURVES
    ]
