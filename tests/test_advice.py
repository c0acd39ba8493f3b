"""What to try next: one step for what surely harms, with limits that fit together."""

from uncollapse.diagnosis.advice import NEXT, advise, conclude
from uncollapse.diagnosis.scores.verdict import UNEQUAL
from uncollapse.records import Finding, Part, Row


def lost(limit: int, share: float) -> Row:
    return Row(f"tokens_lost@{limit}", share, share, share, 100, view="overall")


def test_chunks_are_as_long_as_the_folder_reads_and_not_as_this_diagnosis_did() -> None:
    step, _ = advise([lost(512, 0.96), lost(256, 0.98)], "minilm", {"in_use": 512, "folder": 256})
    assert "chunks of at most 256 tokens: 98% of all tokens lie beyond the 256 that its folder lets it" in step
    assert step.endswith("lie beyond the 512 that the model read here.")


def test_without_a_limit_of_the_folder_the_one_in_use_counts() -> None:
    (step,) = advise([lost(128, 0.5)], "box", {"in_use": 128, "folder": None}, unit="words", is_open=False)
    assert "chunks of at most 128 words: 50% of all words lie beyond the 128" in step


def test_what_only_the_folder_cuts_is_said_too() -> None:
    step, _ = advise([lost(512, 0.0), lost(256, 0.15)], "minilm", {"in_use": 512, "folder": 256})
    assert "lets the model read 256 tokens, and 15% of all tokens lie beyond; this diagnosis let it read 512" in step


CAUSE = [
    Row("rise", 0.2, 0.1, 0.3, 60, view="causes"),
    Row("cause", 0.15, 0.1, 0.2, 60, view="causes", bin="content_averaging"),
]


def test_chunks_are_tried_where_the_model_runs_here_and_by_hand_where_it_does_not() -> None:
    (open_step,) = advise(CAUSE, "my model", {})
    assert "`uncollapse fix 'my model' --auto YOUR-DATA -o FIXED`" in open_step
    assert "`uncollapse compare YOUR-DATA --model 'my model'` races it" in open_step
    (closed_step,) = advise(CAUSE, "box", {}, is_open=False)
    assert "`uncollapse evaluate --run WHOLE --run CUT --qrels QRELS --lengths LENGTHS`" in closed_step
    assert "box" not in closed_step


def test_attention_is_named_beside_what_is_cut_off() -> None:
    attention = [CAUSE[0], Row("cause", 0.15, 0.1, 0.2, 60, view="causes", bin="attention")]
    chunks, auto, sharper = advise([*attention, lost(128, 0.5)], "minilm", {"in_use": 128, "folder": None})
    assert (chunks[:3], auto[:7]) == ("Cut", "To keep")
    assert "uncollapse fix minilm --auto" in auto
    assert "temperature(0.9)" in sharper


def test_a_threshold_for_each_length_is_advised_where_one_is_called_unfit() -> None:
    unfit = Finding(f"{UNEQUAL} where queries are long", "", "bad")
    verdict = conclude([], [("Scores", Part((), (unfit,), {}))], model="minilm")
    assert "thresholds.json" in verdict[NEXT][0].sentence
    fit = Finding("One threshold means the same for queries of every length", "", "good")
    assert NEXT not in conclude([], [("Scores", Part((), (fit,), {}))], model="minilm")


def test_where_nothing_harms_nothing_is_advised() -> None:
    assert not list(advise([lost(512, 0.0), lost(256, 0.0)], "minilm", {"in_use": 512, "folder": 256}))


# The verdict beside the causes


def causes(rise: float, begins: float, half: float = 0.02) -> list[tuple[str, Part]]:
    """A room with a rise from the first piece and what beginnings add to it."""
    rows = (
        Row("mean_cosine", 0.3, 0.2, 0.4, 64, view="causes", bin="start", n_tokens=31.6),
        Row("mean_cosine", 0.3 + rise, 0.2, 0.6, 64, view="causes", bin="whole", n_tokens=505.4),
        Row("cause", begins, begins - half, begins + half, 64, view="causes", bin="beginnings"),
        Row("rise", rise, rise - half, rise + half, 64, view="causes"),
    )
    return [("Why", Part(rows))]


FLAT, STEEP = Finding("m shows no length collapse on these texts", "Flat.", "good"), Finding("m pulls", "Up.", "bad")


def beside(first: Finding, rise: float, begins: float) -> Finding:
    second = Finding("Directions in use", "Many.", "neutral")
    found, other = conclude([first, second], causes(rise, begins), model="m")["The verdict"]
    assert other is second
    return found


def test_no_collapse_is_not_said_without_the_rise_that_the_causes_find() -> None:
    found = beside(FLAT, 0.14, 0.01)
    assert (found.title, found.kind) == (FLAT.title, "neutral")
    assert found.sentence == (
        "Flat. But from the first piece (32 tokens) to the whole text (505 tokens) the mean cosine of 64 of these "
        "documents surely rises, by 0.14 [0.12, 0.16]: see `Why`."
    )


def test_a_small_or_unsure_rise_of_the_causes_and_one_that_is_told_change_nothing() -> None:
    assert beside(FLAT, 0.06, 0.01) == FLAT  # its interval begins at 0.04
    assert beside(STEEP, 0.14, 0.01) == STEEP
    assert conclude([FLAT], [], model="m")["The verdict"] == (FLAT,)


def test_beginnings_that_are_unlike_the_rest_are_pointed_to_beside_every_verdict() -> None:
    hidden, made = beside(STEEP, 0.14, -0.16), beside(STEEP, 0.14, 0.08)
    assert (hidden.kind, made.kind) == ("bad", "bad")
    assert hidden.sentence.endswith(
        "All windows are beginnings of texts, and these beginnings are more alike than what follows them, by 0.16 "
        '[0.14, 0.18] (n = 64; "How texts begin"), so elsewhere in the texts the rise is another.'
    )
    assert "are less alike than what follows them, by 0.08 [0.06, 0.10]" in made.sentence
    assert beside(FLAT, 0.01, -0.16).kind == "good"
    assert beside(FLAT, 0.14, -0.16).kind == "neutral"


def test_beginnings_are_pointed_to_only_where_the_whole_interval_is_as_far_from_nothing() -> None:
    for begins in (0.08, -0.08):
        for half, told in ((0.02, True), (0.04, False), (0.1, False)):
            found = conclude([STEEP], causes(0.14, begins, half), model="m")["The verdict"][0]
            assert ("All windows are beginnings" in found.sentence) == told
