"""What the controls say, in plain words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from uncollapse.diagnosis.causes.controls.cutting import Lengths
from uncollapse.diagnosis.units import TOKENS
from uncollapse.measures import MINIMUM
from uncollapse.records import Finding
from uncollapse.resampling import Estimate

LITTLE = 0.05
"""Effect on the mean cosine within which a whole interval counts as little; below it a rise is called small too."""

SORTED = 0.1
"""How much nearer than mixed pieces sorted ones must be, in mean cosine, before a small effect is called small."""

Direction = Literal["up", "down", "little", "unknown"]


@dataclass(frozen=True)
class _Found:
    """Everything the sentences are made of."""

    model: str
    lengths: Lengths
    cosines: Mapping[str, Estimate]
    effects: Mapping[str, Estimate]
    closeness: Mapping[str, float]
    unit: str

    @property
    def n(self) -> int:
        return next(iter(self.cosines.values())).n

    def has(self, *names: str) -> bool:
        return all(name in self.effects for name in names)


def judge_controls(
    model: str,
    lengths: Lengths,
    cosines: Mapping[str, Estimate],
    effects: Mapping[str, Estimate],
    closeness: Mapping[str, float],
    unit: str = TOKENS,
) -> tuple[Finding, ...]:
    """The findings of the controls that were measured.

    Args:
        model: what to call the model.
        lengths: of the controls.
        cosines: mean cosine by name of the control.
        effects: against the control's reference, by name.
        closeness: mean cosine of a first piece with the pieces it was dealt, by name of the control.
        unit: what lengths are counted in.
    """
    found = _Found(model, lengths, cosines, effects, closeness, unit)
    if found.n < MINIMUM:
        return (too_few_documents(found.n),)
    return (*_static(found), *_length_alone(found), *_topics(found))


def too_few_documents(n: int) -> Finding:
    """That no interval can be given."""
    return Finding(
        "Too few documents to tell what the rise comes from",
        f"Texts that change one thing only need at least {MINIMUM} documents of full length, got {n}. Use more "
        "documents, or longer ones.",
        "unknown",
    )


def direction(effect: Estimate) -> Direction:
    """Where an effect goes: "little" where its whole interval lies within 0.05 of zero.

    >>> direction(Estimate(0.2, (), 0.1, 0.3, 40))
    'up'
    """
    if effect.low is None or effect.high is None:
        return "unknown"
    if max(-effect.low, effect.high) < LITTLE:
        return "little"
    return "up" if effect.low > 0 else "down" if effect.high < 0 else "unknown"


def _static(found: _Found) -> Iterator[Finding]:
    """Whether a model without attention would show a rise."""
    if not found.has("static_long", "whole"):
        return
    rise, static = found.effects["whole"], found.effects["static_long"]
    figures = (
        f"An average of {found.model}'s own word vectors, without any attention, takes the mean cosine of different "
        f"texts from {found.cosines['static_short'].value:.2f} at {found.lengths.piece} {found.unit} to "
        f"{found.cosines['static_long'].value:.2f} at {found.lengths.full}: {_spell(static)}. The whole model goes "
        f"from {found.cosines['start'].value:.2f} to {found.cosines['whole'].value:.2f}: {_spell(rise)} "
        f"({_same(found.n)})."
    )
    yield {
        "up": Finding(
            "A model without attention would show a rise too",
            f"{figures} Longer texts share more of their words, whatever the model. So a rise alone does not prove "
            "that attention is at fault, as is often said: before you use a fix of it, such as temperature(0.9), "
            "measure it on your own searches.",
        ),
        "down": Finding(
            "A model without attention would show the opposite",
            f"{figures} Words alone set longer texts apart, so a rise comes from what the model does with them.",
        ),
        "little": Finding(
            "A model without attention would hardly show a rise",
            f"{figures} Sharing more words explains little of what the model does with longer texts.",
        ),
        "unknown": Finding(
            "Whether a model without attention would show a rise cannot be told",
            f"{figures} The interval of the first difference holds zero and more: use more documents.",
            "unknown",
        ),
    }[direction(static)]


def _length_alone(found: _Found) -> Iterator[Finding]:
    """What more tokens do where nothing new is said."""
    if not found.has("repeat_full"):
        return
    figures = (
        f"The first {found.lengths.piece} {found.unit} of every text said {found.lengths.count} times over, up to "
        f"{found.lengths.full} {found.unit}, change the mean cosine of different texts by "
        f"{_spell(found.effects['repeat_full'])} ({_same(found.n)}), although nothing new is said.{_others(found)}"
    )
    elsewhere = (
        f"So neither more {found.unit} nor later positions are to blame for a rise: what longer texts say is, or how "
        "the model spreads its attention over it."
    )
    yield {
        "up": Finding(
            f"More {found.unit} pull texts together even if nothing new is said", f"{figures} {_advice(found)}", "bad"
        ),
        "down": Finding(
            f"More {found.unit} set texts apart if nothing new is said", f"{figures} {elsewhere}", "neutral"
        ),
        "little": Finding(f"More {found.unit} do little if nothing new is said", f"{figures} {elsewhere}", "good"),
        "unknown": Finding(
            f"What more {found.unit} do by themselves cannot be told",
            f"{figures} The interval of the first number holds zero and more: use more documents.",
            "unknown",
        ),
    }[direction(found.effects["repeat_full"])]


def _others(found: _Found) -> str:
    """What late positions and empty words do, where they were measured."""
    shifted = (
        f" Said once, but at the last of these positions: {_spell(found.effects['shifted'])}."
        if found.has("shifted")
        else ""
    )
    filler = (
        f" Said once, then empty words (the, of, and, ...) up to the same length: {_spell(found.effects['filler'])}; "
        "but all texts then share those words."
        if found.has("filler")
        else ""
    )
    return shifted + filler


def _advice(found: _Found) -> str:
    if found.has("shifted") and direction(found.effects["shifted"]) == "up":
        return (
            "So late positions by themselves pull texts together; only the end of a whole text stands so late, "
            "which makes them a smaller part of its rise. Keep texts well below "
            f"{found.lengths.full} {found.unit}, or embed smaller chunks."
        )
    return "So part of the rise has nothing to do with what longer texts say. Embed smaller chunks."


def _topics(found: _Found) -> Iterator[Finding]:
    """What a mixture of subjects does."""
    if not found.has("mixed_topic", "same_topic"):
        return
    effect, near, mixed = found.effects["mixed_topic"], found.closeness["same_topic"], found.closeness["mixed_topic"]
    figures = (
        f"Texts of about {found.lengths.full} {found.unit} were put together from pieces of many documents. On mixed "
        f"subjects their mean cosine is {found.cosines['mixed_topic'].value:.2f}, from the same pieces sorted by "
        f"subject {found.cosines['same_topic'].value:.2f}: a difference of {_spell(effect)} ({_same(found.n)}). "
        f"Sorted, a first piece has a cosine of {near:.2f} with the pieces that follow it; mixed, {mixed:.2f}."
    )
    no_help = "Cutting documents where their subject changes will hardly make them less alike."
    yield {
        "up": Finding(
            "Mixed subjects pull texts together",
            f"{figures} Where your long documents change their subject, cut them there before you embed them.",
        ),
        "down": Finding("Mixed subjects set texts apart", f"{figures} {no_help}"),
        "little": Finding("Mixed subjects matter little", f"{figures} {no_help}")
        if near - mixed >= SORTED
        else Finding(
            "What mixed subjects do cannot be told",
            f"{figures} These documents have too few subjects in common to be sorted: use more documents.",
            "unknown",
        ),
        "unknown": Finding(
            "What mixed subjects do cannot be told",
            f"{figures} The interval holds zero and more: use more documents.",
            "unknown",
        ),
    }[direction(effect)]


def _same(n: int) -> str:
    return f"the same {n} documents, 95 % intervals"


def _spell(effect: Estimate) -> str:
    if effect.low is None or effect.high is None:
        return f"{effect.value:+.2f} (no interval)"
    return f"{effect.value:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]"
