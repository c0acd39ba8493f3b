"""Write a fixed model: the source folder copied, only the changed weights replaced, whole or not at all."""

import copy
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from uncollapse.attention.folding import fold
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.sites import backbone
from uncollapse.attention.verification import verify
from uncollapse.cards import FixReport, write_card
from uncollapse.configs import edit_config, set_limit
from uncollapse.copies import copy_model
from uncollapse.encoders import CachedEncoder, SentenceEncoder, load_model
from uncollapse.encoders.sentence import ROLES
from uncollapse.encoders.sources import read_record, write_record
from uncollapse.errors import FixError, ModelError
from uncollapse.fixes import Composition, Fix, compose, parse
from uncollapse.fixes.statistics import FEWEST
from uncollapse.modules import Linear, append_modules
from uncollapse.pipelines.automatic import Chosen
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline, fitting_work, sample
from uncollapse.progress import Reporter, Silent
from uncollapse.provenance import digest_texts
from uncollapse.weights import grown_buffers, replace_weights, saved_tensors
from uncollapse.writing import check_apart, check_target, read_known, whole_folder

PROBE_TEXTS = (
    "short",
    "A sentence of middling length, with a comma and a full stop.",
    "Long texts drift together when attention averages over more and more tokens. " * 12,
    "",
    "Unrelated: the ferry to the island leaves at a quarter past seven, weather permitting.",
)
"""Texts of mixed length, so that the batch is padded."""

LONGEST_PROBE = 2048
"""Tokens of a probe text at most, where a fix lets a model read on; some seconds for a small model."""


def fix(
    name: str,
    fix: Fix | Chosen,
    out: str | os.PathLike[str],
    *,
    corpus: Unlabelled | None = None,
    cache: Path | None = None,
    seed: int = 0,
    force: bool = False,
    trust_remote_code: bool = False,
    step: Callable[[str], None] = lambda _: None,
    progress: Reporter | None = None,
) -> FixReport:
    """Write a model with its fixes as a folder that stock sentence-transformers loads.

    What acts inside the model is multiplied into its weights; what acts on vectors becomes stock modules after it, a
    Dense, or a Router where queries have a map of their own. A fix on texts is named in `uncollapse.json`,
    which this package heeds and others do not. The folder appears under its name only when it is complete, reloaded
    and checked. Files, tensors and config entries that the fixes do not concern are those of the source, byte for
    byte. A fix that lets the model read on changes where the folder cuts texts, too.

    Args:
        name: model to start from, as for `load_model`.
        fix: what to write; what `choose` gave is recorded with its reasons.
        out: the new folder.
        corpus: what fixes on vectors are fitted to, without labels.
        cache: folder where its vectors are kept; None keeps none.
        seed: of whatever is drawn from the corpus.
        force: replace an existing model folder.
        trust_remote_code: as for `load_model`.
        step: told what is being done.
        progress: shows how far encoding the corpus is.

    Raises:
        OutputError: a folder that is in the way, or a disk that is full.
        ArchitectureError: a model that cannot carry the fix, or was fixed before.
        FixError: a fix that no folder can hold, one that needs a corpus, or a larger one, or a corpus that nothing is
            fitted to.
        ModelError: a reloaded folder that disagrees with the patched model.

    Source of the temperature: Zhou et al., ACL 2025 (arXiv 2410.24200); that it folds exactly is this package's own.
    """
    target, chosen = Path(out), compose(fix.fix if isinstance(fix, Chosen) else fix)
    check_output(target, force=force)
    _check_shippable(chosen, corpus)
    step("loading")
    stock = load_model(name, device="cpu", trust_remote_code=trust_remote_code)
    check_apart(target, stock.source)
    _check_unfitted(stock)
    base = CachedEncoder(stock, chosen.model, folder=cache if chosen.vectors else None)
    fixed = _fit(base, chosen, corpus or Unlabelled((), ()), seed, progress or Silent())
    step("checking against the fix, taken literally")
    order = _order(name, stock, fixed, _learned(fixed, corpus, seed), trust_remote_code)
    order = replace(order, reasons=fix.reasons if isinstance(fix, Chosen) else ())
    step("writing")
    with whole_folder(target, lambda: check_output(target, force=force)) as part:
        return _write(part, target, order, step)


