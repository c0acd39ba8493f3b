"""The page: jinja fills the template, style, script and figures go inside, and one file is written in one step."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from uncollapse.errors import OutputError
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting import glossary, plots, words
from uncollapse.reporting.charts import Section
from uncollapse.reporting.drawing import COLOURS
from uncollapse.reporting.findings import find_groups
from uncollapse.reporting.sections import make_sections, make_tiles
from uncollapse.writing import whole_file

KINDS = {"bad": "Problem", "good": "Good", "neutral": "Note", "unknown": "Not known"}

FINDINGS = 6
"""How many findings stand under one heading; the others are folded away."""

LISTED = 3000
"""Rows of the table of all numbers that a page bears with those of single layers among them."""

SECTIONS = 5
"""How many sections of a diagnosis need no table of contents."""


@dataclass(frozen=True)
class Group:
    """Findings of the verdict that belong together, the first of all findings apart.

    Args:
        heading: what they are about, "" where the result does not say.
        shown, folded: the findings that are read at once, and those that are folded away.
    """

    heading: str
    shown: tuple[Finding, ...]
    folded: tuple[Finding, ...] = ()


def render_report(result: Result) -> str:
    """One self-contained HTML page about a result: same result, same text.

    Everything is inside (plotly.js too, about 5 MB); the page asks the network for nothing, and whatever the corpus
    holds is shown as it is written.

    Args:
        result: what to show; nothing is computed from it.

    >>> page = render_report(Result(about={"title": "Contracts <2024>"}))
    >>> "<h1>Contracts &lt;2024&gt;</h1>" in page
    True
    """
    scripts = [Markup(plots.plotly_source()), Markup(_asset("report.js"))]
    about, sections, listed = result.about, make_sections(result), _listed(result.rows)
    return _environment().get_template("report.html").render(
        title=about.get("title") or "Length report",
        subtitle=_subtitle(result),
        verdict=result.verdict,
        groups=_groups(result),
        kinds=KINDS,
        tiles=make_tiles(result),
        sections=sections,
        contents=_contents(sections),
        tasks=any(section.look == "task" for section in sections),
        tested=any(value is not None for row in result.rows for value in (row.p, row.p_holm, row.effect)),
        rows=listed,
        by_layer=any(row.layer is not None for row in listed),
        unlisted=_unlisted(result.rows, listed),
        first_name=_first(about),
        compared=_compared(about),
        measures=glossary.find_terms(result.rows),
        facts=_facts(about),
        notes=_notes(about),
        command=words.listing(about.get("command")),
        words=words,
        colours=COLOURS,
        style=Markup(_asset("report.css")),
        scripts=scripts,
        policy=_policy(scripts),
    )  # fmt: skip


def write_report(path: Path, result: Result) -> None:
    """Write `render_report(result)` to a file, whole or not at all.

    The page is made and written under a temporary name in the same folder, then renamed: an older report stays as it
    is until the new one is complete.

    Args:
        path: where to; its folder must exist.
        result: what to show.

    Raises:
        OutputError: the folder is missing, the path is a folder itself, or the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(
            f"A report needs an existing folder, but {str(path.parent)!r} is none (asked for {str(path)!r}). "
            "Make the folder first, or give another path."
        )
    if path.is_dir():
        raise OutputError(
            f"A report is one file, but {str(path)!r} is a folder. Give a file name in it, such as "
            f"{str(path / 'report.html')!r}."
        )
    page = render_report(result).encode("utf-8", errors="replace")
    with whole_file(path) as part:
        part.write_bytes(page)


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("uncollapse.reporting")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: list[Markup]) -> str:
    """A content security policy that runs these scripts and no other, and loads nothing."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _groups(result: Result) -> list[Group]:
    """The findings after the first, under the headings that `about["verdict_groups"]` counts out; else under none."""
    groups = find_groups(result)
    if not groups:
        return [_group("", result.verdict[1:])] if len(result.verdict) > 1 else []
    first = next((heading for heading, findings in groups.items() if findings), "")
    cut = {heading: findings[1:] if heading == first else findings for heading, findings in groups.items()}
    return [_group(heading, findings) for heading, findings in cut.items() if findings]


def _group(heading: str, findings: Sequence[Finding]) -> Group:
    return Group(heading, tuple(findings[:FINDINGS]), tuple(findings[FINDINGS:]))


def _listed(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of the table: none of a single head or frequency, nor of a single layer where they are too many."""
    few = [row for row in rows if row.head is None and row.frequency is None]
    return few if len(few) <= LISTED else [row for row in few if row.layer is None]


