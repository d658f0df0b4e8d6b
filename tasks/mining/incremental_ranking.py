"""Incremental ranking: built on that of an earlier corpus, new documents cost what they are.

A cosine depends on its query and document alone. So what an earlier run ranked still holds for the
documents that are left, and only new ones are searched. BM25 weighs words by the whole corpus and
ranks the whole corpus again. The result is the same to the last bit: see `merge_rankings`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from polymine.data_contracts.errors import StoreError
from polymine.data_contracts.notes import RankingNote
from polymine.data_contracts.references import CollectionRef, DatasetRef, fingerprint
from polymine.data_contracts.settings import MiningSettings, TeacherSettings
from polymine.mining.dense import DenseTeacher
from polymine.mining.ranking import Ranked, merge_rankings, rank
from polymine.mining.teachers import Rows, Scores, Teacher
from polymine.tasks.mining.teachers import KINDS, Inputs, Opened
from polymine.tasks.store.datasets import Store, load, scan

SKETCH = 64  # lowest hashes of texts that stand for a corpus when the closest one is looked for
ALIKE = 0.5  # share of them that two corpora must have in common to gain anything
_Pairs = tuple[Ranked, Scores]


def note_ranking(
    version: int,
    teacher: TeacherSettings,
    collection: CollectionRef,
    mining: MiningSettings,
    inputs: Inputs,
) -> RankingNote:
    """Note beside a ranking what a later one needs to build on it.

    Args:
        version: of how rankings are made: no ranking is built on one of another version.
    """
    if not KINDS[teacher.kind].incremental:
        return RankingNote()
    families = [
        Path(inputs[f"{teacher.name}/{side}"].path).name for side in ("queries", "documents")
    ]
    hashes = load(collection.documents)["text"].hash()
    return RankingNote(
        series=fingerprint(
            version=version, families=families, depth=mining.depth, languages=mining.languages
        ),
        sketch=tuple(hashes.unique().bottom_k(SKETCH).sort()),
        tables=(_name(collection.documents), _name(collection.queries)),
    )


@dataclass(frozen=True)
class Previous:
    """An earlier ranking and what of it still holds.

    Args:
        ranking: the dataset.
        documents, queries: ids of those that are the same today.
        new: rows of the documents to be searched, ascending.
        opened, teacher: today's collection, and the teacher on it.
    """

    ranking: DatasetRef
    documents: pl.DataFrame
    queries: pl.DataFrame
    new: Rows
    opened: Opened
    teacher: DenseTeacher

    def rank(self, rows: Rows, depth: int) -> Ranked:
        """Rank queries: the new documents searched, the rest taken over."""
        try:
            listed, cuts = self._read(rows, depth)
        except (OSError, StoreError):  # removed a moment ago
            return rank(self.teacher, rows, depth)
        further = self.teacher.among(self.new)
        return merge_rankings(self.teacher, further, rows, depth, listed, cuts)

    def _read(self, rows: Rows, depth: int) -> _Pairs:
        ids = self.opened.ids
        asked = ids.queries.gather(rows).to_frame("query_id").with_columns(row=pl.Series(rows))
        first, last = asked["query_id"][0], asked["query_id"][-1]
        told = asked.join(self.queries, on="query_id", how="semi", maintain_order="left")
        frame = (
            scan(self.ranking)
            .filter(pl.col("query_id").is_between(pl.lit(first), pl.lit(last)))
            .collect()
            .join(told, on="query_id", how="semi", maintain_order="left")
        )
        lists = frame.group_by("query_id").agg(length=pl.len(), lowest=pl.min("score"))
        known = told.join(lists, on="query_id", how="left", maintain_order="left")
        full = pl.col("length").fill_null(0) == depth
        cut = known.select(pl.when(full).then("lowest").otherwise(-np.inf)).to_series()
        cuts = np.full(len(rows), np.inf, dtype=np.float32)
        cuts[np.searchsorted(rows, known["row"].to_numpy())] = cut.to_numpy()
        left = frame.join(self.documents, on="doc_id", how="semi", maintain_order="left")
        listed = Ranked(*ids.rows(left), left["rank"].to_numpy(), left["score"].to_numpy())
        return listed, cuts


def find_previous(
    store: Store, noted: RankingNote, opened: Opened, teacher: Teacher
) -> Previous | None:
    """Find the ranking of the closest corpus, if there is one that leaves something to reuse."""
    if not noted.series or not isinstance(teacher, DenseTeacher):
        return None
    try:
        best = _find_closest(store, noted)
        return _open(store, best, opened, teacher) if best else None
    except (OSError, StoreError):
        return None  # it, or its collection, is gone


def _find_closest(store: Store, noted: RankingNote) -> str | None:
    """Name the ranking of the corpus that has most in common with this one."""
    alike = {
        name: len(set(manifest.info["sketch"]) & set(noted.sketch))
        for name, manifest in store.manifests("rankings").items()
        if manifest.info.get("series") == noted.series
    }
    best = max(alike, key=lambda name: (alike[name], name), default=None)
    if best is None or alike[best] < ALIKE * len(noted.sketch):
        return None
    return best


def _open(store: Store, name: str, opened: Opened, teacher: DenseTeacher) -> Previous | None:
    dataset = store.dataset("rankings", name)
    ranking, manifest = dataset.find(), dataset.manifest()
    if ranking is None or manifest is None:
        return None
    documents, queries = (_table(store, path) for path in manifest.info["tables"])
    if documents is None or queries is None:
        return None
    same = opened.same_documents(documents)
    asked = opened.same_queries(queries)
    new = np.setdiff1d(opened.candidates(), opened.rows_of(same["doc_id"]))
    return Previous(ranking, same, asked, new, opened, teacher)


def _table(store: Store, path: str) -> pl.DataFrame | None:
    contract, name = path.split("/")
    reference = store.dataset(contract, name).find()
    return load(reference) if reference else None


def _name(table: DatasetRef) -> str:
    """Name a dataset as the store does: tables are fingerprinted by their rows."""
    return f"{table.contract}/{Path(table.path).name}"
