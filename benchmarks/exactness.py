"""How exactly patching and folding equal softmax(scores / tau), for every architecture of the table, in float64.

    python benchmarks/exactness.py

Tiny random models, a padded batch of lengths 24/17/9/24. The reference divides the scores inside the softmax itself.
Differences are the largest absolute ones of the last hidden states, relative to the largest state if that is above 1.
"""

import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import transformers

from architectures import CONFIGS, LAYERS, build, stay_double
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import divided_softmax, probe_states
from uncollapse.errors import ArchitectureError

TEMPERATURES = {
    "scalar": Temperature(0.7),
    "per layer": Temperature([0.7, 0.9, 1.3]),
    "per head": Temperature([[0.6, 0.7, 0.8, 0.9], [0.5, 1.0, 1.1, 1.2], [0.8, 0.9, 1.0, 1.1]][:LAYERS]),
}


def measure(name: str, temperature: Temperature) -> str:
    """`effect / patched / folded` of one model; "no" where it is refused."""
    model = build(name)
    with stay_double():
        stock = probe_states(model)
        with divided_softmax(model, temperature):
            wanted = probe_states(model)
        scale = max(1.0, float(wanted.abs().max()))
        cells = [f"{float((stock - wanted).abs().max()) / scale:.1f}"]
        for act in (apply_patch, apply_fold):
            try:
                cells.append(f"{float((act(copy.deepcopy(model), temperature) - wanted).abs().max()) / scale:.0e}")
            except ArchitectureError:
                cells.append("no")
    return " / ".join(cells)


def apply_patch(model, temperature):
    with patch(model, temperature):
        return probe_states(model)


def apply_fold(model, temperature):
    fold(model, temperature)
    return probe_states(model)


def main() -> None:
    transformers.logging.set_verbosity_error()
    print(f"| model | {' | '.join(f'{kind}: effect / patch / fold' for kind in TEMPERATURES)} |")
    print("|---|---|---|---|")
    for name in CONFIGS:
        print(f"| {name} | {' | '.join(measure(name, t) for t in TEMPERATURES.values())} |", flush=True)


if __name__ == "__main__":
    main()
