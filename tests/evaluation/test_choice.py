"""Multiple choice: options counted from one, and the passage's language first."""

import numpy as np
import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.evaluation.choice import accuracies, answer, choose, option_texts
from polymine.evaluation.significance import Resampling

AXES = np.eye(4, dtype=np.float32)


def items(correct: list[int]) -> pl.DataFrame:
    """Two items in English, then the same in Russian."""
    return pl.DataFrame({
        "item_id": ["a", "b", "a", "b"], "language": ["en", "en", "ru", "ru"],
        "question": ["Who?", "Why?", "Кто?", "Почему?"],
        **{f"answer_{n}": [f"{n}"] * 4 for n in range(1, 5)}, "correct": correct,
    })  # fmt: skip


def test_options_follow_their_questions():
    assert option_texts(items([1] * 4))["text"].to_list()[3:6] == ["Who? 4", "Why? 1", "Why? 2"]


def test_numbers_start_at_one():
    options = np.stack([AXES, AXES, AXES])
    hits = choose(options, AXES[[0, 3, 1]], np.array([1, 4, 3]))
    assert hits.tolist() == [True, True, False]
    alike = np.stack([AXES[[0, 0, 0, 0]]])
    assert choose(alike, AXES[:1], np.array([1])).all()


@pytest.mark.parametrize("wrong", [0, 5])
def test_number_from_zero_is_an_error(wrong):
    with pytest.raises(InputError, match=rf"1 to 4, .* {wrong} in row 1; .* one-indexed"):
        choose(np.stack([AXES, AXES]), AXES[:2], np.array([1, wrong]))


def test_passage_language_comes_first():
    """Passages speak in English alone; Russian ones point at the fourth option."""
    table = items([1, 2, 1, 2])
    options, passages = np.concatenate([AXES] * 4), AXES[[0, 1, 3, 3]]
    hits = answer(table, options, passages)
    found = accuracies(hits, model="base", set="choice")
    values = {row[:2]: row[2] for row in
              found.select("document_language", "query_language", "value").rows()}  # fmt: skip
    assert values == {("en", "en"): 1, ("en", "ru"): 1, ("ru", "en"): 0, ("ru", "ru"): 0,
                      ("*", "*"): 0.5}  # fmt: skip
    assert found["gain"].null_count() == 5


def test_options_keep_their_own_number_of_the_right_one():
    """Where a translation reorders options, the question's language decides."""
    table = items([1, 2, 4, 3])
    shuffled = np.concatenate([AXES, AXES, AXES[[3, 1, 2, 0]], AXES[[0, 2, 1, 3]]])
    hits = answer(table, shuffled, AXES[[0, 1, 0, 1]])
    assert hits["hit"].all()
    turned = answer(table[[2, 1, 3, 0]], np.concatenate([shuffled[4 * n : 4 * n + 4]
                    for n in (2, 1, 3, 0)]), AXES[[0, 1, 1, 0]])  # fmt: skip
    assert turned.equals(hits)


def test_gain_and_interval():
    rng = np.random.default_rng(0)
    base = pl.DataFrame({"document_language": "en", "query_language": "ru",
                         "item_id": [str(n) for n in range(400)],
                         "hit": rng.random(400) < 0.4})  # fmt: skip
    model = base.with_columns(hit=pl.col("hit") | pl.Series(rng.random(400) < 0.3))
    found = accuracies(model, base, model="m", set="choice", resampling=Resampling(resamples=2000))
    row = found.filter(pl.col("document_language") == "en").row(0, named=True)
    gains = (model["hit"].cast(pl.Int8) - base["hit"].cast(pl.Int8)).to_numpy()
    half = 1.96 * gains.std() / 20
    assert row["gain"] == pytest.approx(gains.mean())
    assert row["value"] == pytest.approx(model["hit"].mean())
    assert (row["low"], row["high"]) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), abs=5e-3
    )
    with pytest.raises(InputError, match="same items: got 400 and 399 answers"):
        accuracies(model, base.head(399), model="m", set="choice")


def test_bad_items():
    table = items([1] * 4)
    with pytest.raises(InputError, match="one row per item and language"):
        answer(pl.concat([table, table]), np.zeros((32, 4)), np.zeros((8, 4)))
    with pytest.raises(InputError, match="expected 16 option and 4 passage vectors, got 4 and 4"):
        answer(table, AXES, AXES)
