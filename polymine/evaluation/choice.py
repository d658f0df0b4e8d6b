"""Multiple choice without a reader: which question with its answer lies nearest to the passage?

Belebele by the procedure of Huang et al. (arXiv 2407.14878): "question option" is embedded for
each of four options in one language, the passage in another; the option with the highest cosine
is chosen.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from polymine.data_contracts.errors import InputError
from polymine.evaluation.collection import POOL
from polymine.evaluation.significance import (
    Resampling,
    interval_of_means,
    mean_over,
    sum_by_question,
)
from polymine.evaluation.tables import as_set_scores

OPTIONS = 4
_ANSWERS = [f"answer_{number}" for number in range(1, OPTIONS + 1)]
_DIRECTION = ["document_language", "query_language"]


def option_texts(items: pl.DataFrame) -> pl.DataFrame:
    """Write "question option" for every option.

    Args:
        items: language, question, answer_1 to answer_4.

    Returns:
        text and language, 4 n rows: the four of the first item, then those of the second.
    """
    options = items.select("language", "question", text=pl.concat_list(_ANSWERS)).explode("text")
    return options.select(pl.format("{} {}", "question", "text").alias("text"), "language")


def choose(
    options: NDArray[np.float32], passages: NDArray[np.float32], correct: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which questions are answered correctly.

    Args:
        options: unit vectors (n, 4, d); passages: (n, d).
        correct: number of the right option, (n,), from 1 to 4 as in Belebele: not from 0.

    Returns:
        Hits, (n,). Of equal cosines the first option is chosen.

    Raises:
        InputError: shapes that do not fit, or a number outside 1 to 4.
    """
    if options.shape != (len(passages), OPTIONS, passages.shape[1]):
        raise InputError(
            f"expected {OPTIONS} options for each of {len(passages)} passages of dimension "
            f"{passages.shape[1]}, got shape {options.shape}; embed `option_texts` and reshape"
        )
    wrong = np.flatnonzero((correct < 1) | (correct > OPTIONS))
    if len(wrong) or len(correct) != len(passages):
        raise InputError(
            f"expected the number of the right option, 1 to {OPTIONS}, for each of "
            f"{len(passages)} items, got {len(correct)} numbers"
            + (f", {correct[wrong[0]]} in row {wrong[0]}" if len(wrong) else "")
            + "; the numbers are one-indexed"
        )
    cosines = np.einsum("nod,nd->no", options, passages, optimize=False)
    hits: NDArray[np.bool_] = cosines.argmax(axis=1) + 1 == correct
    return hits


def answer(
    items: pl.DataFrame, options: NDArray[np.float32], passages: NDArray[np.float32]
) -> pl.DataFrame:
    """Answer every item in every direction of its languages.

    Args:
        items: item_id (shared by translations), language, question, answer_1 to answer_4, correct
            (from 1).
        options: unit vectors of `option_texts`, (4 n, d).
        passages: unit vectors of the items' passages, (n, d).

    Returns:
        document_language, query_language, item_id, hit: the passage in the one, question and
        options in the other, by these.

    Raises:
        InputError: an item is there twice in a language, or as in `choose`.
    """
    twice = items.filter(pl.struct("item_id", "language").is_duplicated())
    if twice.height:
        raise InputError(
            f"expected one row per item and language, got {twice.height} rows that share theirs, "
            f"as {twice['item_id'][0]} in {twice['language'][0]}; remove copies"
        )
    if len(options) != OPTIONS * items.height or len(passages) != items.height:
        raise InputError(
            f"expected {OPTIONS * items.height} option and {items.height} passage vectors, got "
            f"{len(options)} and {len(passages)}; embed the items' own texts in their order"
        )
    rows = items.select("item_id", "language", "correct").with_row_index("row")
    asked = rows.rename({"language": "query_language"})
    read = rows.select("item_id", document_language="language", passage="row")
    found = []
    for _, part in asked.join(read, on="item_id").group_by(_DIRECTION):
        own = options.reshape(items.height, OPTIONS, -1)[part["row"].to_numpy()]
        correct = part["correct"].to_numpy().astype(np.int64)
        hits = choose(own, passages[part["passage"].to_numpy()], correct)
        found.append(part.select(*_DIRECTION, "item_id", hit=pl.Series(hits, dtype=pl.Boolean)))
    return pl.concat(found).sort(*_DIRECTION, "item_id")


def accuracies(
    hits: pl.DataFrame,
    base: pl.DataFrame | None = None,
    *,
    model: str,
    set: str,
    resampling: Resampling | None = None,
) -> pl.DataFrame:
    """Compute the accuracy per direction and the mean over directions (`*`, `*`).

    Args:
        hits: of `answer`.
        base: the base's hits on the same items; None for the base itself.
        model, set: names.
        resampling: of the gain; items are drawn with all their directions.

    Returns:
        `SetScores` with the metric `accuracy`; `count` are items.
    """
    keys, reference = [*_DIRECTION, "item_id"], hits if base is None else base
    both = hits.join(reference, on=keys, suffix="_base", validate="1:1")
    if not both.height == hits.height == reference.height:
        raise InputError(
            "base and model must answer the same items: got "
            f"{hits.height} and {reference.height} answers, {both.height} of them to the same "
            "ones; answer both on the same set"
        )
    counted = both.group_by(_DIRECTION).agg(count=pl.len()).sort(_DIRECTION)
    new, counts = sum_by_question(both, counted, "item_id", ["hit"])
    old, _ = sum_by_question(both, counted, "item_id", ["hit_base"])
    members = np.vstack([np.eye(counted.height), np.ones(counted.height)]).astype(bool)
    value, before = (mean_over(part, counts, members)[:, 0] for part in (new, old))
    bounds = np.clip(
        interval_of_means(new - old, counts, members, resampling or Resampling()), -1, 1
    )
    gains = {"gain": value - before, "low": bounds[0][:, 0], "high": bounds[1][:, 0]}
    pool = [POOL, POOL, both["item_id"].n_unique()]
    scores = pl.concat([counted, pl.DataFrame([pool], schema=counted.schema, orient="row")])
    return as_set_scores(
        scores.with_columns(
            pl.Series("value", value),
            *(pl.Series(name, each if base is not None else [None] * len(each), pl.Float64)
              for name, each in gains.items()),
            metric=pl.lit("accuracy"),
        ),
        model, set,
    )  # fmt: skip
