"""A mining run that is done: its tables, read when asked for, and why they are as they are.

Everybody who reads a run reads it through this: notebooks, the command line, training. Its tables
lie in its output folder; texts of documents that no triplet holds are read from the store, where it
still has them. Nothing is written, repaired or hashed: reading must not change what is read.
"""

from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pydantic import ValidationError
from rich.console import RenderableType

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.notes import Choice
from polymine.data_contracts.risk import RiskModel
from polymine.data_contracts.tables import GivenVerdicts
from polymine.mining.labelling import NEAREST
from polymine.mining.risk import columns_of
from polymine.reporting.shown import Page, Shown
from polymine.tasks.runs.folder import RunFolder
from polymine.tasks.runs.lists import FURTHER, read_lists

if TYPE_CHECKING:
    from datasets import Dataset

    from polymine.reporting.runs.inspected import Inspection
    from polymine.tasks.runs.exporting import Exported

ALIKE = 3  # ids named where the one asked for is not there
WINDOW = 10_000  # ids before and after it in the alphabet that are compared letter by letter
_TEXTS = ["doc_id", "text", "language"]


class FinishedRun(RunFolder, Shown):
    """A finished mining run; `polymine.Run` adds how it would be under other settings."""

    @property
    def triplets(self) -> pl.DataFrame:
        """The training set: anchor, positive, negative, with ids, scores and weights.

        >>> polymine.open("runs/mine-01").triplets.columns[4:7]
        ['anchor', 'positive', 'negative']
        """
        return self.read("triplets")

    @property
    def negatives(self) -> pl.DataFrame:
        """Every candidate that was decided on, by ids: verdict and reason.

        >>> polymine.open("runs/mine-01").negatives.filter(verdict="negative").height
        8
        """
        return self.read("negatives")

    @property
    def evidence(self) -> pl.DataFrame:
        """Every candidate with all teachers' evidence and the estimated `risk`.

        >>> polymine.open("runs/mine-01").evidence.select("doc_id", "score_bm25", "risk").width
        3
        """
        return self.collect(self._assessed(None), "evidence")

    @property
    def shortfalls(self) -> pl.DataFrame:
        """Queries with fewer negatives than wanted, and why.

        >>> polymine.open("runs/mine-01").shortfalls.height
        0
        """
        return self.read("shortfalls")

    @property
    def promoted(self) -> pl.DataFrame:
        """Candidates that turned out to be positives.

        >>> polymine.open("runs/mine-01").promoted.height
        0
        """
        return self.read("promoted")

    def lists(self, further: int = FURTHER) -> pl.DataFrame:
        """Every query's positives, negatives and further candidates, and all that is known of them.

        Further candidates come from every part of the range of scores and risks, excluded ones
        among them; texts are named by ids (contract Lists). Nothing is asked or embedded: seconds.

        Args:
            further: such candidates per query, at most.

        >>> lists = polymine.open("runs/mine-01").lists()
        >>> lists.select("doc_id", "place", "verdict", "weight").row(0)
        ('owls-eat', 1, 'known', 1.0)
        """
        return read_lists(self, further)

    @cached_property
    def risk(self) -> RiskModel:
        """The weights the risk was estimated with."""
        try:
            return RiskModel.model_validate_json((self.folder / "risk.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise self.foreign("risk.json") from error

    @property
    def choice(self) -> Choice | None:
        """What the rule `risk` decided by."""
        found = (self.info.get("risk") or {}).get("choice")
        return Choice(**found) if found else None

    def why(self, query_id: str, limit: int | None = 10) -> "Inspection":
        """Show a query's positives, negatives, promoted and excluded candidates, and why.

        Args:
            limit: candidates of each kind; all if None.

        Raises InputError for a query that the run does not have, naming those like it.

        >>> why = polymine.open("runs/mine-01").why("q17")
        >>> [(candidate.role, candidate.doc_id) for candidate in why.candidates]
        [('positive', 'owls-eat'), ('negative', 'owls-live')]
        >>> print(why)  # doctest: +ELLIPSIS
        query  q17  ...
        """
        from polymine.reporting.runs.inspected import QueryTables
        from polymine.reporting.runs.inspection import inspect

        negatives, shortfall = (self.read(t, query_id) for t in ("negatives", "shortfalls"))
        if not len(negatives) and not len(shortfall):
            raise InputError(self._unknown(query_id))
        positives = self.read("positives", query_id)
        none = GivenVerdicts.create_empty()
        given = self.read("given", query_id) if self.paths("given") else none
        wanted = pl.concat(table["doc_id"] for table in (negatives, positives, given)).unique()
        query, texts, note = self._texts(query_id, wanted)
        tables = QueryTables(
            query_id=query_id,
            text=query.get("text"),
            language=query.get("language"),
            evidence=self.collect(self._assessed(query_id), "evidence"),
            negatives=negatives,
            positives=positives,
            promoted=self.read("promoted", query_id),
            given=given,
            texts=texts,
            shortfall=shortfall["reason"][0] if len(shortfall) else None,
            model=self.risk,
            mining=self.mining,
            choice=self.choice,
            note=note,
        )
        return inspect(tables, limit)

    def to_label(self, count: int = NEAREST) -> pl.DataFrame:
        """Draw the candidates whose labels would tell most of the risk, with an empty `relevance`.

        They lie near the decision, on both sides of it, over all pairs of languages, and half of
        them are what teachers disagree on. Fill in 0 or 1 and give them to `with_labels`.

        >>> polymine.open("runs/mine-01").to_label(2).columns[:5]
        ['query_id', 'doc_id', 'relevance', 'verdict', 'risk']
        """
        from polymine.tasks.runs.labelling import draw_to_label

        return draw_to_label(self, count)

    def to_dataset(self, shape: str = "triplet") -> "Dataset":
        """Shape the triplets for sentence-transformers: `triplet`, `n-tuple`, `labeled-pair` or
        `labeled-list`, as a `datasets.Dataset`.

        >>> polymine.open("runs/mine-01").to_dataset("triplet").column_names
        ['anchor', 'positive', 'negative']
        """
        from polymine.tasks.runs.exporting import to_dataset

        return to_dataset(self, shape)

    def export(
        self, shape: str, to: str | Path | None = None, scores: str | None = None
    ) -> "Exported":
        """Write the triplets or lists for another trainer, without mining again.

        Args:
            shape: flagembedding, tevatron, nemo, ms-swift or a view, as of `to_dataset`; of lists
                sentence-transformers, pylate, flagembedding-kd or tevatron-kd.
            to: a new folder; the run's with `-SHAPE` added if None.
            scores: that lists have: `fused` if None, `risk`, `validator`, or a teacher by its name.

        >>> polymine.open("runs/mine-01").export("flagembedding", "out/").records
        8
        """
        from polymine.tasks.runs.exporting import export

        return export(self, shape, Path(to) if to else None, scores)

    def push_to_hub(self, repository: str, *, private: bool = True) -> str:
        """Push the run's tables with their card to the Hugging Face hub, as one commit.

        Paths of this machine are left out of cards, reports and manifests.

        Args:
            repository: `organisation/name`; made if it is not there.
            private: whether a new one can be seen by its organisation alone.

        Returns:
            The repository's address.

        Raises:
            StoreError: a damaged run, or a hub that cannot be reached or refuses.

        >>> polymine.open("runs/mine-01").push_to_hub("acme/animals")  # doctest: +SKIP
        'https://huggingface.co/datasets/acme/animals'
        """
        from polymine.tasks.runs.pushing import push_run

        return push_run(self, repository, private=private)

    def report(self) -> Page:
        """The report of the run, which a notebook shows.

        >>> polymine.open("runs/mine-01").report().path.name
        'report.html'
        """
        return Page(self.folder / "report.html", str(self.info.get("headline", "")))

    def __rich__(self) -> RenderableType:
        from polymine.reporting.runs.funnel_view import draw

        return draw(self.name, self.info)

    def _assessed(self, query_id: str | None) -> pl.LazyFrame:
        evidence = self.scan("evidence", query_id)
        # A run made before some kind of evidence was thought of has no column for it.
        known = self.collect(evidence.head(0), "evidence").columns
        kinds = columns_of(self.mining.teacher_kinds).values()
        lacking = {name for names in kinds for name in names} - set(known)
        evidence = evidence.with_columns(pl.lit(None, pl.Float32).alias(n) for n in sorted(lacking))
        risks, keys = self.scan("risks", query_id), ["query_id", "doc_id"]
        return evidence.join(risks, on=keys, how="left", maintain_order="left")

    def _texts(
        self, query_id: str, wanted: pl.Series
    ) -> tuple[dict[str, str], pl.DataFrame, str | None]:
        """Read query and documents from the collection, or from the triplets where it is gone."""
        documents = self.collection("documents", "doc_id", wanted)
        query = self.collection("queries", "query_id", pl.Series([query_id]))
        if documents is not None and query is not None and len(query):
            return query.row(0, named=True), documents.select(_TEXTS), None
        note = (
            f"The store no longer has the documents ({self.store_name()}): there are texts of "
            "triplets only. Run again with the same settings to have all."
        )
        triplets = self.read("triplets", query_id)
        sides = [
            triplets.select(doc_id=f"{side}_id", text=side, language=f"{side}_language")
            for side in ("positive", "negative")
        ]
        asked = triplets.head(1).select(text="anchor", language="anchor_language").to_dicts()
        return (asked or [{}])[0], pl.concat(sides).unique("doc_id"), note

    def _unknown(self, query_id: str) -> str:
        """Say that there is no such query, and which ones resemble it."""
        ids = self.ids()
        hint = hint_nearest(query_id, ids) or (f", such as `{ids[0]}`" if len(ids) else "")
        return f"{query_id}: none of the {len(ids):,} queries of {self.folder}{hint}"


def hint_nearest(wanted: str, ids: pl.Series) -> str:
    """Name ids like the one wanted: first those it is a part of, then those spelt alike.

    Args:
        ids: sorted. Of very many, only those near in the alphabet are compared.
    """
    holding = ids.filter(ids.str.to_lowercase().str.contains(wanted.lower(), literal=True))
    at = int(ids.search_sorted(wanted))
    around = ids[max(at - WINDOW, 0) : at + WINDOW].to_list()
    alike = get_close_matches(wanted, around, n=ALIKE)
    nearest = list(dict.fromkeys([*holding.head(ALIKE), *alike]))[:NEAREST]
    return f"; did you mean {' or '.join(f'`{name}`' for name in nearest)}?" if nearest else ""
