"""Where each architecture forms its attention logits: one table for patching, folding and documentation.

Every logit is `scale * q.k + bias`, so dividing all logits of a head by a temperature means multiplying everything
linear that forms them by `1 / tau`. A `Spec` lists those things for one attention class; `find_sites` resolves the
specs on a model. Classes are matched by name and package, never by the names of their attributes alone: under a
normalised query, scaling the projection would do nothing, in silence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.errors import ArchitectureError, nearest


class Layout(StrEnum):
    """How the entries along one axis of a tensor belong to the heads."""

    HEADS = "one block of entries a head"
    FIRST = "the query's blocks first, then keys and values"
    INTERLEAVED = "query, key and value blocks side by side in each head"
    PER_HEAD = "one entry a head"
    SHARED = "the same entries serve every head"
    NUMBER = "a plain number of the module"


@dataclass(frozen=True)
class Term:
    """One thing that is multiplied by 1 / tau.

    Args:
        path: attribute of the attention module: a layer, a parameter or a number.
        layout: which entries belong to which head.
        axis: axis of a bare parameter that holds the entries.
        output_axis: axis of a layer's output that holds them.
        head_axis: for SHARED layers, the axis of their output that counts heads.
        text_axis, token_axis: axes of a layer's output that count the texts of the batch and their tokens.
        method: for a layer whose output knows no texts, what the module makes the bias of a batch with.
        plus_one: the layer multiplies by (1 + weight) rather than by weight.
        config_key: for NUMBER, the config entry it is made from; "" if the code makes it.
    """

    path: str
    layout: Layout = Layout.HEADS
    axis: int = 0
    output_axis: int = -1
    head_axis: int = -2
    text_axis: int = 0
    token_axis: int = 1
    method: str = ""
    plus_one: bool = False
    config_key: str = ""


@dataclass(frozen=True)
class BiasTable:
    """A position bias made once and handed to every layer as the argument `position_bias`.

    Args:
        owner: class that owns the table, "" if the bias is no table of weights but code.
        path: the table's attribute in its owner.
        method: what its owner makes the bias with.
        position: place of the argument in the attention's call.
        chained: each layer hands on the bias it got (T5), instead of all getting the first one (MPNet).
    """

    owner: str = ""
    path: str = ""
    method: str = ""
    position: int = 2
    chained: bool = False


@dataclass(frozen=True)
class Spec:
    """What forms the logits of one attention class.

    Args:
        terms: the terms; those whose attribute is absent or None in a configuration are left out.
        when, then: where the module has the attribute `when`, the terms are `then` instead.
        bias: a position bias shared by the layers.
        scores_head_axis: axis of the softmax input that counts heads.
        fixed: what the weights cannot carry, "" if a fold is possible.
        batched: why its texts cannot each have a factor of their own, "" if they can.
    """

    terms: tuple[Term, ...]
    when: str = ""
    then: tuple[Term, ...] = ()
    bias: BiasTable | None = None
    scores_head_axis: int = 1
    fixed: str = ""
    batched: str = ""


def _query(path: str, **keys: Any) -> Spec:
    return Spec((Term(path),), **keys)


def _normed(norm: str, head_axis: int, **keys: Any) -> Spec:
    """A query norm, shared by all heads, that is the last thing before the product with the keys."""
    return Spec((Term("q_proj"),), when=norm, then=(_shared(norm, head_axis, **keys),))


def _shared(norm: str, head_axis: int, **keys: Any) -> Term:
    """A norm of [texts, tokens, heads, head_dim], or of [texts, heads, tokens, head_dim] where head_axis is -3."""
    return Term(norm, Layout.SHARED, head_axis=head_axis, token_axis=2 if head_axis == -3 else 1, **keys)


_QUERY = _query("query")
_Q_PROJ = _query("q_proj")
_T5_BIAS = Term("relative_attention_bias", Layout.PER_HEAD, method="compute_bias")
_SOFTCAP = Term("attn_logit_softcapping", Layout.NUMBER, config_key="attn_logit_softcapping")
_XLNET_BIASES = tuple(Term(f"r_{kind}_bias", Layout.PER_HEAD) for kind in "wrs")
_NO_NORM_WEIGHT = "its query is normalised by a layer without weights, which could not carry a factor"
_NO_ROWS = "its projections serve the relative positions too, which are the same for every text of a batch"
_ONE_SCALE = "its scores are multiplied by one number for every text"
_ALIBI = "its position slopes (ALiBi) are constants of the code"

SPECS: dict[str, Spec] = {
    "bert.BertSelfAttention": _QUERY,
    "roberta.RobertaSelfAttention": _QUERY,
    "xlm_roberta.XLMRobertaSelfAttention": _QUERY,
    "xlm_roberta_xl.XLMRobertaXLSelfAttention": _QUERY,
    "camembert.CamembertSelfAttention": _QUERY,
    "xmod.XmodSelfAttention": _QUERY,
    "ernie.ErnieSelfAttention": _QUERY,
    "electra.ElectraSelfAttention": _QUERY,
    "roc_bert.RoCBertSelfAttention": _QUERY,
    "mobilebert.MobileBertSelfAttention": _QUERY,
    "esm.EsmSelfAttention": _QUERY,
    "roformer.RoFormerSelfAttention": _QUERY,
    "rembert.RemBertSelfAttention": _QUERY,
    "megatron_bert.MegatronBertSelfAttention": _QUERY,
    "nystromformer.NystromformerSelfAttention": _QUERY,
    "big_bird.BigBirdSelfAttention": _QUERY,
    "big_bird.BigBirdBlockSparseAttention": _QUERY,
    "albert.AlbertAttention": _QUERY,
    "distilbert.DistilBertSelfAttention": _query("q_lin"),
    "xlm.MultiHeadAttention": _query("q_lin"),
    "squeezebert.SqueezeBertSelfAttention": Spec((Term("query", output_axis=-2, token_axis=2),)),
    # The query of ConvBERT also drives its convolution, so the keys carry the factor.
    "convbert.ConvBertSelfAttention": _query("key"),
    "longformer.LongformerSelfAttention": Spec(
        (Term("query", text_axis=1, token_axis=0), Term("query_global", text_axis=1, token_axis=0)),
        scores_head_axis=2,
    ),
    "xlnet.XLNetRelativeAttention": Spec(
        (Term("q", Layout.PER_HEAD, axis=1), *_XLNET_BIASES),
        batched="its query is made by parameters, which are the same for every text",
    ),
    "mpnet.MPNetSelfAttention": _query(
        "q", bias=BiasTable("mpnet.MPNetEncoder", "relative_attention_bias", "compute_position_bias")
    ),
    "t5.T5Attention": _query(
        "q", bias=BiasTable("t5.T5Attention", "relative_attention_bias", "compute_bias", chained=True)
    ),
    "mt5.MT5Attention": _query(
        "q", bias=BiasTable("mt5.MT5Attention", "relative_attention_bias", "compute_bias", chained=True)
    ),
    "umt5.UMT5Attention": Spec((Term("q"), _T5_BIAS)),
    "deberta.DisentangledSelfAttention": Spec(
        (Term("in_proj", Layout.INTERLEAVED), Term("q_bias"), Term("pos_q_proj")), batched=_NO_ROWS
    ),
    "deberta_v2.DisentangledSelfAttention": Spec((Term("query_proj"), Term("pos_query_proj")), batched=_NO_ROWS),
    "nomic_bert.NomicBertAttention": _Q_PROJ,
    "gte.GteAttention": _Q_PROJ,
    "jina_embeddings_v3.JinaEmbeddingsV3Attention": _Q_PROJ,
    "modernbert.ModernBertAttention": Spec((Term("Wqkv", Layout.FIRST),)),
    "eurobert.EuroBertAttention": _Q_PROJ,
    "ultrabert.UltrabertAttention": _Q_PROJ,
    "neomme.NeoMMEAttention": Spec((_shared("q_norm", -3),), fixed=_NO_NORM_WEIGHT),
    "llama.LlamaAttention": _Q_PROJ,
    "mistral.MistralAttention": _Q_PROJ,
    "ministral3.Ministral3Attention": _Q_PROJ,
    "qwen2.Qwen2Attention": _Q_PROJ,
    "gemma.GemmaAttention": _Q_PROJ,
    "granite.GraniteAttention": _Q_PROJ,
    "qwen3.Qwen3Attention": _normed("q_norm", -2),
    "qwen3_moe.Qwen3MoeAttention": _normed("q_norm", -2),
    "lfm2.Lfm2Attention": _normed("q_layernorm", -2),
    "gemma3.Gemma3Attention": _normed("q_norm", -3, plus_one=True),
    "embedding_gemma2.EmbeddingGemma2Attention": _normed("q_norm", -3),
    "olmo2.Olmo2Attention": _query("q_norm"),
    "esmc.EsmcAttention": _query("q_norm"),
    "cohere.CohereAttention": Spec(
        (Term("q_proj"),), when="q_norm", then=(Term("q_norm", Layout.PER_HEAD, output_axis=-2),)
    ),
    "phi.PhiAttention": _normed("q_layernorm", -3),
    "phi3.Phi3Attention": Spec((Term("qkv_proj", Layout.FIRST),)),
    "gpt2.GPT2Attention": Spec((Term("c_attn", Layout.FIRST),)),
    "gpt_neox.GPTNeoXAttention": Spec((Term("query_key_value", Layout.INTERLEAVED),)),
    "gemma2.Gemma2Attention": Spec((Term("q_proj"), _SOFTCAP)),
    "t5gemma.T5GemmaSelfAttention": Spec((Term("q_proj"), _SOFTCAP)),
    "gpt_oss.GptOssAttention": Spec(
        (Term("q_proj"), Term("sinks", Layout.PER_HEAD)), batched="its sinks are the same for every text"
    ),
    "mistral4.Mistral4Attention": Spec((Term("q_proj"),), when="q_b_proj", then=(Term("q_b_proj"),)),
    "llama4.Llama4TextAttention": Spec((Term("q_proj"),), when="qk_norm", then=(Term("scaling", Layout.NUMBER),)),
    "nanochat.NanoChatAttention": Spec((_shared("q_norm", -3),), fixed=_NO_NORM_WEIGHT),
    "bloom.BloomAttention": Spec(
        (Term("beta", Layout.NUMBER), Term("inv_norm_factor", Layout.NUMBER)),
        fixed=_ALIBI,
        batched=_ONE_SCALE,
    ),
    "mpt.MptAttention": Spec(
        (Term("softmax_scale", Layout.NUMBER),), bias=BiasTable(position=1), fixed=_ALIBI, batched=_ONE_SCALE
    ),
}
"""Attention class, as `package.Class` of transformers.models, to what forms its logits."""


@dataclass(frozen=True)
class Site:
    """One attention module of a model, with the terms it really has.

    Args:
        name: path of the module in the model.
        module: the attention module.
        layers: the layers it serves, several only where layers share one module.
        heads, head_dim: number of query heads and their width.
        terms: what is multiplied.
        spec: its row of the table.
    """

    name: str
    module: nn.Module
    layers: tuple[int, ...]
    heads: int
    head_dim: int
    terms: tuple[Term, ...]
    spec: Spec

    def heads_of(self, term: Term, entries: int) -> torch.Tensor:
        """Which head each of `entries` entries belongs to: int64 [entries], -1 for entries that stay as they are."""
        index = torch.arange(entries)
        if term.layout is Layout.PER_HEAD:
            return index
        if term.layout is Layout.HEADS:
            return index // (entries // self.heads)
        if term.layout is Layout.FIRST:
            return torch.where(index < self.heads * self.head_dim, index // self.head_dim, -1)
        block = entries // self.heads
        return torch.where(index % block < block // 3, index // block, -1)


def class_key(module: nn.Module) -> str:
    """`package.Class`, the key of the table: `bert.BertSelfAttention`."""
    kind = type(module)
    parts = kind.__module__.split(".")
    return f"{parts[2] if parts[:2] == ['transformers', 'models'] else kind.__module__}.{kind.__name__}"


def backbone(model: nn.Module) -> PreTrainedModel:
    """The one transformers model inside a model (or itself)."""
    found: list[PreTrainedModel] = []
    inside: set[int] = set()
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and id(module) not in inside:
            found.append(module)
            inside.update(map(id, module.modules()))
    if len(found) != 1:
        names = ", ".join(type(module).__name__ for module in found) or "none"
        raise ArchitectureError(
            f"Expected one transformers model inside {type(model).__name__}, found {names}. A static or remote-code "
            "model has no attention that can be reached here; a router of several models is fixed one by one."
        )
    return found[0]


def find_sites(holder: nn.Module, specs: Mapping[str, Spec] = SPECS) -> tuple[Site, ...]:
    """All attention sites of a model, in layer order.

    Args:
        holder: a transformers model, or anything that holds exactly one.
        specs: the table; give your own to serve remote code, keyed by `module.Class` (`class_key` tells).

    Raises:
        ArchitectureError: no attention of the table, or attention beside it that the table does not know.
    """
    model = backbone(holder)
    if isinstance(getattr(model, "decoder", None), nn.Module) and getattr(model.config, "is_encoder_decoder", False):
        raise ArchitectureError(
            f"Expected an encoder or a decoder alone, got {type(model).__name__} with both. Give the encoder, as "
            "sentence-transformers loads it."
        )
    found = [(name, module) for name, module in model.named_modules() if class_key(module) in specs]
    _refuse_unknown(model, {name for name, _ in found}, specs)
    shared = _layers_served(model, [name for name, _ in found])
    return tuple(_resolve(name, module, shared[name], specs) for name, module in found)


def _resolve(name: str, module: nn.Module, layers: tuple[int, ...], specs: Mapping[str, Spec]) -> Site:
    spec = specs[class_key(module)]
    chosen = spec.then if spec.when and getattr(module, spec.when, None) is not None else spec.terms
    terms = tuple(term for term in chosen if getattr(module, term.path, None) is not None)
    if not terms:
        raise ArchitectureError(f"{class_key(module)} at {name!r} has none of {[term.path for term in chosen]}.")
    heads = int(_attribute(module, "num_attention_heads", "num_heads", "n_heads", "n_head"))
    head_dim = _attribute(
        module, "qk_head_dim", "head_dim", "attention_head_size", "key_value_proj_dim", "d_head", "head_size"
    )
    return Site(name, module, layers, heads, int(head_dim or 0), terms, spec)


def _attribute(module: nn.Module, *names: str) -> Any:
    """The first of several names that the module or its config has; architectures differ in nothing but the name."""
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            if (value := getattr(holder, name, None)) is not None:
                return value
    return None


def _layers_served(model: PreTrainedModel, names: list[str]) -> dict[str, tuple[int, ...]]:
    """One layer a module in order; where layers share modules (ALBERT), all layers of the module's group."""
    groups = getattr(model.config, "num_hidden_groups", None)
    if groups is None:
        return {name: (number,) for number, name in enumerate(names)}
    layers: int = model.config.num_hidden_layers
    per_group = len(names) // groups
    members = [tuple(i for i in range(layers) if int(i / (layers / groups)) == group) for group in range(groups)]
    return {name: members[number // per_group] for number, name in enumerate(names)}


def _refuse_unknown(model: PreTrainedModel, found: set[str], specs: Mapping[str, Spec]) -> None:
    unknown = sorted({class_key(module) for _, module in _unknown_attention(model, found)})
    model_type = str(model.config.model_type)
    if found and not unknown:
        return
    if not found and not unknown:
        raise ArchitectureError(
            f"Expected a model with softmax attention, got {model_type!r}, which has no attention module. "
            "A temperature cannot act on it; text and vector fixes can."
        )
    known = sorted({key.split(".")[0] for key in specs})
    raise ArchitectureError(
        f"No temperature for {model_type!r}: its attention {', '.join(unknown)} is not in the table of sites. "
        f"{nearest(model_type, known, 'Known architectures')} For remote code, give find_sites a Spec for that "
        "class; if the class mixes query and key before the product, open an issue with its forward function."
    )


def _unknown_attention(model: PreTrainedModel, found: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Attention modules that are neither a site, nor around or inside one, nor of another modality."""
    for name, module in model.named_modules():
        if "attention" not in type(module).__name__.lower() or any(word in name for word in ("vision", "audio")):
            continue
        related = any(f"{site}.".startswith(f"{name}.") or f"{name}.".startswith(f"{site}.") for site in found)
        if not related:
            yield name, module
