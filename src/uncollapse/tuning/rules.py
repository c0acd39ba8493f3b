"""How a race is run."""

from dataclasses import dataclass

from uncollapse.errors import UncollapseError
from uncollapse.evaluation.scoring import LearnFrom
from uncollapse.evaluation.statistics.significance import REPLICATES, RESAMPLES

PROBE = "known items"
"""What the probe without labels is called, and the split of its task: each query is to find one known document."""


@dataclass(frozen=True)
class Rules:
    """What decides the numbers of a race, beside model and data.

    Args:
        folds: parts into which the independent groups of queries are split; a dial is chosen on all parts but one and
            scored on that one.
        repeats: how often they are split anew.
        bins: length bins of about equally many queries.
        documents: of the corpus that a probe without labels asks for.
        beside_labels: the same at most where there are labels and the probe only says what it would have chosen; fewer
            where those, read in every way, would be more than the corpus, but not below 100.
        encodes: most encodings of the whole corpus; configurations beyond that are left out, those first that do worst
            on the probe without labels. Fixes after the model need none of their own.
        learn_from: which queries fixes learn from that need some; see `LearnFrom`.
        replicates: of the bootstrap.
        resamples: of the randomisation test.
        seed: of everything that is drawn.

    Raises:
        UncollapseError: fewer than 2 folds or bins, or no repeat.
    """

    folds: int = 5
    repeats: int = 10
    bins: int = 5
    documents: int = 1000
    beside_labels: int = 200
    encodes: float = 6.0
    learn_from: LearnFrom = "task"
    replicates: int = REPLICATES
    resamples: int = RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"folds": 2, "repeats": 1, "bins": 2, "documents": 50, "beside_labels": 50, "encodes": 2}
        for name, low in least.items():
            if (got := getattr(self, name)) < low:
                raise UncollapseError(f"Rules of a race: {name} must be at least {low}, got {got}.")
