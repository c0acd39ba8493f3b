"""The collapse on one corpus under several temperatures: the same documents cut to n tokens.

    python benchmarks/collapse.py CORPUS [--tau 1.0 0.8 0.5] [--windows 100] [--model minilm]

Prints mean cosine and effective rank by window, and the share of the rise each temperature takes back, with 95 %
intervals over documents.
"""

import argparse
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.corpora import open_corpus
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.verdict import from_short_end, recovered, trends
from uncollapse.diagnosis.views import View
from uncollapse.diagnosis.windows import profile_windows
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.progress import Bars
from uncollapse.records import chunks
from uncollapse.resampling import Estimate, document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir


def long_documents(encoder: SentenceEncoder, corpus: str, count: int) -> tuple[Kept, ...]:
    """A random sample of the documents that reach the model's limit."""
    reservoir = Reservoir(count, 0)
    for batch in chunks(open_corpus(corpus), 256):
        prepared = encoder.prepare([text.text for text in batch])
        places = sampling_order(document_keys([text.id for text in batch]))
        for row, text in enumerate(batch):
            if prepared.n_tokens[row] == encoder.max_tokens:
                kept = Kept(text.id, prepared.texts[row], int(prepared.n_tokens[row]))
                reservoir.offer(int(places[row]), kept)
    return reservoir.documents()


def spell(estimate: Estimate | None, digits: int = 3) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (no interval)"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def print_view(tau: float, view: View, stock: View) -> None:
    cosines = " | ".join(f"{row['mean_cosine'].value:.3f}" for row in view.estimates.values())
    ranks = " | ".join(f"{row['effective_rank'].value:.0f}" for row in view.estimates.values())
    rise, changed = trends(view)["mean_cosine_rise"], tau != 1
    share, short = (found(stock, view) if changed else None for found in (recovered, from_short_end))
    print(f"| {tau} | mean cosine | {cosines} | {spell(rise)} | {spell(share, 2)} | {spell(short, 2)} |")
    print(f"| {tau} | effective rank | {ranks} | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--tau", type=float, nargs="+", default=[1.0, 0.8, 0.5])
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--model", default="minilm")
    options = parser.parse_args()
    encoder = load(options.model, max_tokens="table")
    documents = long_documents(encoder, options.corpus, options.windows)
    settings, views, bars = Settings(windows=options.windows), {}, Bars()
    for tau in dict.fromkeys([1.0, *options.tau]):
        with patch(encoder.model, Temperature(tau)):
            views[tau] = profile_windows(encoder, documents, settings, label=f", {tau}", progress=bars)
    labels = list(views[1.0].n_tokens)
    print(
        f"{len(documents)} documents of {options.corpus} with {encoder.max_tokens} tokens or more, {options.model}\n"
    )
    lengths = " | ".join(f"n={label}" for label in labels)
    print(f"| tau | | {lengths} | rise | share taken back | of it, a higher short end |")
    print("|---|---|" + "---|" * (len(labels) + 3))
    for tau, view in views.items():
        print_view(tau, view, views[1.0])


if __name__ == "__main__":
    main()
