"""Results as MTEB writes them, so that they can be merged with public ones."""

import json
from collections.abc import Mapping

import polars as pl

from polymine.evaluation.languages import flores_code
from polymine.evaluation.mteb_tasks import mteb_version

NAMES = {
    "ndcg": "ndcg_at_{k}",
    "recall": "recall_at_{k}",
    "mrr": "mrr_at_{k}",
    "map": "map_at_1000",
}


def as_mteb_result(
    scores: pl.DataFrame,
    *,
    task: str,
    revision: str,
    split: str,
    k: int,
    further: Mapping[int, pl.DataFrame] | None = None,
) -> bytes:
    """Write the means of one model on one set as the JSON of `mteb.TaskResult`.

    Args:
        scores: `QueryScores` of the set.
        task: what the set is called.
        revision: of its data, as a fingerprint.
        split: of its queries, `test` where none was chosen.
        k: cut-off of the metrics.
        further: the same at other cut-offs.

    Returns:
        JSON in UTF-8: a subset per direction, called `default` if it is the only one, languages
        document first, as MTEB has them. The main score is nDCG.
    """
    key = ["document_language", "query_language"]
    means = scores.filter(pl.col("document_language") != "*").group_by(key)
    rows = means.agg(pl.col(*NAMES).mean()).sort(key).to_dicts()
    beside: dict[tuple[str, ...], dict[str, float]] = {}
    for other, table in (further or {}).items():
        for row in table.group_by(key).agg(pl.col("ndcg", "recall").mean()).to_dicts():
            names = {NAMES[metric].format(k=other): row[metric] for metric in ("ndcg", "recall")}
            beside.setdefault((row[key[0]], row[key[1]]), {}).update(names)
    found = [
        {
            "hf_subset": "default" if len(rows) == 1 else f"{row[key[0]]}-{row[key[1]]}",
            "languages": list(dict.fromkeys(_code(row[side]) for side in key)),
            "main_score": row["ndcg"],
            **{name.format(k=k): row[metric] for metric, name in NAMES.items()},
            **beside.get((row[key[0]], row[key[1]]), {}),
        }
        for row in rows
    ]
    result = {
        "dataset_revision": revision, "task_name": task, "mteb_version": mteb_version(),
        "scores": {split: found}, "evaluation_time": None, "kg_co2_emissions": None,
    }  # fmt: skip
    return json.dumps(result, indent=1).encode()


def _code(language: str) -> str:
    """MTEB's code of a language, `eng-Latn`; unknown ones stay as they are."""
    try:
        return flores_code(language).replace("_", "-")
    except LookupError:
        return language
