"""From verdicts to the tables people train on."""

from collections.abc import Sequence

import polars as pl

from polymine.data_contracts.settings import MiningSettings, PositiveSettings, View
from polymine.mining.hashing import hash_texts, uniform
from polymine.mining.hubs import REASON as HUB
from polymine.mining.selection import PROMOTED

LOWEST_WEIGHT = 0.05  # a triplet that hardly counts still does


def build_negatives(
    decided: pl.DataFrame, survivors: pl.DataFrame, validated: pl.DataFrame | None, wanted: int
) -> pl.DataFrame:
    """Put all verdicts into the master table (contract Negatives).

    Args:
        decided: what the rule said of every candidate, as from `apply_rule`, and
            `validator_score`.
        survivors: those that passed, in the order they are taken.
        validated: the validator's verdicts, or None where there is no validator: then the first
            `wanted` survivors are the negatives.

    Returns:
        Excluded, promoted and kept candidates; survivors nobody needed are left out. Ordered by
        query_id, position (nulls last), doc_id.
    """
    keys = ["query_id", "doc_id"]
    promoted = pl.col("reason").str.starts_with(PROMOTED)
    excluded = decided.filter(pl.col("reason").is_not_null()).with_columns(
        verdict=pl.when(promoted).then(pl.lit("promoted")).otherwise(pl.lit("excluded")),
        order=pl.lit(None),
    )
    if validated is None:
        chosen = survivors.filter(pl.col("order") <= wanted).with_columns(
            verdict=pl.lit("negative"), reason=pl.lit("passed the rule")
        )
    else:
        chosen = survivors.drop("validator_score").join(validated, on=keys, maintain_order="left")
    columns = [
        *keys, "order", "score", "positive_score", "risk", "validator_score", "verdict", "reason"
    ]  # fmt: skip
    both = pl.concat([chosen.select(columns), excluded.select(columns)], how="vertical_relaxed")
    both = both.sort("query_id", "order", "doc_id", nulls_last=True)
    is_negative = pl.col("verdict") == "negative"
    position = is_negative.cum_sum().over("query_id").cast(pl.UInt32)
    return both.select(
        *keys,
        pl.when(is_negative).then(position).alias("position"),
        "score",
        pl.col("positive_score").cast(pl.Float32),
        pl.col("risk").cast(pl.Float32),
        "validator_score",
        "verdict",
        "reason",
    ).sort("query_id", "position", "doc_id", nulls_last=True)


def build_given(
    given: pl.DataFrame,
    negatives: pl.DataFrame,
    risks: pl.DataFrame,
    positives: pl.DataFrame,
) -> pl.DataFrame:
    """Say what became of the candidates that files gave.

    Args:
        given: contract Given.
        negatives: contract Negatives, with all verdicts.
        risks: contract Risks: what was looked at.
        positives: query_id of known positives.

    Returns:
        Contract GivenVerdicts, in the order of `given`.
    """
    keys = ["query_id", "doc_id"]
    decided = negatives.select(*keys, "verdict", "reason", "position")
    known = positives.select("query_id", known=pl.lit(True)).unique("query_id")
    table = given
    for part, on in ((decided, keys), (risks, keys), (known, "query_id")):
        table = table.join(part, on=on, how="left", maintain_order="left")
    unused = (
        pl.when(pl.col("risk").is_null())
        .then(pl.lit("its language is none that negatives may come from"))
        .when(pl.col("known").is_null())
        .then(pl.lit("its query has no known positive"))
        .otherwise(pl.lit("passed, and its query had its negatives already"))
    )
    return table.select(
        *keys, pl.col("verdict").cast(pl.String).fill_null("unused"),
        pl.coalesce("reason", unused).alias("reason"), "position", "risk",
    )  # fmt: skip


