"""What filter rates cost and how sure they are: against all singular values and against a plain forward pass.

    python benchmarks/filter_rate.py [--rounds 7] [--lengths 64 128 256 512] [--long]

On the 72 heads of the bundled model (documentation strings, one text at a time) and on Gaussian maps of spread 1: the
processor time of `filter_rate`, of `torch.linalg.svdvals` of the same maps and of the model's forward pass, in turns,
in one thread; errors and certificates; maps made to mislead the search. On one streamed head: memory and processor
time by length next to attention itself, and the power of n by which both grow. --long adds 32,768 tokens.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from measures import MemoryWatch
from uncollapse.corpora import open_corpus
from uncollapse.encoders import find_source
from uncollapse.spectra import StreamedMap, filter_rate, gaussian_map

HEADS = 72
WIDTH = 32


def processor_time(action: Callable[[], object]) -> float:
    """Milliseconds of this thread."""
    start = time.thread_time()
    action()
    return 1000 * (time.thread_time() - start)


def in_turns(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Times of each action, round by round, in another order each round, after one run that does not count."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    order, shuffle = list(actions), random.Random(0)
    for action in actions.values():
        action()
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(processor_time(actions[name]))
    return times


def interval(values: Sequence[float]) -> str:
    """Median and its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(np.array(values), (2000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return f"{np.median(values):.2f} [{low:.2f}, {high:.2f}]"


class Model:
    """The bundled model, plain and with its attention maps."""

    def __init__(self) -> None:
        folder = str(find_source("minilm"))
        self.plain = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval()
        self.eager = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        text = " ".join(found.text for found in open_corpus("docstrings", limit=400))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
        self.ends = tokenizer.cls_token_id, tokenizer.sep_token_id

    def batch(self, n: int, place: int) -> dict[str, Tensor]:
        """One text of n tokens, each place another one."""
        inner = self.ids[place * 512 : place * 512 + n - 2]
        ids = torch.cat([torch.tensor(self.ends[:1]), inner, torch.tensor(self.ends[1:])])[None]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def maps(self, n: int, place: int) -> Tensor:
        """[72, n, n]."""
        attentions = self.eager(**self.batch(n, place), output_attentions=True).attentions
        return torch.cat(attentions).reshape(-1, n, n).clone()


def centred(maps: Tensor) -> Tensor:
    return maps - maps.mean(-2, keepdim=True)


def print_speed(model: Model, lengths: Sequence[int], rounds: int) -> None:
    print("\n| n | maps | filter_rate, ms | svdvals, ms | svdvals / filter_rate | filter_rate / forward | rounds |")
    print("|---|---|---|---|---|---|---|")
    for n in lengths:
        generator = torch.Generator().manual_seed(n)
        gaussian = torch.stack([gaussian_map(n, 1.0, generator) for _ in range(HEADS)])
        for name, maps in (("real heads", model.maps(n, 0)), ("Gaussian, s = 1", gaussian)):
            times = in_turns(
                {
                    "filter rate": lambda maps=maps: filter_rate(maps),
                    "all": lambda maps=maps: torch.linalg.svdvals(centred(maps)),
                    "forward": lambda n=n: model.plain(**model.batch(n, 0)),
                },
                rounds,
            )
            found, everything, forward = (np.array(times[key]) for key in ("filter rate", "all", "forward"))
            medians = f"{np.median(found):.1f} | {np.median(everything):.0f}"
            ratios = f"{interval(everything / found)} | {interval(found / forward)}"
            print(f"| {n} | {HEADS} {name} | {medians} | {ratios} | {rounds} |")


def print_errors(model: Model, lengths: Sequence[int], texts: int) -> None:
    print(
        "\n| n | heads | largest relative error | certified | proved to 0.1 % | ceiling / value, median and largest |"
    )
    print("|---|---|---|---|---|---|")
    for n in lengths:
        errors, certified, ceilings = [], [], []
        for place in range(texts):
            maps = model.maps(n, place)
            rates, truth = filter_rate(maps), torch.linalg.svdvals(centred(maps))[:, 0]
            errors.append((rates.value - truth).abs() / truth)
            certified.append(rates.certified())
            ceilings.append(rates.ceiling / rates.value)
        ceiling = torch.cat(ceilings)
        shares = f"{share(torch.cat(certified))} | {share(ceiling <= 1.001)}"
        print(
            f"| {n} | {len(ceiling)} | {float(torch.cat(errors).max()):.1e} | {shares} | "
            f"{float(ceiling.median()):.4f}, {float(ceiling.max()):.2f} |"
        )


def share(those: Tensor) -> str:
    return f"{float(those.float().mean()):.1%}"


def two_sectors(n: int, ratio: float, generator: torch.Generator) -> Tensor:
    """A sink that is found at once and exactly, and random signs whose leading direction is `ratio` times as large.

    What two halves of the tokens have in common carries the sink, what tells them apart the signs: they never meet.
    """
    half = n // 2
    apart = (torch.randint(0, 2, (half, half), generator=generator) * 2.0 - 1) / n
    goal = float(torch.linalg.svdvals(apart)[0]) / ratio
    common = torch.full((half, half), 1 / half)
    rows = half // 2
    strength = goal / (rows * (half - rows) / half * (1 - 1 / half)) ** 0.5
    common[:rows] *= 1 - strength
    common[:rows, 0] += strength
    same, other = (common + apart) / 2, (common - apart) / 2
    return torch.cat([torch.cat([same, other], 1), torch.cat([other, same], 1)])


def print_misleading(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    ratios = (1.002, 1.005, 1.01, 1.02, 1.04, 1.08)
    print("\n| n | maps made to mislead | certified | certified, more than 0.1 % too small | above their ceiling |")
    print("|---|---|---|---|---|")
    for n in (100, 200, 400):
        maps = torch.stack([two_sectors(n, ratio, generator) for ratio in ratios for _ in range(count)])
        rates, truth = filter_rate(maps), torch.linalg.svdvals(centred(maps.double()))[:, 0]
        wrong = rates.certified() & (rates.value < truth * (1 - 1e-3))
        above = int((truth > rates.ceiling * (1 + 1e-5)).sum())
        print(f"| {n} | {len(maps)} | {share(rates.certified())} | {int(wrong.sum())} | {above} |")


def streamed(n: int) -> tuple[Tensor, Tensor]:
    """Queries and keys of one head with a sink."""
    query, key = torch.randn(2, 1, n, WIDTH, generator=torch.Generator().manual_seed(0))
    key[:, 0] += query.mean(-2)
    return 1.3 * query, key


def print_streamed(lengths: Sequence[int], causal: bool) -> None:
    print("\nEvery token looks at itself and those before it." if causal else "\nEvery token looks everywhere.")
    print("\n| n | filter_rate streamed, s | attention itself (SDPA), s | peak memory, MB | one map, MB | certified |")
    print("|---|---|---|---|---|---|")
    ours, theirs = [], []
    for n in lengths:
        query, key = streamed(n)
        with MemoryWatch() as memory:
            start = time.thread_time()
            rates = filter_rate(StreamedMap(query, key, WIDTH**-0.5, causal=causal))
            ours.append(time.thread_time() - start)
        theirs.append(min(_attention(query, key, causal) for _ in range(3)))
        sizes = f"{memory.above_mb:.0f} | {4 * n * n / 2**20:.0f}"
        print(f"| {n} | {ours[-1]:.2f} | {theirs[-1]:.3f} | {sizes} | {bool(rates.certified().all())} |")
    powers = [float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0]) for seconds in (ours, theirs)]
    print(f"\nTime grows as n^{powers[0]:.2f} for the filter rate and as n^{powers[1]:.2f} for attention itself.")


def _attention(query: Tensor, key: Tensor, causal: bool) -> float:
    attend = torch.nn.functional.scaled_dot_product_attention
    return processor_time(lambda: attend(query[None], key[None], key[None], is_causal=causal)) / 1000


def load() -> str:
    return ", ".join(f"{average:.1f}" for average in os.getloadavg())


PARTS = ("streamed", "speed", "errors", "misleading")
"""In the order they are printed: memory first, as long as there is none that was used before and is free again."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--texts", type=int, default=4, help="texts whose heads are checked for errors (default 4)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--long", action="store_true", help="stream 32,768 tokens as well")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    asked = options()
    parts = (asked.only,) if asked.only else PARTS
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"one thread, processor time; load of the machine over 1, 5, 15 minutes: {load()}")
    if "streamed" in parts:
        for causal in (False, True):
            print_streamed([1024, 2048, 4096, 8192, *([32768] if asked.long else [])], causal)
    if "speed" in parts or "errors" in parts:
        model = Model()
    if "speed" in parts:
        print_speed(model, asked.lengths, asked.rounds)
    if "errors" in parts:
        print_errors(model, asked.lengths, asked.texts)
    if "misleading" in parts:
        print_misleading(20)
    print(f"\nload at the end: {load()}")


if __name__ == "__main__":
    main()
