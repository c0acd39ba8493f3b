"""What of the theory is about real texts: filter rates of real heads by length, and the drift of the mean vector.

    python benchmarks/drift.py CORPUS [--documents 64] [--seed 0]

The same documents are cut to 8, 16, 32, ... tokens. Prints the median filter rate over the heads of the bundled model,
then the length of the mean vector mu(n), its square beside the mean cosine of different documents, and the cosine of
mu(n) with mu of the shortest length; each with a 95 % interval over documents, and a sentence computed from them.
"""

import argparse
import os
from collections.abc import Sequence

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from uncollapse.corpora import open_corpus
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.explanation.estimates import cosine_of, resample
from uncollapse.explanation.reading import choose
from uncollapse.explanation.recording import Recording, looking
from uncollapse.explanation.settings import Settings
from uncollapse.progress import Bars
from uncollapse.records import FloatArray
from uncollapse.resampling import Estimate, difference, document_keys, poisson_weights


def shown(estimate: Estimate) -> str:
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def means(vectors: FloatArray, ids: Sequence[str], settings: Settings) -> tuple[FloatArray, FloatArray]:
    """The mean vector, and that of every resampled corpus."""
    drawn = poisson_weights(document_keys(ids), settings.replicates, seed=settings.seed).astype(np.float64)
    return vectors.mean(0), (drawn.T @ vectors) / drawn.sum(0)[:, None]


def cosine(one: FloatArray, other: FloatArray) -> FloatArray:
    found: FloatArray = (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)
    return found


def print_heads(found: Sequence[Recording], ids: Sequence[str], settings: Settings) -> None:
    rates = [
        resample(one.heads["filter_rate"], ids, replicates=settings.replicates, seed=settings.seed).median()
        for one in found
    ]
    print("| tokens | median filter rate over heads |\n|---|---|")
    for one, rate in zip(found, rates, strict=True):
        print(f"| {one.n} | {shown(rate)} |")
    change = difference(rates[-1], rates[0])
    grows = change.low is not None and change.low > 0
    print(f"\nThe filter rate of real heads grows with length: {'holds' if grows else 'fails'}, {shown(change)}.\n")


def print_drift(found: Sequence[Recording], ids: Sequence[str], settings: Settings) -> None:
    first, first_replicates = means(found[0].vectors, ids, settings)
    print("| tokens | length of mu(n) | its square | mean cosine | cosine of mu(n) with the first |")
    print("|---|---|---|---|---|")
    gaps = []
    for one in found:
        mean, replicates = means(one.vectors, ids, settings)
        size = Estimate.of(float(np.linalg.norm(mean)), np.linalg.norm(replicates, axis=-1), n=len(ids))
        turned = Estimate.of(float(cosine(mean, first)), cosine(replicates, first_replicates), n=len(ids))
        pairs = cosine_of(one.vectors, ids, replicates=settings.replicates, seed=settings.seed)
        gaps.append(abs(size.value**2 - pairs.value))
        print(f"| {one.n} | {shown(size)} | {size.value**2:.3f} | {shown(pairs)} | {shown(turned)} |")
    bound = 1 / len(ids)
    print(f"\n|mu(n)|^2 is the mean cosine up to 1/N = {bound:.3f}: {'holds' if max(gaps) <= bound else 'fails'},")
    print(f"largest difference {max(gaps):.3f}, n = {len(ids)} documents.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    settings = Settings(documents=asked.documents, seed=asked.seed)
    encoder = load("minilm", max_tokens="table")
    assert isinstance(encoder, SentenceEncoder)
    chosen = choose(encoder, open_corpus(asked.corpus), settings)
    ids, texts = [d.id for d in chosen.documents], [d.text for d in chosen.documents]
    work = len(texts) * sum(chosen.lengths)
    with looking(encoder, settings, states=False) as looker, Bars().track("texts", work, "tokens") as advance:
        found = [looker.record(texts, n, advance=advance) for n in chosen.lengths]
    print_heads(found, ids, settings)
    print_drift(found, ids, settings)


if __name__ == "__main__":
    main()
