"""Finds one query in a finished run's folder, and the texts of its candidates in the store.

The folder holds the texts of triplets only; those of excluded candidates are in the ingested
collection, which may be gone, as the store may be emptied at any time. Nothing in it is written,
mended or hashed: a look must not change what it looks at, and has to be quick.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from polymine.data_contracts.errors import InputError, PolymineError, StoreError
from polymine.data_contracts.references import Manifest
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.settings import MiningSettings
from polymine.data_contracts.tables import Negatives, Promoted, Shortfalls, positives_schema
from polymine.mining.budget import Choice
from polymine.mining.risk import columns_of
from polymine.reporting.mining.inspection import QueryTables
from polymine.tasks.mining.run_folder import open_run
from polymine.tasks.store.datasets import Store

NEAREST = 3  # ids named where the one asked for is not there
WINDOW = 10_000  # ids before and after it in the alphabet that are compared letter by letter
TEXTS = ["doc_id", "text", "language"]


def read_query(folder: Path, query_id: str) -> tuple[QueryTables, str | None]:
    """Gather what a run knows of one query, and say which texts are missing and why.

    Raises StoreError when `folder` holds no run or a damaged one, InputError for an unknown id.
    """
    manifest = open_run(folder)
    run = _Run(folder, manifest)
    negatives = run.rows("negatives", query_id, Negatives.create_empty())
    shortfall = run.rows("shortfalls", query_id, Shortfalls.create_empty())
    if not len(negatives) and not len(shortfall):
        raise InputError(_unknown(query_id, run.ids(), folder))
    names = tuple(teacher.name for teacher in run.mining.teachers)
    positives = run.rows("positives", query_id, positives_schema(names).create_empty())
    wanted = pl.concat([negatives["doc_id"], positives["doc_id"]]).unique()
    query, texts, missing = run.texts(query_id, wanted)
    tables = QueryTables(
        query_id=query_id,
        text=query.get("text"),
        language=query.get("language"),
        evidence=run.evidence(query_id),
        negatives=negatives,
        positives=positives,
        promoted=run.rows("promoted", query_id, Promoted.create_empty()),
        texts=texts,
        shortfall=shortfall["reason"][0] if len(shortfall) else None,
        model=run.model(),
        mining=run.mining,
        choice=run.choice(),
    )
    return tables, missing


class _Run:
    """A run's folder and what the store still has of it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest
        try:
            self._settings: dict[str, Any] = manifest.info["settings"]
            self._fingerprints: dict[str, str] = manifest.info["fingerprints"]
            self.mining = MiningSettings.model_validate(self._settings["mining"])
        except (KeyError, ValidationError) as error:
            raise self._foreign("manifest.json") from error

    def rows(self, table: str, query_id: str, empty: pl.DataFrame) -> pl.DataFrame:
        """Read a query's rows of one of the tables; `empty` where the run has no such table."""
        names = [shard.name for shard in self._manifest.shards]
        paths = [self._folder / name for name in sorted(names) if name.startswith(f"{table}/")]
        if not paths:
            return empty
        try:
            return (
                pl.scan_parquet(paths, glob=False).filter(pl.col("query_id") == query_id).collect()
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise StoreError(
                f"{self._folder / table}: missing or not as the run wrote it ({error}); run again "
                "with the same settings into another folder, which reuses what was mined"
            ) from error

    def evidence(self, query_id: str) -> pl.DataFrame:
        """All candidates of a query, with the risk the model estimated."""
        evidence = self.rows("evidence", query_id, pl.DataFrame())
        risks = self.rows("risks", query_id, pl.DataFrame())
        if not len(evidence.columns) or not len(risks.columns):
            raise self._foreign("its evidence")
        # A run made before some kind of evidence was thought of has no column for it.
        kinds = columns_of(self.mining.teacher_kinds).values()
        lacking = {name for names in kinds for name in names} - set(evidence.columns)
        evidence = evidence.with_columns(pl.lit(None, pl.Float32).alias(n) for n in lacking)
        return evidence.join(risks, on=["query_id", "doc_id"], how="left", maintain_order="left")

    def model(self) -> RiskModel:
        """The weights the risk was estimated with."""
        path = self._folder / "risk.json"
        try:
            return RiskModel.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise self._foreign("risk.json") from error

    def ids(self) -> pl.Series:
        """All queries: each has negatives or falls short of them."""
        parts = [
            pl.scan_parquet([self._folder / shard.name for shard in shards], glob=False).select(
                "query_id"
            )
            for table in ("negatives", "shortfalls")
            if (shards := [s for s in self._manifest.shards if s.name.startswith(f"{table}/")])
        ]
        return pl.concat(parts).unique().collect()["query_id"].sort()

    def choice(self) -> Choice | None:
        """What the rule `risk` decided by: noted in the store, beside the decisions."""
        held = self._stored("decisions", self._fingerprints.get("select", ""))
        found = held.info.get("choice") if held else None
        return Choice(found["price"], found["ceiling"]) if found else None

    def texts(
        self, query_id: str, wanted: pl.Series
    ) -> tuple[dict[str, str], pl.DataFrame, str | None]:
        """Read query and documents from the collection, or from the triplets where it is gone."""
        documents = self._collection("documents", "doc_id", wanted)
        query = self._collection("queries", "query_id", pl.Series([query_id]))
        if documents is not None and query is not None and len(query):
            return query.row(0, named=True), documents.select(TEXTS), None
        triplets = self.rows("triplets", query_id, pl.DataFrame())
        missing = (
            f"The store no longer has the documents ({self._place()}): there are texts of "
            "triplets only. Run again with the same settings to have all."
        )
        if not len(triplets):
            return {}, pl.DataFrame(schema=dict.fromkeys(TEXTS, pl.String)), missing
        sides = [
            triplets.select(doc_id=f"{side}_id", text=side, language=f"{side}_language")
            for side in ("positive", "negative")
        ]
        asked = {"text": triplets["anchor"][0], "language": triplets["anchor_language"][0]}
        return asked, pl.concat(sides).unique("doc_id"), missing

    def _collection(self, table: str, key: str, ids: pl.Series) -> pl.DataFrame | None:
        """Read rows of the ingested collection, or return None where it is gone or damaged."""
        try:
            dataset = self._store().ingested(table, self._fingerprints.get("ingest", ""))
            held = dataset.open()
            paths = [dataset.folder / shard.name for shard in held.shards] if held else []
            rows = pl.scan_parquet(paths, glob=False).filter(pl.col(key).is_in(ids.implode()))
            return rows.collect() if paths else None
        except (OSError, PolymineError, pl.exceptions.PolarsError):
            return None

    def _stored(self, contract: str, fingerprint: str) -> Manifest | None:
        try:
            return self._store().dataset(contract, fingerprint).manifest()
        except (OSError, PolymineError):
            return None

    def _store(self) -> Store:
        return Store(self._settings.get("engine", {}).get("store"))

    def _place(self) -> str:
        try:
            return self._store().root
        except PolymineError as error:
            return str(error)

    def _foreign(self, what: str) -> StoreError:
        return StoreError(
            f"{self._folder}: {what} is missing or was written by another version of Polymine; "
            "run again with the same settings into another folder"
        )


def _unknown(query_id: str, ids: pl.Series, folder: Path) -> str:
    """Say that there is no such query, and which ones resemble it."""
    nearest = find_nearest(query_id, ids)
    hint = f"; did you mean {' or '.join(f'`{name}`' for name in nearest)}?" if nearest else ""
    first = f", such as `{ids[0]}`" if len(ids) and not nearest else ""
    return f"{query_id}: none of the {len(ids):,} queries of {folder}{first}{hint}"


def find_nearest(wanted: str, ids: pl.Series) -> Sequence[str]:
    """Name ids like the one wanted: first those it is a part of, then those spelt alike.

    Args:
        ids: sorted. Of very many, only those near in the alphabet are compared.
    """
    holding = ids.filter(ids.str.to_lowercase().str.contains(wanted.lower(), literal=True))
    at = int(ids.search_sorted(wanted))
    around = ids[max(at - WINDOW, 0) : at + WINDOW].to_list()
    alike = get_close_matches(wanted, around, n=NEAREST)
    return list(dict.fromkeys([*holding.head(NEAREST), *alike]))[:NEAREST]
