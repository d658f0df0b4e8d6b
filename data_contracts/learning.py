"""Schemas of what training reads and writes and what evaluation measures.

Language pairs name the document's language first: `ru-en` is a Russian document and an English
query. In training the query is the `anchor`, the document the `positive`.
"""

import dataframely as dy
import polars as pl


class TrainingRows(dy.Schema):
    """What a step learns from: one row per (query, positive), or per query with its list.

    `source` names the part of the data; batches hold rows of one source and one pair of languages.
    `positive_weight` says how likely the positive is right, `weights` how likely each negative is
    one, 1 where nobody knows; `scores` are the teacher's, the positive's first, then the
    negatives', and empty where there are none. Of a list `negatives` are all documents but its
    first positive, `positive_weights` how likely each is right as a further positive, 0 for what
    is none, and `scores` the teacher's that the step learns, null where it has none; of a pair
    `positive_weights` are empty. `related` are texts of the source's rows of which something is
    known beside this anchor, by hash (xxh3); `related_weights` say how much each counts as its
    negative: 0 for a known positive, its copies and versions, else 1 - risk.
    """

    source = dy.String(primary_key=True)
    row = dy.UInt32(primary_key=True)
    anchor_language = dy.String(nullable=False, min_length=2)
    positive_language = dy.String(nullable=False, min_length=2)
    anchor = dy.String(nullable=False, min_length=1)
    positive = dy.String(nullable=False, min_length=1)
    positive_weight = dy.Float32(nullable=False, min_exclusive=0.0, max=1.0)
    negatives = dy.List(dy.String(nullable=False, min_length=1), nullable=False)
    weights = dy.List(dy.Float32(nullable=False, min=0.0, max=1.0), nullable=False)
    scores = dy.List(dy.Float32(nullable=True, allow_inf=False, allow_nan=False), nullable=False)
    positive_weights = dy.List(dy.Float32(nullable=False, min=0.0, max=1.0), nullable=False)
    related = dy.List(dy.UInt64(nullable=False), nullable=False)
    related_weights = dy.List(dy.Float32(nullable=False, min=0.0, max=1.0), nullable=False)

    @dy.rule()
    def every_related_text_has_a_weight(cls) -> pl.Expr:
        return pl.col("related").list.len() == pl.col("related_weights").list.len()

    @dy.rule()
    def every_negative_has_a_weight(cls) -> pl.Expr:
        return pl.col("negatives").list.len() == pl.col("weights").list.len()

    @dy.rule()
    def every_document_of_a_list_says_whether_it_is_right(cls) -> pl.Expr:
        count = pl.col("positive_weights").list.len()
        return (count == 0) | (count == pl.col("negatives").list.len())

    @dy.rule()
    def scores_are_whole_or_absent(cls) -> pl.Expr:
        count = pl.col("scores").list.len()
        return (count == 0) | (count == pl.col("negatives").list.len() + 1)


class Overlaps(dy.Schema):
    """Training texts that evaluation sets hold; `id` is the set's, `kind` is `equal` or `near`.

    `part` says what the text is in its set: `query`, `document`, or `text` where it is neither.
    """

    source = dy.String(nullable=False)
    row = dy.UInt32(nullable=False)
    side = dy.String(nullable=False)
    set = dy.String(nullable=False)
    part = dy.String(nullable=False)
    id = dy.String(nullable=False)
    kind = dy.String(nullable=False)
    text = dy.String(nullable=False)


class TrainingCurve(dy.Schema):
    """One row per logged step. `loss` is the mean since the row before; `rate` AdamW's."""

    step_name = dy.String(primary_key=True)
    step = dy.UInt32(primary_key=True)
    loss = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    rate = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    gradient_norm = dy.Float64(nullable=True)
    tokens = dy.UInt64(nullable=False)
    seconds = dy.Float64(nullable=False, min=0.0)


class DevelopmentCurve(dy.Schema):
    """Mean nDCG@10 on the development part when `step` steps were done, at a scale of the adapter.

    `averaged` is 1, or how many looks' weights make the mean that was looked at, `step` their last.
    `language` is the queries', `*` for all of them; the mean is over queries and the languages of
    documents.
    """

    step_name = dy.String(primary_key=True)
    step = dy.UInt32(primary_key=True)
    scale = dy.Float64(primary_key=True, min=0.0, max=1.0)
    averaged = dy.UInt32(primary_key=True, min=1)
    language = dy.String(primary_key=True)
    ndcg = dy.Float64(nullable=False, min=0.0, max=1.0)


