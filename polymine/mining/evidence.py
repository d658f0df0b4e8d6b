"""Everything the teachers know about each candidate, gathered once and stored.

All teachers score the union of their candidates. Risk and selection later read this table only, so
that another rule or another budget needs no model. The kinds of evidence are in `signals`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from polymine.mining.known import Ids, Known
from polymine.mining.ranking import Ranked
from polymine.mining.signals import SIGNALS, Pairs
from polymine.mining.teachers import Teacher


def score_positives(teachers: Sequence[Teacher], known: Known, ids: Ids) -> pl.DataFrame:
    """Score the known positives with every teacher.

    Args:
        teachers: each gives a column.
        known: row numbers of the positives.
        ids: of the same data set.

    Returns:
        query_id, doc_id and a `score_*` (float32) of each teacher, a row per pair.
    """
    queries, documents = known.positives
    return pl.DataFrame(
        {
            "query_id": ids.queries.gather(queries),
            "doc_id": ids.documents.gather(documents),
            **{f"score_{teacher.name}": teacher.score(queries, documents) for teacher in teachers},
        }
    )


def gather_evidence(
    teachers: Sequence[Teacher],
    rankings: Sequence[Ranked],
    known: Known,
    ids: Ids,
    deep: Ranked | None = None,
    likeliest: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Find every kind of evidence on the union of the candidates (contract Evidence).

    Args:
        teachers: the first is the one whose scores set `positive_score`.
        rankings: one per teacher; a candidate outside a ranking has a null rank there.
        known: positives, closed, labelled and given pairs of these queries.
        deep: further candidates, found below a ceiling and therefore without a rank.
        likeliest: query_id, doc_id of the candidates that form each query's centroid, as evidence
            that was gathered before says (`in_centroid`); else they are chosen anew.

    Returns:
        Rows ordered by query_id, doc_id.
    """
    width = len(ids.documents)
    found = [(ranked.queries, ranked.documents) for ranked in rankings]
    # What is labelled or given is looked at wherever it lies; deeper, only what was searched for.
    found += [known.labels[:2], known.given] if deep is None else [(deep.queries, deep.documents)]
    keys = np.unique(np.concatenate([queries * width + rows for queries, rows in found]))
    rows = None if likeliest is None else ids.rows(likeliest)
    pairs = Pairs(keys // width, keys % width, teachers, rankings, known, ids, likeliest=rows)
    for find in SIGNALS:
        pairs.columns.update(find(pairs))
    return pl.DataFrame(
        {
            "query_id": ids.queries.gather(pairs.queries),
            "doc_id": ids.documents.gather(pairs.documents),
            **pairs.columns,
        }
    )
