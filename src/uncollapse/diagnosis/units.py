"""What the lengths of a diagnosis are counted in, and whether a model says where it cuts texts off."""

from uncollapse.encoders import TextEncoder

TOKENS = "tokens"


def unit_of(encoder: TextEncoder) -> str:
    """What a model's texts are counted in, for sentences: "tokens", or "words" where its tokens cannot be known."""
    return str(getattr(encoder, "unit", TOKENS))


def knows_limit(encoder: TextEncoder) -> bool:
    """Whether a limit that is not there says that there is none: a black box may cut texts off where nobody sees."""
    return bool(getattr(encoder, "knows_limit", True))
