"""Two runs side by side: what became of the negatives, and what was different."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from polymine.mining.diff import KEYS, count_reasons
from polymine.reporting.runs.changes import explain_change
from polymine.reporting.shown import Shown, plain

SHOWN = 2  # changes shown of each reason
Differences = list[tuple[str, Any, Any]]
Texts = dict[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True, repr=False)
class RunDiff(Shown):
    """What two runs differ in.

    Args:
        before, after: their names.
        changes: contract Changes.
        settings: name, value before and after of every setting of the data set and of mining that
            differs.
        stages: stages by what became of their results: `same`, `other`, or in one run only.
        reused: stages that the later run did not make itself.
        versions: as `settings`, of the libraries.
        choices: price and highest risk of each run, of the rule `risk`.
        figures: as `settings`, of what the runs gave.
        kept: negatives that both runs have, with the same text and position.
        triplets: of both runs, for their texts.
    """

    drawn_by: ClassVar[str] = "polymine.reporting.runs.diff_view"

    before: str
    after: str
    changes: pl.DataFrame
    settings: Differences
    stages: dict[str, list[str]]
    reused: list[str]
    versions: Differences
    choices: tuple[dict[str, float] | None, dict[str, float] | None]
    figures: Differences
    kept: int
    triplets: tuple[pl.LazyFrame, pl.LazyFrame] = field(compare=False)

    def examples(self, limit: int | None = SHOWN) -> pl.DataFrame:
        """Take the first changes of every reason, in the order of the queries; all if None."""
        nth = pl.int_range(pl.len()).over("change", "reason")
        return self.changes if limit is None else self.changes.filter(nth < limit)

    def texts(self, shown: pl.DataFrame) -> Texts:
        """Read (question, negative) of changes by query_id and doc_id, where there is a triplet."""
        found: Texts = {}
        for triplets in self.triplets:  # the later run's text where both have one
            rows = (
                triplets.select("query_id", "anchor", "negative", doc_id="negative_id")
                .join(shown.select(KEYS).lazy(), on=KEYS, how="semi")
                .unique(KEYS)
                .select(*KEYS, "anchor", "negative")
                .collect()
            )
            found |= {(query, doc): (asked, text) for query, doc, asked, text in rows.rows()}
        return found

    def to_dict(self, limit: int | None = None) -> dict[str, Any]:
        """The summary and the first changes of each reason, in plain values for JSON."""
        shown = self.examples(limit)
        texts = self.texts(shown)
        rows = []
        for row in shown.iter_rows(named=True):
            query, negative = texts.get((row["query_id"], row["doc_id"]), (None, None))
            said = {"explanation": explain_change(row), "query": query, "text": negative}
            rows.append({**row, **said})
        content: dict[str, Any] = plain(
            {
                "before": self.before,
                "after": self.after,
                "settings": _listed(self.settings),
                "versions": _listed(self.versions),
                "figures": _listed(self.figures),
                "stages": {**self.stages, "reused": self.reused},
                "choice": dict(zip(("before", "after"), self.choices, strict=True)),
                "unchanged": self.kept,
                "counts": count_reasons(self.changes).to_dicts(),
                "changes": rows,
            }
        )
        return content


def differences(before: Any, after: Any, name: str = "") -> Differences:
    """List nested values that differ: (dotted name, before, after); None for what is not there."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = _by_name(before), _by_name(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return [
            difference
            for key in dict.fromkeys([*before, *after])
            for difference in differences(
                before.get(key), after.get(key), f"{name}.{key}".lstrip(".")
            )
        ]
    return [(name, before, after)] if before != after else []


def _by_name(items: list[Any]) -> Any:
    """Compare a list of named things, as teachers, by their names and their order."""
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    if None in names or len(set(names)) < len(names):
        return items
    return {"order": names, **dict(zip(names, items, strict=True))}


def compare_stages(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """Sort stages, fingerprints by name, into `same`, `other`, `before_only` and `after_only`."""
    return {
        "same": [name for name in after if before.get(name) == after[name]],
        "other": [name for name in after if before.get(name, after[name]) != after[name]],
        "before_only": [name for name in before if name not in after],
        "after_only": [name for name in after if name not in before],
    }


def _listed(differing: Differences) -> list[dict[str, Any]]:
    return [{"name": name, "before": old, "after": new} for name, old, new in differing]
