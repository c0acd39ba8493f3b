"""Run models on the pretended card and print what happened, as JSON: to be started as a process of its own."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from architectures import LAYERS, build
from pretended_card import WAITS, Card, card, set_up, to_card
from uncollapse import fold, patch
from uncollapse.attention.calibration import Calibration
from uncollapse.attention.highpass import AttnScale, FeatScale, IdentityMix, LocalGlobal
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.observing import observe
from uncollapse.attention.positions import Positions
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import verify
from uncollapse.errors import UncollapseError

MODELS = ["bert", "modernbert", "gpt2", "t5"]
FIXES: list[ModelFix] = [
    Temperature(0.5),
    Temperature([0.5, 0.7, 0.9]),
    Temperature([[0.5, 0.6, 0.7, 0.8]] * LAYERS),
    TemperatureLaw("log", n0=8),
    TemperatureLaw("infoscale", n0=8),
    TemperatureLaw("isofilter", n0=8, spread=0.8),
    AttnScale(0.2),
    IdentityMix(0.1),
    LocalGlobal(4, 0.3),
    FeatScale(0.1, 0.2),
    Calibration(basket=8),
]
LENGTHS = (3, 17, 40)
IDS = torch.randint(5, 90, (3, 40), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(40) < torch.tensor(LENGTHS)[:, None]).long()


def states(model: PreTrainedModel, *, there: bool) -> torch.Tensor:
    """Of the real tokens, on the processor."""
    put = Card if there else torch.Tensor.clone
    with torch.no_grad():
        found = model(input_ids=put(IDS), attention_mask=put(MASK))[0]
    return (found.raw if there else found)[MASK.bool()]


def passes(name: str) -> Iterator[dict[str, Any]]:
    """Each fix on the card and on the processor: how far apart, and how often a second pass waits."""
    stock = build(name, dtype=torch.float32)
    stock.set_attn_implementation("sdpa")
    model = to_card(copy.deepcopy(stock))
    plain = states(stock, there=False)
    with card():
        states(model, there=True)
        WAITS.clear()
        states(model, there=True)
        waits = len(WAITS)
    for fix in FIXES:
        try:
            with patch(stock, fix):
                wanted = states(stock, there=False)
        except UncollapseError:
            continue
        with card(), patch(model, fix):
            states(model, there=True)  # factors are moved
            WAITS.clear()
            found = states(model, there=True)
            more = len(WAITS) - waits
        size = float((wanted - plain).abs().max())
        yield {"model": name, "fix": str(fix), "waits": more, "error": float((found - wanted).abs().max()) / size}


def without_double() -> Iterator[dict[str, Any]]:
    """Fold, verify, stretch and observe on a card that refuses double precision."""
    stock = build("bert", dtype=torch.float32)
    model = to_card(copy.deepcopy(stock))
    seen: list[int] = []
    with card(double=False):
        with patch(model, Positions("interpolated", 100)):
            states(model, there=True)
        with observe(model, on_heads=lambda heads: seen.append(heads.layer), on_states=lambda _: None):
            states(model, there=True)
        folded = copy.deepcopy(model)
        fold(folded, Temperature(0.8))
        error = verify(model, Temperature(0.8), folded).folded
    fold(stock, Temperature(0.8))
    same = all(torch.equal(a.raw, b) for a, b in zip(folded.parameters(), stock.parameters(), strict=True))
    yield {"error": error, "same": same, "layers": sorted(set(seen))}


if __name__ == "__main__":
    set_up()
    print(json.dumps({"passes": [row for name in MODELS for row in passes(name)], "double": [*without_double()]}))
