"""Triplets as the records other trainers read; every row of a frame here is one JSON object.

Frames and not dictionaries, because polars writes nested rows as JSON many times faster. Four
things hold for every format:

- Scores are the primary teacher's, as they are: no trainer agrees with another on a scale.
- Negatives stand in the order they were taken in, the hardest first where sampling is `top`.
- A negative that is also a positive of its query, by id or by text, is left out, and so is a query
  that has no negative left: most readers divide by their number.
- A triplet's `weight` is lost. None of these formats has a place for it.
"""

from collections.abc import Callable

import polars as pl

from polymine.data_contracts.settings import Format, ListFormat
from polymine.mining.lists import right

_ID, _TEXT, _SCORE = "id", "text", "score"


def build_records(triplets: pl.DataFrame, form: Format) -> pl.DataFrame:
    """Shape triplets for a trainer.

    Args:
        triplets: contract Triplets, all rows of whole queries.

    Returns:
        A row per record, with the trainer's own columns. They stand in the order in which queries
        first occur, in ms-swift each query's positives within it.
    """
    return BUILDERS[form](_by_query(triplets))


def build_list_records(
    lists: pl.DataFrame, queries: pl.DataFrame, documents: pl.DataFrame, form: ListFormat
) -> pl.DataFrame:
    """Shape lists for a trainer that learns from a teacher's scores.

    `sentence-transformers` (`util.resolve_ids`) and `pylate` (`utils.KDProcessing`) read query_id,
    document_ids and scores, positives first, and look the texts up in tables of their own.
    `flagembedding-kd` (`--knowledge_distillation True`) and `tevatron-kd` (`train_distil`) read the
    records of these trainers, where all that is no positive stands among the negatives with its
    score.

    Args:
        lists: contract Lists with the teacher's `score`, in the order wanted (`interleave`).
        queries, documents: query_id or doc_id, and text, of all that the lists name.

    Returns:
        A row per query that has a positive and something else.
    """
    read = lists.join(documents.select("doc_id", "text"), on="doc_id", maintain_order="left")
    document = pl.struct(pl.col("doc_id").alias(_ID), pl.col("text").alias(_TEXT),
                         pl.col("score").alias(_SCORE))  # fmt: skip
    gathered = read.group_by("query_id", maintain_order=True).agg(
        document.filter(right()).alias("positives"), document.filter(~right()).alias("negatives")
    )
    whole = gathered.filter(pl.min_horizontal(pl.col("positives", "negatives").list.len()) > 0)
    asked = queries.select("query_id", query="text")
    whole = whole.join(asked, on="query_id", how="left", maintain_order="left")
    if form == "flagembedding-kd":
        return _flagembedding(whole)
    if form == "tevatron-kd":
        return _tevatron(whole)
    listed = pl.concat_list("positives", "negatives")
    return whole.select(
        "query_id",
        document_ids=listed.list.eval(_field(_ID)),
        scores=listed.list.eval(_field(_SCORE)).cast(pl.List(pl.Float32)),
    )


def build_corpus(triplets: pl.DataFrame) -> pl.DataFrame:
    """List the documents that triplets name.

    Args:
        triplets: contract Triplets.

    Returns:
        id, text, each document once, ordered by id.
    """
    sides = [
        triplets.select(pl.col(f"{side}_id").alias(_ID), pl.col(side).alias(_TEXT))
        for side in ("positive", "negative")
    ]
    return pl.concat(sides).unique(_ID, keep="any").sort(_ID)


def _flagembedding(queries: pl.DataFrame) -> pl.DataFrame:
    """FlagEmbedding: query, pos, neg, pos_scores, neg_scores; one record per query.

    Its reader draws one of the positives anew each time and reads scores with
    `--knowledge_distillation True` only. `prompt` and `type` are left out: a record's prompt would
    overrule `--query_instruction_for_retrieval`, and without a type data is plain retrieval. There
    is no place for ids.
    """
    return queries.select(
        "query",
        pos=_each("positives", _field(_TEXT)),
        neg=_each("negatives", _field(_TEXT)),
        pos_scores=_each("positives", _field(_SCORE)),
        neg_scores=_each("negatives", _field(_SCORE)),
    )