@dataclass(frozen=True, eq=False)
class _Folded:
    """The transformer with every fix in its weights.

    Args:
        model: it.
        changed: tensors and config entries.
        effect: of the fixes on hidden states.
        error: of the folding, of hidden states.
    """

    model: PreTrainedModel
    changed: tuple[str, ...]
    effect: float
    error: float


@dataclass(frozen=True, eq=False)
class _Order:
    """What is to be written, and what its vectors must be.

    Args:
        name: of the model, as it was asked for.
        stock, fixed: the model as it came, and with its fixes.
        folded: its transformer.
        linear: what its vectors go through; None for nothing.
        learned: what that was fitted to.
        limit: tokens at which the new folder cuts texts; None for nowhere.
        probes: texts to compare on.
        wanted: their vectors.
        effect: how far the fixes move them.
        trust_remote_code: as for `load_model`.
        reasons: why these fixes; nothing where whoever asked knows.
    """

    name: str
    stock: SentenceEncoder
    fixed: FixedEncoder
    folded: _Folded
    linear: Linear | None
    learned: Mapping[str, Any]
    limit: int | None
    probes: tuple[str, ...]
    wanted: npt.NDArray[np.float32]
    effect: float
    trust_remote_code: bool
    reasons: tuple[str, ...] = ()


def _order(
    name: str, stock: SentenceEncoder, fixed: FixedEncoder, learned: Mapping[str, Any], trust_remote_code: bool
) -> _Order:
    linear = Linear.of(fixed.fitted.maps) if fixed.fitted.maps else None
    folded = _fold_all(stock, fixed.fix.model)
    limit, probes = _limit(stock, fixed.base), _probes(stock, fixed.base.max_tokens)
    compared = limit, probes, *_fixed_vectors(stock, fixed, probes)
    return _Order(name, stock, fixed, folded, linear, learned, *compared, trust_remote_code)


def _write(part: Path, target: Path, order: _Order, step: Callable[[str], None]) -> FixReport:
    """Fill an empty folder that will be called `target`, reload it, and say in its card what was found."""
    chosen, stock, folded = order.fixed.fix, order.stock, order.folded
    left_out = tuple(copy_model(stock.source, part, weights=bool(chosen.model)))
    dtype = _replace(part, stock, folded.model, order.limit) if chosen.model else torch.float32
    moved = () if order.limit == stock.folder_max_tokens else ("max_seq_length",)
    added = append_modules(part, order.linear) if order.linear else ()
    if chosen.vectors or chosen.text:  # of a fix in the weights, config.json speaks
        _write_record(part, order)
    step("reloading with stock sentence-transformers")
    report = FixReport(
        folder=target,
        fix=str(chosen),
        changed=(*folded.changed, *moved),
        effect=folded.effect,
        fold_difference=folded.error,
        vector_effect=order.effect,
        reload_difference=_reload_difference(part, order, dtype),
        left_out=left_out,
        dtype=str(dtype).removeprefix("torch."),
        max_tokens=order.limit,
        source_max_tokens=stock.folder_max_tokens,
        modules=added,
        text_fix=str(chosen.text or ""),
        fitted=order.learned,
        source_fix=stock.folded_fix,
        source_fingerprint=str(stock.about["fingerprint"]),
        reasons=order.reasons,
    )
    write_card(part, order.name, report)
    return report


def _fit(base: CachedEncoder, chosen: Composition, corpus: Unlabelled, seed: int, progress: Reporter) -> FixedEncoder:
    if not chosen.vectors:
        return FixedEncoder(base, chosen)
    work = fitting_work(base, chosen, corpus, seed=seed)
    with progress.track("encoding what is fitted to", work, "characters") as advance:
        return fit_pipeline(base, chosen, corpus, seed=seed, advance=advance)


