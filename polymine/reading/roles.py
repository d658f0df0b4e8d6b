"""What a table is for, and the names its columns go by, whatever its author called them."""

from dataclasses import dataclass, field, replace

import dataframely as dy

from polymine.data_contracts.tables import Documents, Given, Judgments, Queries

Names = dict[str, tuple[str, ...]]

_DOC_ID = ("doc_id", "docid", "docno", "document_id", "corpus-id", "corpus_id", "pid")
_QUERY_ID = ("query_id", "query-id", "qid", "queryid")
_LANGUAGE = ("language", "lang")


@dataclass(frozen=True)
class Role:
    """What a table is for.

    Args:
        name: as in the settings.
        columns: each meaning with the names it goes by, the first found wins.
        needed: meanings without which the table is none.
        keys: what `[dataset.columns]` calls a meaning, where it has another name there.
        files: names its files go by in a folder.
        contract: what its rows must become, where they become a table of their own.
        translations: name of the side table that holds its `group_id`.
        without_header: meanings of the columns by their number, where a file has no header.
    """

    name: str
    columns: Names
    needed: tuple[str, ...]
    keys: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    contract: type[dy.Schema] | None = None
    translations: str | None = None
    without_header: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def known(self) -> frozenset[str]:
        """All names, in lower case."""
        return frozenset(name for names in self.columns.values() for name in names)

    @property
    def is_pairs(self) -> bool:
        """Whether its rows are queries with positives."""
        return "anchor" in self.columns

    @property
    def is_judgments(self) -> bool:
        """Whether its rows judge pairs of ids."""
        return self.contract is Judgments

    @property
    def is_trec(self) -> bool:
        """Whether it comes in files of TREC: judgments and rankings."""
        return self.contract in (Judgments, Given)


CORPUS = Role(
    name="corpus",
    columns={
        "doc_id": (*_DOC_ID[:1], "_id", "id", *_DOC_ID[1:]),
        "text": ("text", "contents", "content", "passage", "document"),
        "title": ("title",),
        "language": _LANGUAGE,
        "group_id": ("group_id",),
    },
    needed=("doc_id", "text"),
    keys={"document": "text"},
    files=("corpus", "documents", "passages"),
    contract=Documents,
    translations="translations",
    without_header={2: ("doc_id", "text")},
)
QUERIES = Role(
    name="queries",
    columns={
        "query_id": (*_QUERY_ID[:1], "_id", "id", *_QUERY_ID[1:]),
        "text": ("text", "query", "question", "anchor", "sentence1"),
        "language": _LANGUAGE,
        "group_id": ("group_id",),
    },
    needed=("query_id", "text"),
    keys={"query": "text"},
    files=("queries",),
    contract=Queries,
    translations="query_translations",
    without_header={2: ("query_id", "text")},
)
_JUDGED: Names = {
    "query_id": _QUERY_ID,
    "doc_id": _DOC_ID,
    "relevance": ("relevance", "score", "label", "rel"),
}
JUDGMENTS = Role(
    name="judgments",
    columns=_JUDGED,
    needed=("query_id", "doc_id"),
    files=("qrels", "judgments"),
    contract=Judgments,
    without_header={3: ("query_id", "doc_id", "relevance"),
                    4: ("query_id", "iteration", "doc_id", "relevance")},
)  # fmt: skip
LABELS = Role(
    name="labels",
    columns=_JUDGED,
    needed=("query_id", "doc_id"),
    files=("labels",),
    contract=Judgments,
    without_header=JUDGMENTS.without_header,
)
CANDIDATES = Role(
    name="candidates",
    columns={"query_id": _QUERY_ID, "doc_id": _DOC_ID},
    needed=("query_id", "doc_id"),
    contract=Given,
    without_header={2: ("query_id", "doc_id"), 3: ("query_id", "doc_id", "rank")},
)
PAIRS = Role(
    name="pairs",
    columns={
        "anchor": ("anchor", "query", "question", "prompt", "sentence1", "text_a", "premise",
                   "query_text", "messages"),
        "positive": (
            "positive_passages", "positive_messages", "pos_doc", "positive_ctxs",  # of trainers
            "positive", "positives", "pos", "answer", "passage", "document", "response", "chosen",
            "correct_answer", "best_answer", "sentence2", "text_b", "hypothesis",
        ),
        "negative": ("negative", "negatives", "neg", "hard_negative", "hard_negatives", "rejected",
                     "rejected_response", "negative_passages", "negative_messages", "neg_doc",
                     "hard_negative_ctxs", "negative_ctxs"),
        "anchor_language": ("anchor_language", "query_language", "lang_a"),
        "positive_language": ("positive_language", "document_language", "lang_b"),
        "language": _LANGUAGE,
        "relevance": ("relevance", "label"),  # `score` is a similarity in most pair files
        "split": ("split",),
    },
    needed=("anchor", "positive"),
    keys={"query": "anchor", "query_language": "anchor_language",
          "document_language": "positive_language"},
    files=("pairs", "triplets"),
    without_header={2: ("anchor", "positive"), 3: ("anchor", "positive", "negative")},
)  # fmt: skip
# What training reads beside the texts, as mining writes it.
TRIPLETS = replace(
    PAIRS,
    columns=PAIRS.columns
    | {name: (name,) for name in ("query_id", "positive_id", "position", "weight",
                                  "positive_weight", "positive_score", "negative_score")},
)  # fmt: skip
# Pairs as sets of training and evaluation: each text may be searched with the other.
PARALLEL = Role(
    name="pairs",
    columns={
        "id": ("id", "_id", "idx", "pair_id"),
        "text_a": ("text_a", "sentence1", "anchor", "source"),
        "lang_a": ("lang_a", "language_a", "lang1", "anchor_language", "source_lang",
                   "source_language"),
        "text_b": ("text_b", "sentence2", "positive", "target"),
        "lang_b": ("lang_b", "language_b", "lang2", "positive_language", "target_lang",
                   "target_language"),
        "language": _LANGUAGE,
        "score": ("score", "similarity", "similarity_score"),
        "split": ("split",),
        "group_id": ("group_id",),
    },
    needed=("text_a", "text_b"),
    without_header={2: ("text_a", "text_b"), 3: ("text_a", "text_b", "score")},
)  # fmt: skip
SENTENCES = Role(
    name="sentences",
    columns={
        "id": ("id", "_id", "idx"),
        "text": ("text", "sentence", "content"),
        "language": _LANGUAGE,
        "label": ("label", "category", "topic"),
        "split": ("split",),
        "group_id": ("group_id",),
    },
    needed=("text",),
)
SPLITS = Role(
    name="splits",
    columns={
        "id": ("id", "_id"), "query_id": _QUERY_ID, "split": ("split",), "group_id": ("group_id",),
    },
    needed=("split",),
)  # fmt: skip
TABLES = (CORPUS, QUERIES, JUDGMENTS)
_NAMED = (*TABLES, LABELS, CANDIDATES, PAIRS, SENTENCES)
FILE_NAMES = frozenset(name for role in _NAMED for name in role.files or (role.name,))