def _tevatron(queries: pl.DataFrame) -> pl.DataFrame:
    """Tevatron: query_id, query, positive_passages, negative_passages; one record per query.

    Its reader goes through the positives epoch by epoch; its distillation reads `score`. Passages
    have docid, text and score. They have no `title`, which is optional: it would be put before the
    text, and a text already starts with its title, or was to be read without it.
    """
    passage = pl.struct(_field(_ID).alias("docid"), _field(_TEXT), _field(_SCORE))
    return queries.select(
        "query_id",
        "query",
        positive_passages=_each("positives", passage),
        negative_passages=_each("negatives", passage),
    )


def _nemo(queries: pl.DataFrame) -> pl.DataFrame:
    """NeMo Automodel: question_id, question, pos_doc, neg_doc by id; one record per query.

    Its reader takes the first positive alone unless `cycle_positive_docs` is true, and the first
    `n_passages - 1` negatives. One record per positive would train on all of them at once, but
    `question_id` must be unique where it mines from this file, and a batch could hold a query
    twice, each with the other's positive among its negatives. It ignores scores; its own miner
    writes them in the same place. Whoever writes the file adds `corpus_id`, which is the name in
    the metadata of the folder that holds the texts.
    """
    document = pl.struct(_field(_ID), _field(_SCORE))
    return queries.select(
        pl.col("query_id").alias("question_id"),
        pl.col("query").alias("question"),
        pos_doc=_each("positives", document),
        neg_doc=_each("negatives", document),
    )


def _ms_swift(queries: pl.DataFrame) -> pl.DataFrame:
    """ms-swift: messages, positive_messages, negative_messages; one record per (query, positive).

    Its reader trains on the first positive of a record alone and its documentation wants one, so a
    query with several makes several records. With `INFONCE_USE_BATCH`, its default, a batch that
    holds two of them sets the positive of one against the other; without it none does.
    There is no place for ids or scores.
    """
    messages = _said(_field(_TEXT))
    return queries.explode("positives").select(
        messages=_said(pl.col("query")),
        positive_messages=pl.concat_list("positives").list.eval(messages),
        negative_messages=_each("negatives", messages),
    )


BUILDERS: dict[Format, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "flagembedding": _flagembedding,
    "tevatron": _tevatron,
    "nemo": _nemo,
    "ms-swift": _ms_swift,
}


def _by_query(triplets: pl.DataFrame) -> pl.DataFrame:
    """Gather query_id, query, positives and negatives; the latter as lists of {id, text, score}."""
    key = "query_id"
    positives = triplets.unique([key, "positive_id"], keep="first", maintain_order=True)
    negatives = triplets.unique([key, "negative_id"], keep="first", maintain_order=True)
    negatives = negatives.sort("position", maintain_order=True)
    for is_, other in (("negative_id", "positive_id"), ("negative", "positive")):
        negatives = negatives.join(
            positives, left_on=[key, is_], right_on=[key, other], how="anti", maintain_order="left"
        )
    asked = positives.group_by(key, maintain_order=True).agg(
        pl.first("anchor").alias("query"), _document("positive").alias("positives")
    )
    refused = negatives.group_by(key).agg(_document("negative").alias("negatives"))
    return asked.join(refused, on=key, how="inner", maintain_order="left")


def _document(side: str) -> pl.Expr:
    return pl.struct(
        pl.col(f"{side}_id").alias(_ID),
        pl.col(side).alias(_TEXT),
        pl.col(f"{side}_score").alias(_SCORE),
    )


def _each(documents: str, shape: pl.Expr) -> pl.Expr:
    """Reshape every document of a list."""
    return pl.col(documents).list.eval(shape)


def _said(text: pl.Expr) -> pl.Expr:
    """Make a conversation of one message."""
    return pl.concat_list(pl.struct(pl.lit("user").alias("role"), text.alias("content")))


def _field(name: str) -> pl.Expr:
    return pl.element().struct.field(name)
