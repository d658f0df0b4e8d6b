"""What stages note beside their rows: a typed value per contract, kept in the manifest."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass


class Note(BaseModel):
    """Base of all notes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Choice:
    """What decides under the rule `risk`: the price of risk, and the highest risk taken at all."""

    price: float
    ceiling: float


@dataclass(frozen=True)
class Point:
    """One point of the trade-off: what a price buys. `found` is the share of wanted negatives."""

    price: float
    hardness: float
    expected: float
    found: float


@dataclass(frozen=True)
class Precision:
    """How often candidates turn out to be relevant, by their risk.

    Their log-odds are `intercept` + `slope` (log-odds of the risk - `centre`); the spreads are the
    standard deviations of both. Above log-odds of `highest`, where no label is, nothing rises.

    Args:
        pair: `same` or `foreign`: candidates in the query's language, or not; or one pair of
            languages, the document's first.
        learned_from: pairs of languages of the labels; another one is less sure by far.
        pairs, right, queries: how many there are, how many of them are right, of how many queries.
    """

    pair: str
    learned_from: tuple[str, ...]
    pairs: int
    right: int
    queries: int
    centre: float
    highest: float
    intercept: float
    slope: float
    intercept_spread: float
    slope_spread: float


class Promotion(Note):
    """What is promoted within `max_false_positive_rate`.

    Args:
        precisions: what is known of the risk; empty where nothing can be promoted.
        cut: a candidate is promoted whose precision, cautiously expected, is at least this; None
            where none is.
        promoted: how many are.
        expected: share of them that is expected to be wrong, cautiously.
        unknown: candidates, by kind, of which nothing is known: `same` or `foreign`.
    """

    precisions: tuple[Precision, ...] = ()
    cut: float | None = None
    promoted: int = 0
    expected: float = 0.0
    unknown: dict[str, int] = {}


@dataclass(frozen=True)
class Understood:
    """What one file was understood to be.

    Args:
        file: what errors call it.
        format: `CSV`, `TSV`, `JSON lines`, `Parquet`, `TREC qrels` ...
        rows: records read, broken ones included.
        lines: lines counted, header and blank ones aside; None where a format has none.
        encoding, separator, quoting, header: of delimited text only.
        columns: (meaning, column) of what is used.
        by_position: meanings for which only the position of a column spoke.
        ignored: columns that are not used.
        missing: cells that hold a mark such as `NaN` and are read as missing.
        languages, grades: values seen, with their number of rows.
    """

    file: str
    format: str
    rows: int = 0
    lines: int | None = None
    encoding: str | None = None
    separator: str | None = None
    quoting: bool | None = None
    header: bool | None = None
    columns: tuple[tuple[str, str], ...] = ()
    by_position: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: int = 0
    languages: tuple[tuple[str, int], ...] = ()
    grades: tuple[tuple[str, int], ...] = ()


class CollectionNote(Note):
    """Where a collection came from.

    Args:
        sources: what each of its files was taken for.
        detected: of `documents` and `queries` that named no language, how many were found to be in
            which; `und` where that was not sure.
    """

    sources: tuple[Understood, ...] = ()
    detected: dict[str, dict[str, int]] = {}


class RankingNote(Note):
    """What a later ranking needs to build on this one; empty for teachers that rank all each time.

    Args:
        series: rankings of one series differ in documents and queries alone.
        sketch: lowest hashes of texts, which stand for the corpus.
        tables: documents and queries, as `contract/fingerprint`.
    """

    series: str = ""
    sketch: tuple[int, ...] = ()
    tables: tuple[str, ...] = ()


class DecisionsNote(Note):
    """What there was to decide on.

    Args:
        reach: candidates per query that are put in order.
        candidates: how many were decided on.
        choice, chosen, curve: under the rule `risk`, what decides, what it buys, and what other
            prices would buy.
        hub_limit, hubs: queries that one document may be a negative of, and how many were limited.
    """

    reach: int
    candidates: int
    choice: Choice | None = None
    chosen: Point | None = None
    curve: tuple[Point, ...] = ()
    hub_limit: int | None = None
    hubs: int = 0


@dataclass(frozen=True)
class Primary:
    """The primary teacher, and why it is: the `only` one, `named` in the settings, the first under
    a rule in its `units`, `kept` as the first that none leads far enough, or `chosen` by recall."""

    teacher: str
    why: Literal["only", "named", "units", "kept", "chosen"]


class ScoredNote(Note):
    """Pairs that a validator was asked about, and how many of them it had not scored before."""

    pairs: int
    pairs_scored_now: int


class ExportNote(Note):
    """Counts of an export.

    Args:
        reasons: (verdict, reason, rows) of the master of negatives.
        given: the same of the candidates that files gave.
    """

    queries: int
    triplets: int
    shortfalls: int
    reasons: tuple[tuple[str, str | None, int], ...]
    given: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class SourceCounts:
    """What became of one part of a step's data; `dropped` is by reason."""

    source: str
    rows: int
    merged: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Overlap:
    """A training text that an evaluation set holds, as `kind` (`equal` or `near`)."""

    source: str
    row: int
    side: str
    set: str
    part: str
    id: str
    kind: Literal["equal", "near"]
    text: str