def _check_shippable(chosen: Composition, corpus: Unlabelled | None) -> None:
    if not chosen.parts:
        raise FixError("Expected at least one fix to write, got none. Give one, such as temperature(0.8).")
    if chosen.score is not None:
        raise FixError(
            f"`{chosen.score}` corrects scores by one more dimension of the vectors in an index, which no model "
            "folder can hold. Leave it out here, and apply it where vectors are written."
        )
    check_corpus(chosen, is_given=corpus is not None)


def check_corpus(chosen: Composition, *, is_given: bool) -> None:
    """Raise FixError where texts to fit to are missing, or would do nothing.

    Args:
        chosen: what is to be written.
        is_given: whether there are texts.
    """
    if chosen.vectors and not is_given:
        parts = " + ".join(str(one) for one in chosen.vectors)
        raise FixError(f"`{parts}` is fitted to texts. Name the corpus that will be searched: --corpus docs.jsonl.")
    if is_given and not chosen.vectors:
        raise FixError(f"`{chosen}` learns nothing from texts, so a corpus would do nothing. Leave it out.")


def _write_record(part: Path, order: _Order) -> None:
    """What the folder is, with what was in the weights of its source before."""
    before, chosen = order.stock.folded_fix, order.fixed.fix
    whole = chosen if before == str(Composition(())) else Composition((parse(before), *chosen.parts))
    facts = {"fix": str(whole), "text_fix": str(chosen.text or ""), "base": order.name, "fitted": order.learned}
    write_record(part, {**facts, "reasons": order.reasons})


def _check_unfitted(stock: SentenceEncoder) -> None:
    record = read_record(stock.source)
    if record.get("fitted") or record.get("text_fix"):
        raise FixError(
            f"{stock.name!r} was fixed with `{record['fix']}` already, and a second fix would be fitted to the first. "
            "Start from the original model."
        )


def _learned(fixed: FixedEncoder, corpus: Unlabelled | None, seed: int) -> dict[str, Any]:
    """What fixes were fitted to, for whoever meets the folder."""
    if corpus is None or not fixed.fitted.maps:
        return {}
    learned, real = fixed.fitted.learned_from, len(corpus.queries) >= FEWEST
    drawn = sample(corpus, seed)
    return {
        "documents": len(drawn.documents),
        "of": len(corpus.documents),
        "queries": learned.get("queries", 0),
        "queries_are": "real, without their answers" if real else "sentences of the documents",
        "seed": seed,
        "fingerprint": digest_texts((*drawn.documents, *drawn.queries)),
    }


def _fold_all(stock: SentenceEncoder, fixes: Sequence[ModelFix]) -> _Folded:
    model, changed, effect, error = backbone(stock.model), list[str](), 0.0, 0.0
    for one in fixes:
        before, model = model, copy.deepcopy(model)
        changed += fold(model, one)
        found = verify(before, one, model)
        effect, error = max(effect, found.effect), max(error, found.folded or 0.0)
    return _Folded(model, tuple(dict.fromkeys(changed)), effect, error)


def _limit(stock: SentenceEncoder, base: CachedEncoder) -> int | None:
    """Where the new folder cuts texts: as its source does, unless a fix lets the model read on."""
    return stock.folder_max_tokens if base.max_tokens == stock.max_tokens else base.max_tokens


