"""Our encoder, under any fix, as a model of mteb's."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, Role, SentenceEncoder, fingerprint, inside
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import CorpusError, ModelError, OutputError, UncollapseError, nearest
from uncollapse.evaluation.mteb.library import aside, find_tasks, loading, require_mteb
from uncollapse.fixes import Fix, compose
from uncollapse.progress import Reporter, Silent

OVERWRITE = ("only-missing", "always")
"""Whether a result that is already filed is kept or made again."""


class MtebModel:
    """A model under one fix as mteb sees it (mteb's EncoderProtocol); from `as_mteb_model`.

    Args:
        encoder: encodes; its own copy, since mteb sets the batch size.
        meta: mteb's description of the model.
        progress: told how far encoding is.
    """

    def __init__(self, encoder: CachedEncoder, meta: Any, progress: Reporter) -> None:
        self.encoder, self.mteb_model_meta, self.progress = encoder, meta, progress

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        batch_size: int | None = None,
        precision: str = "float32",
        show_progress_bar: bool = True,  # noqa: ARG002 - part of mteb's protocol
    ) -> npt.NDArray[np.float32]:
        """Vectors of the texts in mteb's batches, float32 [texts, dim].

        Args:
            inputs: batches, each with a list `text`.
            task_metadata, hf_split, hf_subset: name the work in the progress bar.
            prompt_type: mteb's query or document, whose prompt is used; None for the model's default prompt.
            batch_size: texts a forward pass; None for the encoder's own.
            precision: "float32", in which everything here is measured.
            show_progress_bar: of mteb's own bars; this model tells the reporter given to `as_mteb_model`.

        Raises:
            ModelError: another precision, or vectors that are not finite.
        """
        if precision != "float32":
            raise ModelError(f"Expected precision 'float32', got {precision!r}. Leave it out of mteb's encode_kwargs.")
        self.encoder.encoder.batch_size = batch_size or self.encoder.encoder.batch_size
        texts = [text for batch in inputs for text in batch["text"]]
        role: Role = "text" if prompt_type is None else prompt_type.value
        what = "/".join([task_metadata.name, *([hf_subset] if hf_subset != "default" else []), hf_split])
        with self.progress.track(f"encode {what}", self.encoder.work(texts), "characters") as advance:
            return self.encoder.encode(texts, role=role, advance=advance).vectors

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The model's own similarity of every vector with every other, torch [texts, texts]."""
        return inside(self.encoder.encoder, "mteb").similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The model's own similarity of each vector with its partner, torch [texts]."""
        return inside(self.encoder.encoder, "mteb").similarity_pairwise(embeddings1, embeddings2)


def as_mteb_model(
    encoder: SentenceEncoder,
    fix: Fix | None = None,
    *,
    cache: Path | None = None,
    progress: Reporter | None = None,
) -> MtebModel:
    """Our encoder, under a fix or as it is, as a model that `mteb.evaluate` takes.

    The fix is patched on only while texts are encoded; the model is left bit for bit as it came. mteb files results
    under the model's fingerprint, and below it under `experiments/` by the fix, by a token limit that is not the
    folder's own, and by the number format if it is not float32. A fix that is folded into the weights needs no filing:
    it is another model.

    Args:
        encoder: from `load`.
        fix: such as `parse("temperature(0.9)")`.
        cache: folder where vectors are kept, so that no text is encoded twice; None keeps none.
        progress: shows how far encoding is.

    Raises:
        MissingExtraError: mteb is not installed.
        ArchitectureError: a fix that this model cannot take.

    >>> from uncollapse import load, parse
    >>> model = as_mteb_model(load("minilm"), parse("temperature(0.9)"))  # doctest: +SKIP
    >>> model.mteb_model_meta.experiment_name  # doctest: +SKIP
    'temperature_0.9'
    """
    require_mteb()
    fixes = compose(fix).inside("mteb")
    for one in fixes:
        with patch(encoder.model, one):
            pass  # a fix that this model cannot take is refused before any data are loaded
    cached = CachedEncoder(copy.copy(encoder), fixes, folder=cache)
    return MtebModel(cached, _describe(encoder, cached.max_tokens, fix), progress or Silent())


def _describe(encoder: SentenceEncoder, max_tokens: int, fix: Fix | None) -> Any:
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    return ModelMeta.create_empty(
        {
            "name": _name(encoder),
            "revision": fingerprint(encoder.source),
            "n_parameters": sum(parameter.numel() for parameter in encoder.model.parameters()),
            "max_tokens": None if max_tokens == NO_LIMIT else max_tokens,
            "embed_dim": encoder.dim,
            "similarity_fn_name": ScoringFunction.from_str(encoder.model.similarity_fn_name),
            "framework": ["Sentence Transformers", "PyTorch"],
            "use_instructions": any(encoder.model.prompts.values()),
            "experiment_kwargs": _experiment(encoder, fix),
        }
    )


def _name(encoder: SentenceEncoder) -> str:
    """An "organisation/model" name: the hub's own, or the last part of a folder's."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", encoder.name) and not Path(encoder.name).exists():
        return encoder.name
    return "uncollapse/" + (re.sub(r"[^\w.-]+", "-", Path(encoder.name).resolve().name) or "model")


def _experiment(encoder: SentenceEncoder, fix: Fix | None) -> dict[str, Any] | None:
    """What tells this run from others of the same weights, as mteb's hyper-parameters."""
    found: dict[str, Any] = {}
    for one in compose(fix).inside("mteb"):
        arguments = one.to_json()
        name, values = arguments.pop("fix"), list(arguments.values())
        found[name] = values[0] if len(values) == 1 else arguments
    if encoder.max_tokens != (encoder.folder_max_tokens or NO_LIMIT):
        found["max_tokens"] = encoder.max_tokens
    if encoder.dtype != "float32":
        found["dtype"] = encoder.dtype
    return found or None


def run_mteb(
    encoder: SentenceEncoder,
    tasks: Any,
    *,
    output: Path,
    fix: Fix | None = None,
    overwrite: str = "only-missing",
    cache: Path | None = None,
    progress: Reporter | None = None,
) -> Any:
    """Let mteb score an encoder, and file the results in mteb's own layout.

    They lie at `output/results/<model>/<fingerprint>/[experiments/<fix>/]<Task>.json`, where
    `mteb.ResultCache(output)` finds them. Nothing else is written, except by the hub's client into its own cache.

    Args:
        encoder: from `load`; its batch size is used.
        tasks: a name or several of tasks or benchmarks, such as "SciFact" or "LongEmbed", or task objects, also from
            `as_mteb_task`.
        output: folder of the results.
        fix: patched on while encoding.
        overwrite: "only-missing" keeps results of the same data that are there, "always" makes them again.
        cache: folder where vectors are kept; None keeps none.
        progress: shows how far encoding is.

    Returns:
        mteb's ModelResult; `to_dataframe()` gives a table of main scores.

    Raises:
        MissingExtraError: mteb is not installed.
        CorpusError: no such task, one that needs more than texts, or data neither on this machine nor reachable.
        OutputError: a folder that cannot be made.
        UncollapseError: another word for `overwrite`.
    """
    if overwrite not in OVERWRITE:
        raise UncollapseError(
            f"`overwrite` must be one of its words, got {overwrite!r}. {nearest(overwrite, OVERWRITE)}"
        )
    model = as_mteb_model(encoder, fix, cache=cache, progress=progress)
    found = find_tasks(tasks)
    for task in found:
        _check_texts(task)
    results = _result_cache(output)
    done = [_run(model, task, results, overwrite) for task in found]
    return done[0].model_copy(update={"task_results": [result for one in done for result in one.task_results]})


def _check_texts(task: Any) -> None:
    if list(task.modalities) != ["text"]:
        raise CorpusError(
            f"Expected a task on texts alone, got mteb's {task.metadata.name!r}, which needs "
            f"{', '.join(task.modalities)}. Leave it out."
        )


def _result_cache(output: Path) -> Any:
    from mteb import ResultCache

    try:
        return ResultCache(output)
    except OSError as error:
        raise OutputError(
            f"Expected a folder for mteb's results, got {str(output)!r}: {error}. Name another."
        ) from error


def _run(model: MtebModel, task: Any, results: Any, overwrite: str) -> Any:
    from mteb import evaluate

    filed = results.load_task_result(task.metadata.name, model.mteb_model_meta)
    is_stale = filed is not None and filed.dataset_revision != task.metadata.revision  # which mteb does not look at
    size = model.encoder.encoder.batch_size
    encode_kwargs = {"show_progress_bar": False, **({} if size is None else {"batch_size": size})}
    with aside(), loading(task):
        return evaluate(
            model,
            task,
            cache=results,
            overwrite_strategy="always" if is_stale else overwrite,
            encode_kwargs=encode_kwargs,
            show_progress_bar=False,
            co2_tracker=False,
            public_only=False,
        )
