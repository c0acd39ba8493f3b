"""How far a model reads under a fix of its positions: its token limit rises with what they reach, and falls again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from uncollapse.attention.limits import token_limit
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.encoders.exported import Scorable
from uncollapse.encoders.loading import inside
from uncollapse.encoders.sentence import NO_LIMIT, SentenceEncoder


def limit_under(encoder: Scorable, fixes: Sequence[ModelFix]) -> int:
    """Tokens of a text that a model reads with fixes inside, special tokens and prompt in.

    Args:
        encoder: with the limit that it has without them.
        fixes: that act on the inside, in order.
    """
    limit = encoder.max_tokens
    for fix in fixes:
        limit = token_limit(inside(encoder, f"`{fix}`"), fix, limit) or limit
    return min(limit, NO_LIMIT)


def reading_under(encoder: Scorable, fixes: Sequence[ModelFix]) -> Scorable:
    """The same model, which counts and cuts texts up to the limit that it has with fixes inside.

    It can encode only where `applied` has put the fixes on.

    Args:
        encoder: the model.
        fixes: that act on the inside.
    """
    if not fixes:
        return encoder
    plain = _plain(encoder, fixes)
    limit = limit_under(plain, fixes)
    return encoder if limit == encoder.max_tokens else plain.reading(limit)


@contextmanager
def applied(encoder: Scorable, fixes: Sequence[ModelFix]) -> Iterator[None]:
    """Put fixes on the inside of a model and let it read as far as they reach; afterwards it is as before.

    Args:
        encoder: the model.
        fixes: that act on the inside, one inside the other.

    Raises:
        ArchitectureError: a fix that the model cannot take.
        ModelError: an exported model, which has no inside.
    """
    with ExitStack() as undo:
        if fixes:
            plain = _plain(encoder, fixes)
            model, limit = plain.model, limit_under(plain, fixes)
            for fix in fixes:
                undo.enter_context(patch(model, fix))
            if limit != plain.max_tokens:
                undo.callback(setattr, model, "max_seq_length", model.max_seq_length)
                model.max_seq_length = limit
        yield


def limit_note(encoder: Scorable, fixes: Sequence[ModelFix]) -> tuple[str, ...]:
    """What a reader must know of the limit under fixes; nothing where they leave it as it is.

    Args:
        encoder: with the limit that it has without them.
        fixes: that act on the inside.
    """
    if not fixes:
        return ()
    plain = _plain(encoder, fixes)
    before, limit = plain.max_tokens, limit_under(plain, fixes)
    if limit == before:
        return ()
    own = "nowhere" if before >= NO_LIMIT else f"at {before:,}"
    return (
        f"`{' + '.join(str(fix) for fix in fixes)}` lets {encoder.name!r} read {limit:,} tokens of a text; without it "
        f"texts are cut {own}. What the two differ by is in part text that only one of them read",
    )


def _plain(encoder: Scorable, fixes: Sequence[ModelFix]) -> SentenceEncoder:
    """The model with the limit that it has without fixes."""
    inside(encoder, f"`{fixes[0]}`")
    assert isinstance(encoder, SentenceEncoder)  # only such a model has an inside
    return encoder.reading(None)
