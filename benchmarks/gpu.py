"""What a fix and a look inside cost on a graphics card, length by length, as ratios to the plain model.

    python benchmarks/gpu.py                    # needs CUDA, and says so where there is none
    python benchmarks/gpu.py --tiny             # the same on the processor with tiny models, in seconds: does it run?

Shapes of ModernBERT-base, Qwen3-0.6B and BERT-large with random weights (time does not depend on their values; BERT's
table of positions is made as long as the texts). Each in fp16 and bf16, with SDPA and, where flash_attn is installed,
with FlashAttention. Per length, in turns and in another order each round: the model as it is, the same again (noise),
temperature(0.8) folded into the weights, and temperature(law=log, n0=128) patched on. Then a forward pass observed by
everything that `explain` measures, in three rounds, since it takes long. A ratio is the median over rounds with its
95 % bootstrap interval; goals: folded within noise, tau(n) at most 1.02 at 8,192 tokens, observed at most 2.

    python benchmarks/gpu.py --observed 32768   # the longest texts, which take longer than all the rest
"""

import argparse
import copy
import importlib.util
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from transformers import AutoModel, BertConfig, ModernBertConfig, PreTrainedConfig, PreTrainedModel, Qwen3Config

from uncollapse.attention.folding import fold
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.observing import observe
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.explanation.maps import measure_logits
from uncollapse.explanation.settings import Settings
from uncollapse.spectra import hc_share, measure_states, power_spectrum

TAU, LAW = Temperature(0.8), TemperatureLaw("log", n0=128)


@dataclass(frozen=True)
class Plan:
    """What is run: models by name, where, how exactly, and to which lengths."""

    configs: dict[str, PreTrainedConfig]
    device: str
    dtypes: tuple[torch.dtype, ...]
    kernels: tuple[str, ...]
    lengths: tuple[int, ...]
    observed: tuple[int, ...]
    tokens: int
    rounds: int
    observed_rounds: int


def large(asked: argparse.Namespace) -> Plan:
    longest = max(*asked.lengths, *asked.observed)
    configs = {
        "ModernBERT-base": ModernBertConfig(max_position_embeddings=longest),
        "Qwen3-0.6B": Qwen3Config(
            vocab_size=151_936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
            num_key_value_heads=8, head_dim=128, max_position_embeddings=longest,
        ),
        "BERT-large": BertConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
            max_position_embeddings=longest,
        ),
    }  # fmt: skip
    kernels = ("sdpa", "flash_attention_2") if importlib.util.find_spec("flash_attn") else ("sdpa",)
    dtypes = (torch.float16, torch.bfloat16)
    return Plan(
        {name: config for name, config in configs.items() if asked.only in (None, name)},
        "cuda", dtypes, kernels, tuple(asked.lengths), tuple(asked.observed), asked.tokens, asked.rounds,
        asked.observed_rounds,
    )  # fmt: skip


def tiny() -> Plan:
    small = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"intermediate_size": 64, "max_position_embeddings": 128}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    configs = {
        "ModernBERT-base": ModernBertConfig(**small, **special, cls_token_id=1, sep_token_id=2, local_attention=16),
        "Qwen3-0.6B": Qwen3Config(**small, **special, num_key_value_heads=1, head_dim=16),
        "BERT-large": BertConfig(**small),
    }
    return Plan(configs, "cpu", (torch.float32,), ("sdpa",), (32, 64), (64,), 128, 3, 3)