def _probes(stock: SentenceEncoder, limit: int) -> tuple[str, ...]:
    """The probe texts; where a fix lets a model read on, one more, cut off by the old limit and the new."""
    if limit == stock.max_tokens:
        return PROBE_TEXTS
    sentence = PROBE_TEXTS[1]
    own = max(1, int(stock.count([sentence])[0]) - stock.n_special_tokens)
    return (*PROBE_TEXTS, " ".join([sentence] * (min(limit, LONGEST_PROBE) // own + 2)))


def _fixed_vectors(
    stock: SentenceEncoder, fixed: FixedEncoder, probes: Sequence[str]
) -> tuple[npt.NDArray[np.float32], float]:
    """Vectors of the probe texts as documents and queries, with every fix but that on texts, and how far it moved."""
    parts = Composition((*fixed.fix.model, *fixed.fix.vectors))
    bare = FixedEncoder(fixed.base, parts, fixed.fitted)
    after = np.concatenate([bare.encode(probes, role=role).vectors for role in ROLES])
    before = np.concatenate([stock.as_role(role).vectors(probes) for role in ROLES])
    return after, float(np.abs(after - before).max()) if after.shape == before.shape else float("inf")


def _replace(part: Path, stock: SentenceEncoder, folded: PreTrainedModel, limit: int | None) -> torch.dtype:
    """Put folded weights, config entries and limit into the copied folder; returns the precision of the weights."""
    place, model = part / _transformer_path(stock.source), backbone(stock.model)
    grown = grown_buffers(model, folded)
    dtype = replace_weights(place, saved_tensors(model, part), saved_tensors(folded, part), grown)
    edit_config(place / "config.json", model.config.to_dict(), folded.config.to_dict())
    if limit is not None and limit != stock.folder_max_tokens:
        set_limit(place, limit)
    return dtype


def check_output(target: Path, *, force: bool) -> None:
    """Raise unless a folder can be written at `target` without destroying anything but a model."""
    check_target(target, force=force, what="model", known=_is_model)


def _is_model(folder: Path) -> bool:
    """Whether its files say so; other programs have a config.json too."""
    config, modules = (read_known(folder / name) for name in ("config.json", "modules.json"))
    listed = [one for one in modules if isinstance(one, dict)] if isinstance(modules, list) else []
    is_one = isinstance(config, dict) and "model_type" in config
    return is_one or any(one.keys() >= {"type", "path"} for one in listed)


def _transformer_path(source: Path) -> Path:
    """Where in the folder the transformer lies: the first module's path, usually the folder itself."""
    modules = source / "modules.json"
    if not modules.exists():
        return Path()
    first = json.loads(modules.read_text(encoding="utf-8"))[0]
    if not str(first["type"]).endswith("Transformer"):
        raise ModelError(
            f"Expected a transformer as the first module of {str(source)!r}, got {first['type']!r}. "
            "Fix each part of a router on its own."
        )
    return Path(first["path"])


def _reload(folder: Path, limit: int | None, trust_remote_code: bool) -> SentenceEncoder:
    """The written folder as anyone loads it, refused if it cuts texts elsewhere than it should."""
    model = load_model(str(folder), device="cpu", trust_remote_code=trust_remote_code)
    if model.folder_max_tokens != limit:
        raise ModelError(
            f"The written model must cut texts at {limit} tokens, but cuts them at {model.folder_max_tokens}: "
            "something else in the source's folder than max_seq_length and model_max_length sets its limit. Nothing "
            "was kept."
        )
    return model


def _reload_difference(folder: Path, order: _Order, dtype: torch.dtype) -> float:
    """Largest difference of vectors between the written folder and the patched model, computed in float32.

    A folder of 32-bit weights must agree to rounding. One of 16-bit weights cannot hold a product exactly, but what
    rounding costs must stay far below what the fix does, or unfixed weights would pass.
    """
    model = _reload(folder, order.limit, order.trust_remote_code)
    got, wanted = np.concatenate([model.as_role(role).vectors(order.probes) for role in ROLES]), order.wanted
    difference = float(np.abs(got - wanted).max())
    rounding = 1e-5 * max(1.0, float(np.abs(wanted).max()))
    allowed = rounding if dtype.itemsize >= 4 else max(rounding, 0.25 * order.effect)
    if not difference <= allowed:
        raise ModelError(
            f"The written model must give the patched model's vectors, but differs by {difference:.2g} (allowed "
            f"{allowed:.2g} in {dtype}). Nothing was kept. Fold from a source stored in float32."
        )
    return difference