def _unlisted(rows: Sequence[Row], listed: Sequence[Row]) -> str:
    """What the table leaves out, and where it is."""
    if len(rows) == len(listed):
        return ""
    layers = any(row.layer is not None for row in rows) and not any(row.layer is not None for row in listed)
    what = "layer, head or band" if layers else "head or band"
    return (
        f"{words.count(len(rows) - len(listed))} numbers of a single {what} of frequencies are not in this table; all "
        "of them are in result.json."
    )


def _subtitle(result: Result) -> list[str]:
    about = result.about
    texts = words.entry(about, "corpus", "n_texts")
    rivals = words.listing(words.rivals(about))
    parts = [words.name(about, "model"), f"against {rivals}" if rivals else "", words.name(about, "corpus")]
    parts += [f"{words.listing(texts)} texts" if texts is not None else "", _task_names(about)]
    parts.append(words.date(about.get("created")))
    return [part for part in parts if part]


def _contents(sections: Sequence[Section]) -> list[Section]:
    """Where to jump to in a page of several tasks or many sections."""
    several = sum(section.look == "task" for section in sections) > 1 or len(sections) > SECTIONS
    return [section for section in sections if section.charts] if several else []


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What makes this report comparable with another; what is not known is left out."""
    facts = {
        "Model": words.name(about, "model"),
        "Architecture": words.entry(about, "model", "architecture"),
        "Dimensions": words.entry(about, "model", "dim"),
        f"Limit of {words.unit(about)}": words.entry(about, "model", "max_tokens"),
        "Limit set in its folder": words.entry(about, "model", "folder_max_tokens"),
        "Number format": words.entry(about, "model", "dtype"),
        "Fix in the weights": words.entry(about, "model", "folded_fix"),
        "Fix put on for this run": _patched(about),
        "Fingerprint": words.entry(about, "model", "fingerprint"),
        "Corpus": words.name(about, "corpus"),
        "What it is": words.entry(about, "corpus", "description"),
        "Texts": words.entry(about, "corpus", "n_texts"),
        "Skipped": words.entry(about, "corpus", "skipped"),
        "Tasks": _task_names(about),
        "Runs": about.get("runs"),
        "Settings": None if about.get("runs") else _tried(about),
        "Seed": None if about.get("seed") is None else str(about["seed"]),
        "Made": about.get("created"),
        "Versions": about.get("versions"),
    }
    said = ((label, words.listing(value)) for label, value in facts.items())
    return [(label, value) for label, value in said if value]


def _first(about: Mapping[str, Any]) -> str:
    """The name of what stands in the place of the model as it is: a run or a model; "" where fixes are compared."""
    runs = about.get("runs")
    if about.get("model"):
        return words.name(about, "model") if words.rivals(about) else ""
    return str(runs[0]) if isinstance(runs, list | tuple) and runs else ""


def _compared(about: Mapping[str, Any]) -> str:
    """What the column of the table of all numbers holds that says what was compared."""
    if not _first(about):
        return "fix"
    return "model or fix" if about.get("model") else "run"


def _tried(about: Mapping[str, Any]) -> object:
    """The fixes, and the models by their names."""
    fixes, first = about.get("fixes"), _first(about)
    return [first if fix == "none" else fix for fix in fixes] if first and isinstance(fixes, list | tuple) else fixes


def _patched(about: Mapping[str, Any]) -> object:
    """The fix that was on throughout; an evaluation switches its own on and off, so there it is said only if any."""
    patched = words.entry(about, "model", "patched_fix")
    return None if patched == "none" and about.get("tasks") else patched


def _task_names(about: Mapping[str, Any]) -> str:
    """The data sets of an evaluation."""
    tasks = about.get("tasks")
    entries = tasks if isinstance(tasks, list | tuple) else []
    return words.listing([entry["dataset"] for entry in entries if isinstance(entry, Mapping) and "dataset" in entry])


def _notes(about: Mapping[str, Any]) -> list[str]:
    notes = about.get("notes")
    items = notes if isinstance(notes, list | tuple) else [notes]
    return [said for said in map(words.listing, items) if said]
