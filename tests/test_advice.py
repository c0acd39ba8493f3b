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
