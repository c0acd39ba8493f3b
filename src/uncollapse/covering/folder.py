"""Write a model whose folder asks for `cover` with the code that does it wherever sentence-transformers runs."""

import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from uncollapse.copies import copy_file, copy_model
from uncollapse.covering import long_texts
from uncollapse.covering.cards import write_section
from uncollapse.encoders import SentenceEncoder, load_model, quiet
from uncollapse.encoders.sentence import NO_LIMIT, ROLES
from uncollapse.encoders.sources import LONG_TEXTS, LONG_TEXTS_SCHEMA, MODEL, has_long_texts
from uncollapse.errors import ArchitectureError, FixError, ModelError
from uncollapse.exporting.originals import copy_licences, write_card
from uncollapse.exporting.parity import Agreement, agreement
from uncollapse.exporting.probes import LONGEST, make_probes, make_text
from uncollapse.fixes import parse
from uncollapse.fixes.texts import cutting
from uncollapse.fixes.texts.cover import Cover
from uncollapse.pipelines.encoder import encode
from uncollapse.pipelines.several import direct
from uncollapse.provenance import describe_run
from uncollapse.records import LengthBins
from uncollapse.writing import check_apart, check_target, whole_folder

PARITY, PARITY_SCHEMA = "parity.json", "uncollapse.long_texts_parity/1"

LIMIT = 1e-3
"""Largest error that is allowed, as a share of the spread of the vectors."""

TIMES = (1.02, 1.2, 1.7, 3.0, 6.0)
"""Lengths of probes beyond the model's limit, in limits."""

_SETTINGS = "config_sentence_transformers.json"
_IMPORT = f"from {cutting.__name__} import"

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LongTextsReport:
    """What was written, and how near its own code comes to this package.

    Args:
        folder: the new model.
        text_fix: notation of the fix on texts that its code does.
        max_tokens: tokens that the model reads at once.
        n_texts: probes.
        longest: tokens of the longest one.
        spread: root mean square distance of the vectors of the probes from their mean; the smallest of all roles.
        rows: by role, batching and length.
    """

    folder: Path
    text_fix: str
    max_tokens: int
    n_texts: int
    longest: int
    spread: float
    rows: tuple[Agreement, ...]

    @property
    def largest_error(self) -> float:
        """Of all rows; infinite where any vector is not finite."""
        return max(float("inf") if row.largest_error is None else row.largest_error for row in self.rows)