class RowsNote(Note):
    """Where training rows came from, and what the guard found in them.

    Args:
        counts: of each part of the data.
        sources: what each of its files was taken for.
        checked, unchecked: names of the sets they were compared with, and could not be.
        levels: set name to how much of it was compared: `queries`, `relevant` or `all`.
        sets: fingerprints of those that the rows were kept clear of.
        removed: rows left out.
        equal, near: training texts in evaluation sets, of which `overlaps` are the first.
    """

    counts: tuple[SourceCounts, ...] = ()
    sources: tuple[Understood, ...] = ()
    checked: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    levels: dict[str, Literal["queries", "relevant", "all"]] = {}
    sets: tuple[str, ...] = ()
    removed: int = 0
    equal: int = 0
    near: int = 0
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True)
class InLanguage:
    """What was chosen, asked by the queries of one language.

    Args:
        language: of the queries.
        questions: it asks.
        ndcg, base: mean nDCG@10 of what was chosen and of the untouched base.
        enough: whether these are questions enough to hold the one against the other.
    """

    language: str
    questions: int
    ndcg: float
    base: float
    enough: bool

    @property
    def below(self) -> bool:
        """Whether it ends below the base, as far as there are questions enough to say so."""
        return self.enough and self.ndcg < self.base


@dataclass(frozen=True)
class Chosen:
    """What a development part chose of a step's training.

    Args:
        questions: it asks, translations counted once.
        documents, of_documents: they search, and of how many that is a sample.
        step, scale: chosen; 0 and 1 where the step began is best.
        ndcg, base: mean nDCG@10 of what was chosen and of the untouched base.
        looks, seconds: how often it was looked at, and how long that took.
        stopped: whether training ended early.
        averaged: how many looks' weights were averaged, `step` being the last; 1 for none.
        languages: the same by language of the queries.
    """

    questions: int
    documents: int
    of_documents: int
    step: int
    scale: float
    ndcg: float
    base: float
    looks: int
    seconds: float
    stopped: bool
    averaged: int = 1
    languages: tuple[InLanguage, ...] = ()

    @property
    def below(self) -> tuple[InLanguage, ...]:
        """Languages that end below the base."""
        return tuple(each for each in self.languages if each.below)

    def unheld(self, trained: Iterable[str]) -> dict[str, int]:
        """Name languages, of the queries trained on or asked, that have too few questions."""
        held = {each.language for each in self.languages if each.enough}
        asked = {each.language: each.questions for each in self.languages}
        every = sorted({*trained, *asked} - held)
        return {language: asked.get(language, 0) for language in every}


class AdapterNote(Note):
    """How a step was trained.

    Args:
        rows, shares: of each part of the data, and what share of the batches it had.
        steps: of the optimizer.
        tokens, seconds: read and spent.
        closed: pairs of a query and another row's document that were no negatives, as known to
            belong together, over all batches.
        parents: adapters it stands on, which are stored beside it.
        device: it was trained on; the first, where there are several.
        processes: that trained it together.
        chosen: what a development part chose, where there is one.
    """

    rows: dict[str, int]
    shares: dict[str, float]
    steps: int
    tokens: int
    closed: int
    seconds: float
    parents: int
    device: str
    processes: int = 1
    chosen: Chosen | None = None


class HeldOutNote(Note):
    """How a part of a collection was held out.

    Args:
        way: `documents`: whole components of documents with their queries; `queries`: queries
            whose documents stay in the corpus.
        pool: what held-out queries search: the `whole` corpus or the `held-out` documents alone.
        documents, queries: in the pool, and held out.
        of_queries: with a relevant document, on both sides together.
        largest: documents of the largest component.
    """

    way: Literal["documents", "queries"]
    pool: Literal["whole", "held-out"]
    documents: int
    queries: int
    of_queries: int
    largest: int


class SetNote(Note):
    """What an evaluation set is.

    Args:
        benchmark: its name on the hub or in MTEB.
        guard: how much of it training must not have seen.
        documents, queries: of a retrieval set: what is searched, and those that have an answer.
        languages: documents of each language, where there are several.
        merged: documents that were merged into others of equal text.
        own: documents left out of the ranking of the query whose text they are.
        unanswered: queries without a relevant document, which are in no figure.
        chained: questions that hang together with too many others to be drawn with them.
        left_out: queries with an answer, pairs, sentences or items that are gone because a model
            learned from them; of a development part because an evaluation set asks them.
        shared: queries of a development part that choose though an evaluation set asks them.
        rejected: rows that broke a rule and were set aside.
        sources: what each of its files was taken for.
        held_out: of a set that was held out of a collection.
    """

    kind: str
    name: str
    benchmark: str | None = None
    guard: Literal["auto", "queries", "relevant", "all"] = "auto"
    documents: int = 0
    languages: dict[str, int] = {}
    queries: int = 0
    merged: int = 0
    own: int = 0
    chained: int = 0
    left_out: int = 0
    shared: int = 0
    unanswered: int = 0
    rejected: int = 0
    sources: tuple[Understood, ...] = ()
    held_out: HeldOutNote | None = None


class MeasuresNote(Note):
    """How a set was measured.

    Args:
        kind: of the set.
        untouched: its languages, if no text of it passed through an adapter.
        unranked: queries with an answer that a ranking of another system has nothing for.
    """

    kind: str
    untouched: tuple[str, ...] = ()
    unranked: int = 0
