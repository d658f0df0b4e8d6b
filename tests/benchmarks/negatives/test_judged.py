"""What is revealed of a judged collection, and what stays hidden."""

import polars as pl
import pytest

from benchmarks.negatives.judged import load, reveal

TEXTS = {
    "d1": "otters dive for crayfish at dawn",
    "d2": "a river otter eats trout",
    "d3": "fish make up the diet of most otters",
    "d4": "camels store fat in their hump",
    "d5": "barn owls hunt mice without a sound",
}


def write(folder, qrels, **side_tables):
    """Five documents and three queries; the third is not judged."""
    folder.mkdir(exist_ok=True)
    rows = [(name, text, None, "en") for name, text in TEXTS.items()]
    schema = {"doc_id": str, "text": str, "title": str, "language": str}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "corpus.parquet")
    asked = [("q1", "what do otters eat"), ("q2", "what is a hump for"), ("q3", "who hunts mice")]
    queries = pl.DataFrame(asked, schema=["query_id", "text"], orient="row")
    queries.with_columns(language=pl.lit("en")).write_parquet(folder / "queries.parquet")
    judged = pl.DataFrame(qrels, schema=["query_id", "doc_id", "relevance"], orient="row")
    judged.with_columns(pl.col("relevance").cast(pl.Int8)).write_parquet(folder / "qrels.parquet")
    for name, table in side_tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return folder


QRELS = [("q1", "d1", 2), ("q1", "d2", 1), ("q1", "d3", 1), ("q1", "d5", 0), ("q2", "d4", 1)]


@pytest.mark.parametrize("seed", range(5))
def test_one_positive_is_known_and_the_others_are_hidden(tmp_path, seed):
    revealed = reveal(load(write(tmp_path / "small", QRELS)), seed)
    assert revealed.queries["query_id"].to_list() == ["q1"]  # q2 has nothing left to hide
    assert revealed.known.height == 1
    both = [*revealed.known["doc_id"], *revealed.hidden["doc_id"]]
    assert sorted(both) == ["d1", "d2", "d3"]


def test_the_seed_draws_and_repeats(tmp_path):
    collection = load(write(tmp_path / "small", QRELS))
    drawn = [reveal(collection, seed).known["doc_id"].item() for seed in range(20)]
    assert set(drawn) == {"d1", "d2", "d3"}
    assert drawn == [reveal(collection, seed).known["doc_id"].item() for seed in range(20)]


def test_a_limit_draws_queries_by_the_seed(tmp_path):
    more = [*QRELS, ("q2", "d5", 1), ("q3", "d5", 1), ("q3", "d4", 1)]
    collection = load(write(tmp_path / "small", more))
    drawn = [reveal(collection, seed, limit=1).queries["query_id"].item() for seed in range(20)]
    assert set(drawn) == {"q1", "q2", "q3"}


def test_what_people_refused_is_instructive(tmp_path):
    revealed = reveal(load(write(tmp_path / "small", QRELS)), seed=0)
    assert revealed.instructive.rows() == [("q1", "d5")]


def test_translations_of_the_known_positive_are_hidden(tmp_path):
    groups = pl.DataFrame({"doc_id": ["d4", "d5"], "group_id": ["g", "g"]})
    folder = write(tmp_path / "small", [("q2", "d4", 1)], translations=groups)
    revealed = reveal(load(folder), seed=0)
    assert revealed.known.rows() == [("q2", "d4")]
    assert revealed.hidden.rows() == [("q2", "d5")]


def test_another_question_on_the_same_focus_is_instructive(tmp_path):
    meta = pl.DataFrame(
        {
            "query_id": ["q1", "q2", "q3"],
            "focus": ["animal", "animal", "other"],
            "question_type": ["food", "body", "body"],
        }
    )
    qrels = [("q1", "d1", 1), ("q1", "d2", 1), ("q2", "d4", 1), ("q2", "d2", 1), ("q3", "d5", 1)]
    collection = load(write(tmp_path / "small", qrels, query_meta=meta))
    # d2 answers both, so it is no negative of either; q3 stands alone with its focus.
    assert collection.instructive.rows() == [("q1", "d4"), ("q2", "d1")]


def test_the_product_stands_before_the_question(tmp_path):
    meta = pl.DataFrame({"query_id": ["q1"], "product_title": ["Otter 3000"]})
    collection = load(write(tmp_path / "small", QRELS, query_meta=meta))
    texts = dict(zip(collection.queries["query_id"], collection.queries["text"], strict=True))
    assert texts["q1"] == "Otter 3000 what do otters eat"
    assert texts["q2"] == "what is a hump for"


def test_a_missing_collection_is_explained(tmp_path):
    with pytest.raises(SystemExit, match=r"corpus\.parquet: not there.*--data DIR NAME"):
        load(tmp_path / "nothing")
