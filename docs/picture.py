"""Draw the README's picture from the result of `uncollapse demo`.

python docs/picture.py uncollapse-demo/result.json docs/images/collapse.svg
"""

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from uncollapse.records import Result

ORANGE, BLUE, GREY = "#c8621b", "#1f6aa5", "#8a8f98"


def draw(result: Result, target: Path) -> None:
    """Mean cosine by length before and after, and effective rank beside it."""
    mpl.rcParams.update({"font.family": "sans-serif", "font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "1"})
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), width_ratios=[1.25, 1], layout="constrained")
    chosen = str(result.about["chosen_fix"])
    for fix, colour, label in (("none", ORANGE, "model as it is"), (chosen, BLUE, f"with {chosen}")):
        _curve(axes[0], result, fix, colour, label)
    axes[0].set_title("Unrelated texts drift together as they grow", loc="left", fontsize=12)
    axes[0].set_ylabel("mean cosine, 95 % interval")
    axes[0].legend(frameon=False, loc="upper left")
    _points(axes[1], result)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


def _curve(axis: plt.Axes, result: Result, fix: str, colour: str, label: str) -> None:
    rows = [row for row in result.select(measure="mean_cosine", view="windows", fix=fix) if row.low is not None]
    tokens = [row.n_tokens for row in rows]
    axis.fill_between(tokens, [row.low for row in rows], [row.high for row in rows], color=colour, alpha=0.16, lw=0)
    axis.plot(tokens, [row.value for row in rows], color=colour, marker="o", ms=4, label=label)
    axis.set_xscale("log", base=2)
    axis.set_xticks(tokens, [f"{n:.0f}" for n in tokens])
    axis.set_xlabel(f"tokens (the same {rows[0].n} texts, cut to n tokens)")
    axis.set_ylim(bottom=0)


def _points(axis: plt.Axes, result: Result) -> None:
    points = [point for point in result.points if point.fix == "none"]
    colours = [point.n_tokens for point in points]
    norm = mpl.colors.LogNorm(min(colours), max(colours))
    places = [point.x for point in points], [point.y for point in points]
    dots = axis.scatter(*places, c=colours, norm=norm, cmap="plasma_r", s=9, lw=0, rasterized=False)
    axis.set_title("A text's place follows its length", loc="left", fontsize=12)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(f"two principal axes of {len(points)} texts")
    bar = axis.figure.colorbar(dots, ax=axis, label="tokens", ticks=[16, 32, 64, 128, 256, 512])
    bar.ax.set_yticklabels(["16", "32", "64", "128", "256", "512"])
    bar.outline.set_visible(False)


if __name__ == "__main__":
    draw(Result.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
