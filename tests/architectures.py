"""Tiny random models of every architecture in the table of sites, three layers of four heads, made from configs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModel, PreTrainedModel

LAYERS, HEADS = 3, 4

ENCODER: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 96,
    "max_position_embeddings": 66,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DECODER: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5: dict[str, Any] = {
    "vocab_size": 99,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 96,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "dropout_rate": 0.0,
}
WINDOWS = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GEMMA2 = {**DECODER, **WINDOWS, "head_dim": 16, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 48}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", ENCODER),
    "roberta": ("roberta", ENCODER),
    "xlm-roberta": ("xlm-roberta", ENCODER),
    "xlm-roberta-xl": ("xlm-roberta-xl", ENCODER),
    "camembert": ("camembert", ENCODER),
    "xmod": ("xmod", {**ENCODER, "languages": ["en_XX"], "default_language": "en_XX"}),
    "ernie": ("ernie", ENCODER),
    "electra": ("electra", {**ENCODER, "embedding_size": 32}),
    "roc_bert": ("roc_bert", {**ENCODER, "enable_pronunciation": False, "enable_shape": False}),
    "mobilebert": (
        "mobilebert",
        {
            **ENCODER,
            "embedding_size": 32,
            "intra_bottleneck_size": 32,
            "true_hidden_size": 32,
            "normalization_type": "layer_norm",
            "trigram_input": False,
        },
    ),
    "esm": (
        "esm",
        {**ENCODER, "pad_token_id": 1, "mask_token_id": 3, "position_embedding_type": "rotary"},
    ),
    "roformer": ("roformer", {**ENCODER, "embedding_size": 64}),
    "rembert": ("rembert", {**ENCODER, "input_embedding_size": 32}),
    "megatron-bert": ("megatron-bert", ENCODER),
    "nystromformer": ("nystromformer", {**ENCODER, "segment_means_seq_len": 64, "num_landmarks": 64}),
    "big_bird": ("big_bird", {**ENCODER, "attention_type": "original_full"}),
    "big_bird-sparse": ("big_bird", {**ENCODER, "block_size": 2, "num_random_blocks": 1}),
    "albert": ("albert", {**ENCODER, "embedding_size": 32}),
    "albert-groups": ("albert", {**ENCODER, "embedding_size": 32, "num_hidden_groups": 3}),
    "distilbert": (
        "distilbert",
        {
            "vocab_size": 99,
            "dim": 64,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "hidden_dim": 96,
            "max_position_embeddings": 64,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        },
    ),
    "xlm": (
        "xlm",
        {
            "vocab_size": 99,
            "emb_dim": 64,
            "n_layers": LAYERS,
            "n_heads": HEADS,
            "max_position_embeddings": 64,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            "n_langs": 1,
        },
    ),
    "squeezebert": ("squeezebert", {**ENCODER, "embedding_size": 64}),
    "convbert": ("convbert", {**ENCODER, "embedding_size": 64, "head_ratio": 1, "conv_kernel_size": 3}),
    "longformer": ("longformer", {**ENCODER, "attention_window": 8}),
    "xlnet": (
        "xlnet",
        {"vocab_size": 99, "d_model": 64, "n_layer": LAYERS, "n_head": HEADS, "d_inner": 96, "dropout": 0.0},
    ),
    "mpnet": ("mpnet", ENCODER),
    "t5": ("t5", T5),
    "mt5": ("mt5", T5),
    "umt5": ("umt5", T5),
    "deberta": (
        "deberta",
        {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 32},
    ),
    "deberta-v2": (
        "deberta-v2",
        {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16},
    ),
    "deberta-v2-shared": (
        "deberta-v2",
        {
            **ENCODER,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
        },
    ),
    "nomic_bert": ("nomic_bert", ENCODER),
    "gte": ("gte", ENCODER),
    "jina_embeddings_v3": ("jina_embeddings_v3", ENCODER),
    "modernbert": (
        "modernbert",
        {
            "vocab_size": 99,
            "hidden_size": 64,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "local_attention": 8,
            "global_attn_every_n_layers": 2,
        },
    ),
    "eurobert": ("eurobert", DECODER),
    "ultrabert": ("ultrabert", DECODER),
    "neomme": ("neomme", DECODER),
    "llama": ("llama", DECODER),
    "mistral": ("mistral", {**DECODER, "sliding_window": 8}),
    "ministral3": ("ministral3", {**DECODER, "head_dim": 16}),
    "qwen2": ("qwen2", DECODER),
    "gemma": ("gemma", {**DECODER, "head_dim": 16}),
    "granite": ("granite", DECODER),
    "qwen3": ("qwen3", {**DECODER, "head_dim": 16}),
    "qwen3_moe": ("qwen3_moe", {**DECODER, **EXPERTS, "head_dim": 16, "num_experts": 4}),
    "lfm2": ("lfm2", {**DECODER, "num_hidden_layers": 4, "layer_types": ["conv", *["full_attention"] * 3]}),
    "gemma3": (
        "gemma3_text",
        {**DECODER, **WINDOWS, "head_dim": 16, "query_pre_attn_scalar": 16, "use_bidirectional_attention": True},
    ),
    "embedding_gemma2": (
        "embedding_gemma2_text",
        {**DECODER, **WINDOWS, "head_dim": 16, "hidden_size_per_layer_input": 16, "embedding_dim": 32},
    ),
    "olmo2": ("olmo2", DECODER),
    "esmc": ("esmc", {**DECODER, "num_key_value_heads": HEADS}),
    "cohere": ("cohere", {**DECODER, "use_qk_norm": True}),
    "cohere-plain": ("cohere", DECODER),
    "phi": ("phi", DECODER),
    "phi-normed": ("phi", {**DECODER, "qk_layernorm": True}),
    "phi3": ("phi3", DECODER),
    "gpt2": (
        "gpt2",
        {
            "vocab_size": 99,
            "n_embd": 64,
            "n_layer": LAYERS,
            "n_head": HEADS,
            "n_positions": 64,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
    ),
    "gpt_neox": ("gpt_neox", {key: value for key, value in DECODER.items() if key != "num_key_value_heads"}),
    "gemma2": ("gemma2", GEMMA2),
    "gemma2-uncapped": ("gemma2", {**GEMMA2, "attn_logit_softcapping": None}),
    "t5gemma": ("t5gemma", {"encoder": GEMMA2, "decoder": GEMMA2, "vocab_size": 99, "is_encoder_decoder": False}),
    "gpt_oss": (
        "gpt_oss",
        {**DECODER, **WINDOWS, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "mistral4": (
        "mistral4",
        {
            **DECODER,
            **EXPERTS,
            "num_key_value_heads": HEADS,
            "n_routed_experts": 4,
            "kv_lora_rank": 16,
            "q_lora_rank": 24,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
        },
    ),
    "llama4": (
        "llama4_text",
        {
            **DECODER,
            "head_dim": 16,
            "intermediate_size_mlp": 96,
            "num_local_experts": 2,
            "use_qk_norm": False,
            "attention_chunk_size": 64,
            "no_rope_layers": [1, 0, 1],
        },
    ),
    "llama4-normed": (
        "llama4_text",
        {
            **DECODER,
            "head_dim": 16,
            "intermediate_size_mlp": 96,
            "num_local_experts": 2,
            "use_qk_norm": True,
            "attention_chunk_size": 64,
            "no_rope_layers": [1, 0, 1],
        },
    ),
    "nanochat": ("nanochat", DECODER),
    "bloom": ("bloom", {"vocab_size": 99, "hidden_size": 64, "n_layer": LAYERS, "n_head": HEADS}),
    "mpt": ("mpt", {"vocab_size": 99, "d_model": 64, "n_layers": LAYERS, "n_heads": HEADS, "max_seq_len": 64}),
}
"""Name of a test model to its model type and config."""

ENCODER_CLASSES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "t5gemma": "T5GemmaEncoderModel",
}


def build(name: str, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> PreTrainedModel:
    """A tiny random model, its weights large enough that a temperature moves the output visibly."""
    model_type, settings = CONFIGS[name]
    config = AutoConfig.for_model(model_type, **settings)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"  # the grouped kernel knows no float64
    make = getattr(transformers, ENCODER_CLASSES[name]) if name in ENCODER_CLASSES else AutoModel.from_config
    model: PreTrainedModel = make(config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        # Norm weights stay near their start, everything else gets a spread that makes attention uneven.
        noise = torch.randn(parameter.shape, generator=generator) * (0.1 if parameter.ndim < 2 else 0.25)
        parameter.data = (parameter.data if parameter.ndim < 2 else 0) + noise
    return model.to(dtype).eval()


class _StayDouble(TorchFunctionMode):
    """Keep float64 where model code casts to float32, so that a test sees its own errors and not rounding."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        double = bool(args) and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64
        if func is torch.Tensor.float:
            return args[0].double()
        if double and kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        if double and func is torch.Tensor.to and torch.float32 in args[1:]:
            args = (args[0], *[torch.float64 if a is torch.float32 else a for a in args[1:]])
        if double and func is torch.Tensor.type and torch.float32 in args[1:]:
            return args[0]
        return func(*args, **kwargs)


@contextmanager
def stay_double() -> Iterator[None]:
    """Run model code in float64 throughout."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _StayDouble():
            yield
    finally:
        torch.set_default_dtype(before)