def export_long_texts(
    name: str,
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> LongTextsReport:
    """Write a model that reads texts to their end in plain sentence-transformers, by code in its own folder.

    `fix --auto` and `cover(...)` write into a folder what shall be done with texts beyond the model's limit, and only
    this package does it. Here the folder brings its own code along, long_texts.py, which does it wherever
    sentence-transformers runs, with `SentenceTransformer(folder, trust_remote_code=True)`. `OUT/model` is the same
    model without that code, which cuts texts off. The new folder is loaded as anybody loads it and compared with this
    package, in every role and on texts of every length, before it takes its name.

    Args:
        name: model to start from, as for `load_model`, whose folder asks for `cover`: one that `fix` wrote.
        out: the new folder.
        force: replace a folder that this wrote.
        trust_remote_code: as for `load_model`; whoever loads the new folder runs that code, too.
        step: told what is being done.

    Raises:
        OutputError: a folder that is in the way, or a disk that is full.
        FixError: a model that asks for no fix on texts, or for another one.
        ArchitectureError: one that cannot be read in pieces so.
        ModelError: a folder that does not give the vectors of this package.

    >>> export_long_texts("my-model-fixed", "my-model-long").largest_error < 1e-3  # doctest: +SKIP
    True
    """
    target = Path(out)
    may_write = partial(check_target, target, force=force, what="folder that reads long texts", known=has_long_texts)
    may_write()
    step("loading")
    stock = load_model(name, device="cpu", trust_remote_code=trust_remote_code)
    check_apart(target, stock.source)
    chunk = _chunk(stock)
    with whole_folder(target, check=may_write) as part:
        step("copying the model")
        tuple(copy_model(stock.source, part / MODEL, weights=False))
        _write_code(stock, part, chunk, remote_code=trust_remote_code)
        step("comparing with this package, by length")
        report = _compare(stock, part)
        if not report.largest_error <= LIMIT:
            raise ModelError(_why(report))
        _write_report(stock, part, report)
    return replace(report, folder=target)


def _chunk(stock: SentenceEncoder) -> int:
    """The size of the chunks that the folder asks for.

    Raises:
        FixError: it asks for none, or for something else.
        ArchitectureError: the model cannot be read so.
    """
    if not stock.text_fix:
        raise FixError(
            f"{stock.name!r} asks for no fix on texts, so there is nothing to add to its folder. Write one "
            'first: `uncollapse fix MODEL "cover(126)" -o OUT`, or `--auto`.'
        )
    wanted = parse(stock.text_fix)
    if not isinstance(wanted, Cover):
        raise FixError(
            f"Code for a folder of its own is there for cover(...) alone, got `{wanted}` in {stock.name!r}."
        )
    tokenizer = stock.model.tokenizer
    reasons = {
        "its first module is no transformer": not isinstance(stock.model[0], Transformer),
        "its folder has no modules.json": not (stock.source / "modules.json").is_file(),
        f"it compares vectors by {stock.similarity} distance, and they have norms": not _directed(stock)
        and stock.similarity != "dot",
        "it puts texts into a chat template, whose tokens are not counted": "message"
        in getattr(stock.model[0], "modality_config", {}),
        "it has no token limit": stock.max_tokens >= NO_LIMIT,
        "its tokenizer does not say where tokens begin": not getattr(tokenizer, "is_fast", False),
        "its tokenizer cuts the beginning of texts off": getattr(tokenizer, "truncation_side", "right") != "right",
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise ArchitectureError(
            f"{stock.name!r} cannot be written with code that reads long texts: {' and '.join(found)}. `uncollapse "
            "embed` reads its texts to their end."
        )
    return wanted.size


def _write_code(stock: SentenceEncoder, part: Path, chunk: int, *, remote_code: bool) -> None:
    """The one module of the new folder, its settings, and what the model says of prompts."""
    about = {
        "schema": LONG_TEXTS_SCHEMA,
        "text_fix": stock.text_fix,
        "remote_code": remote_code,
        "chunk": chunk,
        "directed": _directed(stock),
    }
    module = {"idx": 0, "name": "0", "path": "", "type": "long_texts.LongTexts"}
    _write_json(part / "modules.json", [module])
    _write_json(part / LONG_TEXTS, about)
    code = Path(str(inspect.getsourcefile(long_texts))).read_text(encoding="utf-8")
    (part / "long_texts.py").write_text(code.replace(_IMPORT, "from .cutting import"), encoding="utf-8")
    shutil.copyfile(str(inspect.getsourcefile(cutting)), part / "cutting.py")
    inner = stock.source / json.loads((stock.source / "modules.json").read_text(encoding="utf-8"))[0]["path"]
    for place, name in ((stock.source, _SETTINGS), (inner, "config.json")):  # servers ask for the second
        if (place / name).is_file():
            copy_file(place / name, part / name, stock.source)
    copy_licences(stock.source, part)


def _directed(stock: SentenceEncoder) -> bool:
    """Whether vectors are told by their direction alone, so that all of them get norm 1."""
    return stock.normalises or stock.similarity == "cosine"


def _write_json(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_long_probes(stock: SentenceEncoder) -> list[str]:
    """The probes of an export, and texts beyond the model's limit."""
    texts, _ = make_probes(stock)
    generator = np.random.default_rng(1)
    times = TIMES if stock.max_tokens <= LONGEST else TIMES[:1]
    return texts + [make_text(stock, int(stock.max_tokens * more), generator) for more in times]


def _compare(stock: SentenceEncoder, part: Path) -> LongTextsReport:
    """Hold the folder, loaded as anybody loads it, against this package."""
    with quiet():
        model = SentenceTransformer(str(part), device="cpu", trust_remote_code=True)
    _remove_copy(type(model[0]))
    texts = make_long_probes(stock)
    counts = stock.count(texts)
    rows, spreads = list[Agreement](), list[float]()
    by_role = {"document": model.encode_document, "query": model.encode_query, "text": model.encode}
    for role in ROLES:
        wanted = encode(stock, texts, role=role).vectors
        wanted = direct(wanted, texts, stock.text_fix) if _directed(stock) else wanted
        spreads.append(float(np.sqrt(np.square(wanted - wanted.mean(axis=0)).sum(axis=1).mean())))
        for batching, found in _encoded(by_role[role], texts):
            some = _agreements(found, wanted, counts, batching=batching, spread=spreads[-1])
            rows += [replace(row, route=role) for row in some]
    return LongTextsReport(
        part, stock.text_fix, stock.max_tokens, len(texts), int(counts.max()), min(spreads), tuple(rows)
    )


def _remove_copy(code: type) -> None:
    """Remove what transformers copied of the code into its cache, by the name that the folder has only meanwhile."""
    for place in Path(inspect.getfile(code)).parents[:2]:
        if "_dot_partial_hyphen_" in place.name:
            shutil.rmtree(place, ignore_errors=True)


def _encoded(encode: Callable[..., Any], texts: Sequence[str]) -> Iterator[tuple[str, Vectors]]:
    """The vectors of texts one by one, and of all together."""
    yield "alone", np.stack([encode(text, show_progress_bar=False) for text in texts])
    yield "together", encode(texts, show_progress_bar=False)


def _agreements(
    found: Vectors, wanted: Vectors, counts: npt.NDArray[np.int64], *, batching: str, spread: float
) -> Iterator[Agreement]:
    bins = LengthBins.powers_of_two(int(counts.max()))
    assigned = bins.assign(counts)
    for place, label in enumerate(bins.labels):
        if len(rows := np.flatnonzero(assigned == place)):
            yield agreement(found[rows], wanted[rows], label=label, batching=batching, spread=spread)


def _why(report: LongTextsReport) -> str:
    worst = max(report.rows, key=lambda row: row.distance)
    return (
        "The folder's own code must give the vectors of this package, but differs by "
        f"{'more than any number' if worst.largest_error is None else format(worst.largest_error, '.2g')} of their "
        f"spread at {worst.bin} tokens ({worst.how}), and {LIMIT:g} is allowed. Nothing was kept. Report it with the "
        "name of the model."
    )


def _write_report(stock: SentenceEncoder, part: Path, report: LongTextsReport) -> None:
    facts = {"schema": PARITY_SCHEMA, "text_fix": report.text_fix, "limit": LIMIT, "spread": report.spread}
    facts |= {"rows": [asdict(row) for row in report.rows], "source": stock.about, **describe_run()}
    _write_json(part / PARITY, facts)
    told = (report.text_fix, report.max_tokens, report.rows)
    write_card(part, stock.source, write_section(stock.name, *told, limit=LIMIT, spread=report.spread))