def build(config: PreTrainedConfig, device: str, dtype: torch.dtype, kernel: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModel.from_config(config, dtype=dtype, attn_implementation=kernel).eval().to(device)


def batch(model: PreTrainedModel, n: int, tokens: int) -> dict[str, torch.Tensor]:
    """Texts of n tokens, as many as there are tokens for, at least one."""
    shape, generator = (max(1, tokens // n), n), torch.Generator().manual_seed(0)
    ids = torch.randint(3, model.config.vocab_size, shape, generator=generator)
    return {"input_ids": ids.to(model.device), "attention_mask": torch.ones_like(ids).to(model.device)}


def seconds(action: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(actions: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in each round, after one run that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    order, shuffle = list(actions), random.Random(0)
    for action in actions.values():
        action()
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            taken[name].append(seconds(actions[name], device))
    return taken


def ratio(values: Sequence[float], base: Sequence[float]) -> str:
    """Median of the ratios of the rounds, with its bootstrap interval."""
    ratios = np.array(values) / np.array(base)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return f"{np.median(ratios):.3f} [{low:.3f}, {high:.3f}]"


def sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Another model with the same tensors, so that what is put on it is not on the first."""
    held = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in held})


def run_fixes(model: PreTrainedModel, n: int, plan: Plan) -> dict[str, list[float]]:
    """The model as it is, twice, with a fix in its weights, and under a law."""
    features, folded = batch(model, n, plan.tokens), copy.deepcopy(model)
    fold(folded, TAU)

    watched = sharing_weights(model)
    with patch(watched, LAW):  # put on once, as in use: only the passes are timed
        return in_turns(
            {
                "as it is": lambda: model(**features),
                "again (noise)": lambda: model(**features),
                "folded": lambda: folded(**features),
                "tau(n)": lambda: watched(**features),
            },
            plan.device,
            plan.rounds,
        )


def run_observed(model: PreTrainedModel, n: int, plan: Plan) -> dict[str, list[float]]:
    """A plain pass of one text, and the same with everything measured that `explain` measures."""
    features, settings = batch(model, n, n), Settings()

    def see_heads(heads) -> None:
        measure_logits(heads.logits, special=None, window=settings.window, seed=settings.seed)
        hc_share(heads.output)

    def see_states(states) -> None:
        for stage in states.stages.values():
            measure_states(stage)
        power_spectrum(list(states.stages.values())[-1])

    watched = sharing_weights(model)
    with observe(watched, on_heads=see_heads, on_states=see_states):  # its own checks are not timed
        ways = {"as it is": lambda: model(**features), "observed": lambda: watched(**features)}
        return in_turns(ways, plan.device, plan.observed_rounds)


Runner = Callable[[PreTrainedModel, int, Plan], dict[str, list[float]]]


def rows(plan: Plan, lengths: Sequence[int], run: Runner) -> Iterator[str]:
    """One line of a table for each model, precision, kernel, length and way; one that does not fit says so."""
    for name, config in plan.configs.items():
        for dtype in plan.dtypes:
            for kernel in plan.kernels:
                model = build(config, plan.device, dtype, kernel)
                for n in lengths:
                    what = f"| {name} | {str(dtype).removeprefix('torch.')} | {kernel} | {n:,}"
                    try:
                        taken = run(model, n, plan)
                    except torch.OutOfMemoryError:
                        yield f"{what} | all | did not fit into memory | | |"
                        continue
                    base = taken["as it is"]
                    for way, values in taken.items():
                        middle = 1000 * np.median(values)
                        yield f"{what} | {way} | {middle:.2f} | {ratio(values, base)} | {len(values)} |"


def print_table(plan: Plan, lengths: Sequence[int], run: Runner) -> None:
    print("\n| model | precision | attention | tokens | what | ms | ratio to as it is | rounds |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows(plan, lengths, run):
        print(row, flush=True)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny models on the processor: shows only that it runs")
    parser.add_argument("--only", choices=("ModernBERT-base", "Qwen3-0.6B", "BERT-large"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--observed", type=int, nargs="+", default=[2048, 8192], help="lengths looked into")
    parser.add_argument("--tokens", type=int, default=16_384, help="of a pass of the fixes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--observed-rounds", type=int, default=3)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = options(arguments)
    if not asked.tiny and not torch.cuda.is_available():
        raise SystemExit(
            "There is no graphics card here that this torch can use (torch.cuda.is_available() is False), so nothing "
            "was measured. --tiny runs the same on the processor, to show that it works."
        )
    plan = tiny() if asked.tiny else large(asked)
    transformers.logging.set_verbosity_error()
    where = "the processor, tiny models: no measurement" if asked.tiny else torch.cuda.get_device_name()
    print(f"{where}; torch {torch.__version__}, transformers {transformers.__version__}; attention: {plan.kernels}")
    with torch.inference_mode():
        print_table(plan, plan.lengths, run_fixes)
        print_table(plan, plan.observed, run_observed)


if __name__ == "__main__":
    main()
