"""Draw what `fix --auto` gains from the results of `uncollapse evaluate`, and keep the numbers beside the picture.

python docs/gains.py BASELINES RESULT.json...     # writes docs/images/gains.csv and docs/images/gains.svg
python docs/gains.py                              # draws the picture again from gains.csv

BASELINES is what `python benchmarks/baselines.py` printed of the same collections.
"""

import csv
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from uncollapse.records import Result, Row

FIX = "cover(126) + centering(role) + whitening(0.2, role)"
TABLE = Path(__file__).parent / "images" / "gains.csv"
ORANGE, BLUE, GREY = "#c8621b", "#1f6aa5", "#8a8f98"
Line = dict[str, str]


def lines_of(path: Path) -> list[Line]:
    """A line a task of a result: the score as the model is, and what the pipeline adds, in points."""
    result = Result.from_json(path.read_text(encoding="utf-8"))
    found = []
    for task in result.about["tasks"]:
        gain = _one(result, f"{task['main']}_gain", task["dataset"], FIX)
        stock = _one(result, task["main"], task["dataset"], "none")
        found.append({
            "set": task["dataset"].removesuffix("/test"),
            "score": task["main"],
            "n": str(gain.n),
            **{name: "" if x is None else f"{100 * x:.1f}" for name, x in _spans(stock, gain).items()},
            "p_holm": "" if gain.p_holm is None else f"{gain.p_holm:.4f}",
        })  # fmt: skip
    return found


def beside(table: str) -> dict[str, dict[str, str]]:
    """By set, from the table of the baselines: the score of the folder in stock software, and BM25's."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in table.splitlines()]
    heads = next(row for row in rows if "BM25" in row)
    columns = {"folder": heads.index("stock"), "bm25": heads.index("BM25")}
    found = {}
    for row in rows:
        if "/" in row[0]:
            scores = {name: 100 * float(row[place].split()[0]) for name, place in columns.items()}
            found[row[0].removesuffix("/test")] = {name: f"{score:.1f}" for name, score in scores.items()}
    return found


def _spans(stock: Row, gain: Row) -> dict[str, float | None]:
    return {"stock": stock.value, "gain": gain.value, "low": gain.low, "high": gain.high}


def _one(result: Result, measure: str, dataset: str, fix: str) -> Row:
    rows = result.select(measure=measure, view="overall", dataset=dataset, fix=fix)
    if len(rows) != 1:
        raise SystemExit(f"Expected one row of {measure} on {dataset} with {fix}, got {len(rows)}.")
    return rows[0]


def draw(lines: list[Line], target: Path) -> None:
    """A row a set: from the score of the stock model to that of the fixed one, and the gain with its interval."""
    mpl.rcParams.update({"font.family": "sans-serif", "font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "1"})
    lines = sorted(lines, key=lambda line: float(line["gain"]))
    size = (9.6, 1.1 + 0.31 * len(lines))
    figure, axes = plt.subplots(1, 2, figsize=size, width_ratios=[1.25, 1], sharey=True, layout="constrained")
    places = range(len(lines))
    _levels(axes[0], lines, places)
    _gains(axes[1], lines, places)
    axes[0].set_yticks(places, [f"{line['set']} ({line['n']})" for line in lines])
    for axis in axes:
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color=GREY, alpha=0.2)
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def _levels(axis: plt.Axes, lines: list[Line], places: range) -> None:
    stock = [float(line["stock"]) for line in lines]
    fixed = [float(line["stock"]) + float(line["gain"]) for line in lines]
    axis.hlines(places, stock, fixed, color=GREY, lw=1.5)
    axis.scatter(stock, places, color=ORANGE, s=26, zorder=3, label="model as it is")
    axis.scatter(fixed, places, color=BLUE, s=26, zorder=3, label="fix --auto")
    folder, words = ([float(line[name]) for line in lines] for name in ("folder", "bm25"))
    axis.scatter(folder, places, color="none", edgecolor=BLUE, s=46, zorder=5, label="its folder, without code")
    axis.scatter(words, places, color="black", marker="x", s=22, zorder=4, label="BM25")
    axis.set_title("nDCG@10 x 100", loc="left", fontsize=11)
    place = {"loc": "upper left", "bbox_to_anchor": (-0.3, -0.05)}
    axis.legend(frameon=False, ncols=4, handletextpad=0, columnspacing=1, **place)


def _gains(axis: plt.Axes, lines: list[Line], places: range) -> None:
    for line, place in zip(lines, places, strict=True):
        sure = line["p_holm"] and float(line["p_holm"]) < 0.05
        gain, low, high = (float(line[name]) for name in ("gain", "low", "high"))
        colour = BLUE if sure else GREY
        axis.hlines(place, low, high, color=colour, lw=1.5)
        axis.scatter([gain], [place], color=colour if sure else "white", edgecolor=colour, s=26, zorder=3)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_title("gain, 95 % interval\nfilled: significant (Holm, 5 %)", loc="left", fontsize=10)


def main() -> None:
    if sys.argv[1:]:
        others = beside(Path(sys.argv[1]).read_text(encoding="utf-8"))
        lines = [line | others[line["set"]] for path in sys.argv[2:] for line in lines_of(Path(path))]
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with TABLE.open(encoding="utf-8", newline="") as file:
        draw(list(csv.DictReader(file)), TABLE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
