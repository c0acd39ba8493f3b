"""A sentence-transformers folder around a tiny random model, with a word-piece tokenizer made in memory."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from architectures import build
from uncollapse.attention.verification import probe_states

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,-:;'()"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(max_tokens: int = 60) -> PreTrainedTokenizerFast:
    """Letters as tokens, so that 99 entries of vocabulary are enough."""
    vocabulary = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=max_tokens,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def save_tiny(folder: Path, name: str = "bert", *, max_tokens: int = 60, dtype: torch.dtype = torch.float32) -> Path:
    """Write a loadable folder: a transformer in the root, mean pooling, normalisation."""
    model = build(name, dtype=dtype)
    model.save_pretrained(folder)
    tokenizer(max_tokens).save_pretrained(folder)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    _write(folder / "config_sentence_transformers.json", {"__version__": {}, "prompts": {}})
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _write(folder / "modules.json", modules)
    width = probe_states(model).shape[-1]
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    _write(folder / "1_Pooling/config.json", pooling)
    return folder


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data))