def build_promoted(negatives: pl.DataFrame, promotions: pl.DataFrame | None = None) -> pl.DataFrame:
    """List what became a positive, with the weight it has in training.

    Under the rules other than `risk` a validator promotes alone; that is listed among the
    negatives for a person to judge and trained on by nobody.

    Args:
        negatives: contract Negatives, with all verdicts.
        promotions: contract Promotions; their precision is the weight. What a label calls relevant
            is sure.

    Returns:
        Contract Promoted, by query_id, doc_id.
    """
    by_validator_alone = ~pl.col("reason").str.starts_with(PROMOTED)
    promoted = negatives.filter((pl.col("verdict") == "promoted") & ~by_validator_alone)
    precise = pl.lit(1.0)
    if promotions is not None:
        promoted = promoted.join(promotions, on=["query_id", "doc_id"], how="left")
        precise = pl.col("precision").fill_null(1.0)
    return promoted.select(
        "query_id", "doc_id", "score", "risk", "validator_score",
        _weight(precise).alias("weight"), "reason",
    ).sort("query_id", "doc_id")  # fmt: skip


def close_promoted(closure: pl.DataFrame, promotions: pl.DataFrame | None) -> pl.DataFrame:
    """Close what was promoted, and its versions, beside what was known before (contract Closure).

    What a validator turned down stays closed: two opinions differ on it.
    """
    if promotions is None:
        return closure
    further = promotions.select("query_id", "doc_id", reason=pl.lit("promoted"))
    further = further.join(closure, on=["query_id", "doc_id"], how="anti")
    both = pl.concat([closure, further.cast({"reason": closure.schema["reason"]})])
    return both.sort("query_id", "doc_id")


def _weight(probability: pl.Expr) -> pl.Expr:
    """Weight of what is right with this probability."""
    return probability.clip(LOWEST_WEIGHT, 1.0).cast(pl.Float32)


