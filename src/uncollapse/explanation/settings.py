"""How to look inside a model."""

from dataclasses import dataclass

from uncollapse.errors import UncollapseError
from uncollapse.resampling import REPLICATES, check_replicates

FEWEST = 16
"""Fewest documents of a length: below that, intervals over documents mean nothing."""


@dataclass(frozen=True)
class Settings:
    """What `explain` looks at.

    Args:
        documents: documents drawn at random among those that are long enough.
        n0: tokens at which a head's filter rate and entropy are kept when a temperature by length is solved for; 0
            for 128, or the longest length below it that there is.
        temperatures: further runs of the whole model, each with this temperature in every layer.
        at_one_layer: temperature that is put into one layer at a time; 1 for none.
        solved: documents whose heads are solved for the temperature that keeps them as at n0; 0 for none.
        window: tokens to each side that count as near.
        cut: frequency, in cycles per token, below which power is called low.
        bands: frequency bands of the spectrum.
        seed: of every random choice.
        replicates: bootstrap replicates, a multiple of 4.
    """

    documents: int = 32
    n0: int = 0
    temperatures: tuple[float, ...] = (0.8, 0.6)
    at_one_layer: float = 0.8
    solved: int = 16
    window: int = 8
    cut: float = 0.1
    bands: int = 16
    seed: int = 0
    replicates: int = REPLICATES

    def __post_init__(self) -> None:
        check_replicates(self.replicates)
        if self.documents < FEWEST:
            raise UncollapseError(f"An explanation needs at least {FEWEST} documents, got {self.documents}.")
        for name in ("n0", "solved", "window", "seed"):
            if getattr(self, name) < 0:
                raise UncollapseError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if 0 < self.solved < FEWEST:
            raise UncollapseError(f"Temperatures are solved for on at least {FEWEST} documents, got {self.solved}.")
        if not 0 < self.cut < 0.5 or self.bands < 2:
            raise UncollapseError(
                "Frequencies over tokens lie between 0 and 0.5 cycles per token, in at least 2 bands; got "
                f"cut={self.cut}, bands={self.bands}."
            )
        if not all(0 < tau < float("inf") for tau in (*self.temperatures, self.at_one_layer)):
            raise UncollapseError(
                f"Temperatures must be finite and > 0, got {[*self.temperatures, self.at_one_layer]}."
            )
