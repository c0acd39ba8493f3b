"""Several fixes as one: `a + b`, each where its kind acts."""

from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.errors import FixError, NotationError
from uncollapse.fixes.kinds import AnyFix, Kind, ScoreFix, TextFix, VectorFix


@dataclass(frozen=True)
class Composition:
    """Fixes that act one after the other: inside the model, on texts, on vectors, on scores.

    Fixes of one kind act in the order they are given; only vectors and the model can have several.

    Args:
        parts: any fixes, or compositions of them.

    Raises:
        NotationError: several fixes on texts, or several on scores.

    >>> from uncollapse.attention.temperature import Temperature
    >>> from uncollapse.fixes.vectors import Centering, Whitening
    >>> str(Composition((Whitening(0.25), Temperature(0.8), Centering("role"))))
    'temperature(0.8) + whitening(0.25) + centering(role)'
    """

    parts: tuple[AnyFix, ...]

    def __init__(self, parts: Sequence[AnyFix]) -> None:
        flat = [one for part in parts for one in (part.parts if isinstance(part, Composition) else (part,))]
        order = list(Kind)
        flat.sort(key=lambda fix: order.index(Kind(fix.kind)))
        for kind in (Kind.TEXT, Kind.SCORE):
            of_kind = [str(fix) for fix in flat if fix.kind == kind]
            if len(of_kind) > 1:
                raise NotationError(f"Expected at most one fix on {kind}s, got {' + '.join(of_kind)}. Choose one.")
        object.__setattr__(self, "parts", tuple(flat))

    def __str__(self) -> str:
        return " + ".join(str(part) for part in self.parts) or "none"

    @property
    def kind(self) -> str:
        """Of its first fix; a composition of one kind acts where that does."""
        return str(self.parts[0].kind) if self.parts else str(Kind.MODEL)

    @property
    def is_identity(self) -> bool:
        """Whether no part changes anything."""
        return all(part.is_identity for part in self.parts)

    @property
    def model(self) -> tuple[ModelFix, ...]:
        """The fixes inside the model."""
        return tuple(part for part in self.parts if isinstance(part, ModelFix))

    @property
    def text(self) -> TextFix | None:
        """The fix on texts, unless it changes nothing."""
        return next((part for part in self._acting(Kind.TEXT) if isinstance(part, TextFix)), None)

    @property
    def vectors(self) -> tuple[VectorFix, ...]:
        """The fixes on vectors that change anything."""
        return tuple(part for part in self._acting(Kind.VECTOR) if isinstance(part, VectorFix))

    @property
    def score(self) -> ScoreFix | None:
        """The fix on scores, unless it changes nothing."""
        return next((part for part in self._acting(Kind.SCORE) if isinstance(part, ScoreFix)), None)

    def _acting(self, kind: Kind) -> list[AnyFix]:
        return [part for part in self.parts if part.kind == kind and not part.is_identity]

    def inside(self, verb: str) -> tuple[ModelFix, ...]:
        """The parts, where all of them act inside the model.

        Args:
            verb: what is to be done with them, for the message.

        Raises:
            FixError: a part that acts elsewhere.
        """
        if outside := [str(part) for part in self.parts if not isinstance(part, ModelFix)]:
            raise FixError(
                f"`{verb}` takes fixes that act inside the model, such as temperature(0.8), got "
                f"{' + '.join(outside)}. Compare others with `uncollapse compare` or `uncollapse evaluate --fix`."
            )
        return tuple(part for part in self.parts if isinstance(part, ModelFix))

    @property
    def is_fitted_to_corpus(self) -> bool:
        """Whether vectors of a corpus are needed before it can be used."""
        return bool(self.vectors or self.score)


def compose(fix: AnyFix | None) -> Composition:
    """A fix, or none, as a composition.

    Raises:
        FixError: a notation, which `parse` reads.
    """
    if isinstance(fix, str):
        raise FixError(f"Expected a fix, got the notation {fix!r}. Give `uncollapse.parse({fix!r})`.")
    return Composition(() if fix is None else (fix,))
