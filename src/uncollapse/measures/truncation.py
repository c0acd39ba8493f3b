"""How many documents the model did not read to their end."""

from uncollapse.errors import UncollapseError
from uncollapse.moments import BinState
from uncollapse.resampling import Estimate


def share_truncated(state: BinState) -> Estimate:
    """The share of the bin's documents that lost tokens to the model's limit.

    truncated / n, with Wilson's interval.

    How to read it: 0 means every text was read to its end. Where it is high, the other measures of the bin describe
    the beginnings of the texts. Its value does not move with n, and it has no bootstrap replicates: those of a share
    of 0 would claim certainty.

    Args:
        state: of a bin with n >= 1.

    Raises:
        UncollapseError: an empty bin.

    Reference:
        Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    if not state.count:
        raise UncollapseError("A share needs at least 1 document, but the bin holds none. Leave empty bins out.")
    return Estimate.of_share(state.truncated, state.count)