class QueryScores(dy.Schema):
    """Retrieval metrics of one query in one direction, trec_eval's definitions, from 0 to 1.

    `document_language` is `*` where documents of all languages are ranked together.
    """

    set = dy.String(primary_key=True)
    document_language = dy.String(primary_key=True)
    query_language = dy.String(primary_key=True)
    query_id = dy.String(primary_key=True)
    ndcg = dy.Float64(nullable=False, min=0.0, max=1.0)
    recall = dy.Float64(nullable=False, min=0.0, max=1.0)
    mrr = dy.Float64(nullable=False, min=0.0, max=1.0)
    map = dy.Float64(nullable=False, min=0.0, max=1.0)


class PairScores(dy.Schema):
    """A pair of sentences: the cosine of its vectors beside what people said."""

    language_a = dy.String(nullable=False)
    language_b = dy.String(nullable=False)
    similarity = dy.Float64(nullable=False)
    gold = dy.Float64(nullable=False)


class Answers(dy.Schema):
    """Whether the nearest of a question's options is the right one, in one direction."""

    document_language = dy.String(primary_key=True)
    query_language = dy.String(primary_key=True)
    item_id = dy.String(primary_key=True)
    hit = dy.Bool(nullable=False)


class SetScores(dy.Schema):
    """One number of a model on a set that has no queries: STS, clustering, multiple choice, MTEB.

    `low` and `high` bound the gain over the base; null for the base itself and where a benchmark
    gives no values to resample.
    """

    model = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    document_language = dy.String(primary_key=True)
    query_language = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    count = dy.UInt32(nullable=False)
    value = dy.Float64(nullable=False, allow_inf=False, allow_nan=False)
    gain = dy.Float64(nullable=True)
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)


class Comparisons(dy.Schema):
    """A model against the base, per set, direction and metric; means over the same queries.

    `document_language` and `query_language` are `*` for means over all of them; `group` says which
    mean: `direction`, `pool`, `document` (mean over query languages), `same` (documents and queries
    of one language), `cross`, `pivot`, `non-pivot` or `all`. `low` and `high` bound `gain` (paired
    bootstrap over queries).
    """

    model = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    group = dy.String(primary_key=True)
    document_language = dy.String(primary_key=True)
    query_language = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    queries = dy.UInt32(nullable=False)
    base = dy.Float64(nullable=False)
    value = dy.Float64(nullable=False)
    gain = dy.Float64(nullable=False)
    low = dy.Float64(nullable=False)
    high = dy.Float64(nullable=False)


class Arms(dy.Schema):
    """A way to mine against the base, by the widest mean of a set; one row per arm, seed, metric.

    A null `seed` stands for all seeds together. `low` and `high` bound `gain` over questions and,
    of all seeds together, over seeds.
    """

    arm = dy.String(nullable=False)
    seed = dy.UInt32(nullable=True)
    set = dy.String(nullable=False)
    metric = dy.String(nullable=False)
    base = dy.Float64(nullable=False)
    value = dy.Float64(nullable=False)
    gain = dy.Float64(nullable=False)
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)

    @dy.rule()
    def every_seed_stands_once(cls) -> pl.Expr:
        return pl.struct("arm", "seed", "set", "metric").is_unique()


class Differences(dy.Schema):
    """Two arms on the same queries: every pair once, the one with the higher mean as `arm`.

    `gain` is the arm's mean minus the reference's; `low` and `high` bound it over questions and
    seeds. `p` is the chance of as much if they were alike (two-sided), `adjusted` the same
    corrected for the number of pairs and sets of this metric (Holm).
    """

    arm = dy.String(primary_key=True)
    reference = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    metric = dy.String(primary_key=True)
    gain = dy.Float64(nullable=False, min=0.0)
    low = dy.Float64(nullable=False)
    high = dy.Float64(nullable=False)
    p = dy.Float64(nullable=False, min=0.0, max=1.0)
    adjusted = dy.Float64(nullable=False, min=0.0, max=1.0)


class Changes(dy.Schema):
    """A query that a model answers much better or worse than the base, by nDCG.

    `answer` is the text of its most relevant document in this direction.
    """

    model = dy.String(primary_key=True)
    set = dy.String(primary_key=True)
    document_language = dy.String(primary_key=True)
    query_language = dy.String(primary_key=True)
    query_id = dy.String(primary_key=True)
    query = dy.String(nullable=False)
    answer = dy.String(nullable=False)
    base = dy.Float64(nullable=False)
    value = dy.Float64(nullable=False)
    gain = dy.Float64(nullable=False)