def judge_positives(
    positives: pl.DataFrame, near: pl.DataFrame, settings: PositiveSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apply what the settings say of doubtful known pairs.

    Args:
        positives: query_id, doc_id, score, validity, validator_score; a null is never doubted.
        near: query_id, doc_id of those that some teacher ranks within `within`.
        settings: what is doubtful, and what becomes of it.

    Returns:
        Those to train on, with their `weight`, and those left out, with the `reason`.
    """
    marked = near.select("query_id", "doc_id", near=pl.lit(value=True))
    judged = positives.join(marked, on=["query_id", "doc_id"], how="left", maintain_order="left")
    fails = {"least_validity": pl.col("validity") < settings.least_validity}
    if settings.within is not None:
        fails["within"] = pl.col("near").is_null()
    if settings.least_logit is not None:
        fails["least_logit"] = pl.col("validator_score") < settings.least_logit
    reason = pl.coalesce(pl.when(failed).then(pl.lit(name)) for name, failed in fails.items())
    judged = judged.with_columns(reason=reason, weight=pl.lit(1.0, pl.Float32)).drop("near")
    if settings.doubtful == "weight":
        filtered = pl.col("reason").is_in(["within", "least_logit"])
        right = pl.when(filtered).then(0.0).otherwise("validity").fill_null(1.0)
        judged = judged.with_columns(weight=_weight(right))
    left_out = pl.lit(settings.doubtful in ("drop", "review")) & pl.col("reason").is_not_null()
    return judged.filter(~left_out), judged.filter(left_out)


def find_near(
    evidence: pl.DataFrame, positives: pl.DataFrame, documents: pl.DataFrame, mining: MiningSettings
) -> pl.DataFrame:
    """Find the known positives that some teacher ranks within `positives.within`.

    Args:
        evidence: contract Evidence.
        positives: query_id, doc_id of the known ones.
        documents: doc_id, language; read where candidates come from some languages only.

    Returns:
        query_id, doc_id, as `judge_positives` takes them.
    """
    ranks = [f"rank_{teacher.name}" for teacher in mining.teachers]
    ranked = evidence.filter(pl.col("closed") == "positive")
    within = pl.min_horizontal(ranks) <= mining.positives.within
    near = ranked.filter(within).select("query_id", "doc_id")
    if mining.languages is None:
        return near
    # No teacher ranks documents of other languages, so that nothing speaks against these.
    others = documents.filter(~pl.col("language").is_in(mining.languages))
    unasked = positives.join(others, on="doc_id", how="semi")
    return pl.concat([near, unasked.select("query_id", "doc_id")]).unique()


def build_triplets(
    negatives: pl.DataFrame,
    positives: pl.DataFrame,
    queries: pl.DataFrame,
    documents: pl.DataFrame,
    promoted: pl.DataFrame | None = None,
    *,
    weighted: bool = False,
    most: int | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Write out every (query, positive, negative) with its texts (contract Triplets).

    Args:
        positives: query_id, doc_id, score and, if not all are sure, `weight`.
        promoted: further positives, as from `build_promoted`.
        weighted: whether `weight` is the probability that the negative is one; else it is 1.
        most: positives of a query, known ones before further ones and by chance; all if None.
        seed: of that draw, which depends on it and the ids alone.

    Returns:
        Rows ordered by query_id, positive_id, position.
    """
    kept = negatives.filter(verdict="negative").select(
        "query_id", pl.col("doc_id").alias("negative_id"), "position",
        pl.col("score").alias("negative_score"), pl.col("risk").alias("negative_risk"),
    )  # fmt: skip
    sure = [] if "weight" in positives.columns else [pl.lit(1.0, pl.Float32).alias("weight")]
    known = positives.with_columns(sure)
    columns = ["query_id", "doc_id", "score", "weight"]
    tables = [known] if promoted is None else [known, promoted]
    drawn = _draw_positives([table.select(columns) for table in tables], most, seed)
    pairs = drawn.rename(
        {"doc_id": "positive_id", "score": "positive_score", "weight": "positive_weight"}
    )
    right = _weight(1 - pl.col("negative_risk")) if weighted else pl.lit(1.0)
    rows = kept.join(pairs, on="query_id").sort("query_id", "positive_id", "position")
    for side, table, key in (
        ("anchor", queries, "query_id"),
        ("positive", documents, "doc_id"),
        ("negative", documents, "doc_id"),
    ):
        texts = table.select(key, pl.col("text").alias(side), pl.col("language").alias("language"))
        left = "query_id" if side == "anchor" else f"{side}_id"
        rows = rows.join(texts, left_on=left, right_on=key, how="left", maintain_order="left")
        rows = rows.rename({"language": f"{side}_language"})
    return rows.select(
        "query_id", "positive_id", "negative_id", "position", "anchor", "positive", "negative",
        "anchor_language", "positive_language", "negative_language", "positive_score",
        "negative_score", right.cast(pl.Float32).alias("weight"), "positive_weight",
    )  # fmt: skip


def _draw_positives(tables: Sequence[pl.DataFrame], most: int | None, seed: int) -> pl.DataFrame:
    """Draw at most so many pairs of each query, those of earlier tables before the others."""
    pairs = pl.concat(table.with_columns(later=pl.lit(at)) for at, table in enumerate(tables))
    key = uniform(seed, hash_texts(pairs["query_id"]), hash_texts(pairs["doc_id"]))
    nth = pl.int_range(pl.len()).over("query_id")
    ordered = pairs.with_columns(key=pl.Series(key)).sort("later", "key")
    kept = ordered if most is None else ordered.filter(nth < most)
    return kept.drop("later", "key")


def describe_searched(mining: MiningSettings) -> str:
    """Name the documents candidates come from: BM25 finds none without a common word."""
    kinds = {teacher.name: teacher.kind for teacher in mining.teachers}
    lexical = kinds[mining.primary_teacher] == "lexical"
    words = "documents that share a word with the query" if lexical else "documents of the corpus"
    return f"{words} in {', '.join(mining.languages)}" if mining.languages else words


def find_shortfalls(
    queries: pl.DataFrame,
    positives: pl.DataFrame,
    survivors: pl.DataFrame,
    negatives: pl.DataFrame,
    wanted: int,
    searched: str = "documents of the corpus",
    left_out: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """List every query with fewer than `wanted` negatives in the triplets and say why.

    Args:
        queries: query_id of all, those without a positive too.
        positives: query_id of known positives.
        survivors: query_id of the candidates within reach of the validator, as in
            `build_negatives`.
        negatives: contract Negatives.
        wanted: negatives that each query should have.
        searched: among what they were looked for, as `describe_searched` says it.
        left_out: query_id of those all of whose positives are doubtful: they have no triplet.

    Returns:
        Contract Shortfalls, in the order of `queries`.
    """
    found = negatives.filter(verdict="negative").group_by("query_id").len("found")
    if left_out is not None:
        found = found.join(left_out, on="query_id", how="anti")
    passing = survivors.group_by("query_id").len("passing")
    turned_down = (
        negatives.filter(pl.col("reason").str.starts_with("validator"))
        .group_by("query_id")
        .agg(turned_down=(pl.col("verdict") != "negative").sum())
    )
    hubs = negatives.filter(reason=HUB).group_by("query_id").len("hubs")
    known = positives.select("query_id", known=pl.lit(True)).unique("query_id")
    doubted = (positives.clear() if left_out is None else left_out).select(
        "query_id", doubted=pl.lit(value=True)
    )
    table = queries.select("query_id")
    for part in (found, passing, turned_down, hubs, known, doubted.unique("query_id")):
        table = table.join(part, on="query_id", how="left", maintain_order="left")
    counts = [pl.col(name).fill_null(0) for name in ("found", "passing", "turned_down", "hubs")]
    return (
        table.with_columns(counts)
        .filter(pl.col("found") < wanted)
        .select(
            "query_id",
            wanted=pl.lit(wanted, pl.UInt32),
            found=pl.col("found").cast(pl.UInt32),
            reason=_why_short(searched),
        )
    )


def _why_short(searched: str) -> pl.Expr:
    """Say why a query has too few negatives, from what was counted of it."""
    few = pl.format(f"only {{}} {searched} pass the rule", "passing")
    return (
        pl.when(pl.col("known").is_null())
        .then(pl.lit("no known positive"))
        .when(pl.col("doubted").is_not_null())
        .then(pl.lit("all its known pairs are doubtful and left out"))
        .when(pl.col("turned_down") > 0)
        .then(pl.format("validator turned down {} of {} candidates", "turned_down", "passing"))
        .when(pl.col("hubs") > 0)
        .then(pl.format("{}; {} more are negatives of enough other queries", few, "hubs"))
        .otherwise(few)
    )


def build_view(triplets: pl.DataFrame, view: View, negatives: int) -> pl.DataFrame:
    """Shape triplets for a trainer; no ids, because sentence-transformers trains on every column.

    Args:
        triplets: contract Triplets.
        view: the form.
        negatives: of an n-tuple; rows with fewer are left out of this view.

    Returns:
        - triplet: anchor, positive, negative.
        - n-tuple: anchor, positive, negative_1 ... negative_n, scores [positive, negatives ...].
        - labeled-pair: anchor, document, label (1 or 0); positives first.
        - labeled-list: anchor, documents, labels (1 for the positive, which stands first).
    """
    if view == "triplet":
        return triplets.select("anchor", "positive", "negative")
    pair = ["query_id", "positive_id"]
    grouped = triplets.group_by(pair, maintain_order=True).agg(
        pl.first("anchor", "positive", "positive_score"), pl.col("negative", "negative_score")
    )
    if view == "labeled-list":
        return grouped.select(
            "anchor",
            documents=pl.concat_list("positive", "negative"),
            labels=pl.concat_list(
                pl.lit(1, pl.Int8), pl.col("negative").list.eval(pl.lit(0, pl.Int8))
            ),
        )
    if view == "n-tuple":
        full = grouped.filter(pl.col("negative").list.len() == negatives)
        return full.select(
            "anchor",
            "positive",
            *[
                pl.col("negative").list.get(at).alias(f"negative_{at + 1}")
                for at in range(negatives)
            ],
            scores=pl.concat_list("positive_score", "negative_score"),
        )
    positive = grouped.select(
        "anchor", pl.col("positive").alias("document"), label=pl.lit(1, pl.Int8)
    )
    negative = triplets.unique(["query_id", "negative_id"], maintain_order=True).select(
        "anchor", pl.col("negative").alias("document"), label=pl.lit(0, pl.Int8)
    )
    return pl.concat([positive, negative])
