"""Tasks of MTEB over a handful of made-up rows; they load nothing."""

from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskBitextMining, AbsTaskClustering, AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata

# No two are equally near to a question: rounding would decide.
TEXTS = (
    "otter river river", "camel camel desert", "owl night night", "otter night",
    "desert desert desert night",
)  # fmt: skip
QUESTIONS = {"q0": "otter night night", "q1": "camel river river river", "unjudged": "owl"}
RELEVANT = {"q0": {"d3": 1, "d0": 2}, "q1": {"d1": 1, "d2": 0}}
PAIRS = (
    ("otter river", "camel desert", "owl night", "otter night", "camel"),
    ("the otter in its river", "camel at night", "river desert", "otter river night", "owl"),
    (5.0, 3.0, 0.5, 4.0, 1.0),
)


def _metadata(name: str, kind: str, score: str, languages: Any, splits: tuple[str, ...]) -> Any:
    return TaskMetadata(
        name=name, type=kind, main_score=score, eval_langs=languages, eval_splits=list(splits),
        description="Made up.", reference="https://example.org", dataset={"path": "none/here",
        "revision": "0"}, category="t2t", modalities=["text"], date=("2024-01-01", "2024-01-02"),
        domains=["Written"], task_subtypes=[], license="cc0-1.0", annotations_creators="derived",
        dialect=[], sample_creation="created", bibtex_citation="",
    )  # fmt: skip


def _pairs() -> Dataset:
    first, second, score = PAIRS
    return Dataset.from_dict({"sentence1": first, "sentence2": second, "score": score})


class SmallRetrieval(AbsTaskRetrieval):
    metadata = _metadata(
        "SmallRetrieval", "Retrieval", "ndcg_at_10", {"x": ["rus-Cyrl", "eng-Latn"]}, ("test",)
    )

    def load_data(self, **_: Any) -> None:
        self.corpus = {"x": {"test": {f"d{i}": {"title": "", "text": text}
                                      for i, text in enumerate(TEXTS)}}}  # fmt: skip
        self.queries = {"x": {"test": dict(QUESTIONS)}}
        self.relevant_docs = {"x": {"test": {query: dict(of) for query, of in RELEVANT.items()}}}
        self.data_loaded = True


class LocalRetrieval(AbsTaskRetrieval):
    """Any collection; its titles are left out."""

    metadata = _metadata("LocalRetrieval", "Retrieval", "ndcg_at_10", ["eng-Latn"], ("test",))

    def __init__(self, corpus: Any, queries: Any, judged: Any) -> None:
        super().__init__()
        texts = ({"title": "", "text": text} for text in corpus["text"])
        relevant: dict[str, dict[str, int]] = {}
        for query, document, grade in judged.select("query_id", "doc_id", "relevance").rows():
            relevant.setdefault(query, {})[document] = grade
        asked = dict(queries.select("query_id", "text").rows())
        self.corpus = {"test": dict(zip(corpus["doc_id"], texts, strict=True))}
        self.queries = {"test": asked}
        kept = {query: of for query, of in relevant.items() if query in asked}
        self.relevant_docs = {"test": kept}
        self.data_loaded = True

    def load_data(self, **_: Any) -> None:
        """All is there."""


class SmallSTS(AbsTaskSTS):
    metadata = _metadata(
        "SmallSTS", "STS", "cosine_spearman",
        {"en-ar": ["eng-Latn", "ara-Arab"], "en-en": ["eng-Latn"]}, ("test",),
    )  # fmt: skip

    def load_data(self, **_: Any) -> None:
        self.dataset = {subset: DatasetDict(test=_pairs()) for subset in self.hf_subsets}
        self.data_loaded = True


class SmallSplits(AbsTaskSTS):
    metadata = _metadata(
        "SmallSplits", "STS", "cosine_spearman", {"news": ["eng-Latn"], "web": ["eng-Latn"]},
        ("dev", "test"),
    )  # fmt: skip

    def load_data(self, **_: Any) -> None:
        both = DatasetDict(dev=_pairs(), test=_pairs())
        self.dataset = dict.fromkeys(self.hf_subsets, both)
        self.data_loaded = True


class SmallClustering(AbsTaskClustering):
    max_fraction_of_documents_to_embed = None
    max_document_to_embed = 12
    max_documents_per_cluster = 12
    n_clusters = 2
    metadata = _metadata(
        "SmallClustering", "Clustering", "v_measure",
        {"rus_Cyrl": ["rus-Cyrl"], "arb_Latn": ["arb-Latn"]}, ("test",),
    )  # fmt: skip

    def load_data(self, **_: Any) -> None:
        texts = ["otter river"] * 4 + ["camel desert"] * 4 + ["owl night"] * 4
        rows = Dataset.from_dict({"sentences": texts, "labels": [i // 4 for i in range(12)]})
        self.dataset = {subset: DatasetDict(test=rows) for subset in self.hf_subsets}
        self.data_loaded = True


class SmallBitext(AbsTaskBitextMining):
    parallel_subsets = True
    metadata = _metadata(
        "SmallBitext", "BitextMining", "f1",
        {"eng_Latn-rus_Cyrl": ["eng-Latn", "rus-Cyrl"], "eng_Latn-fra_Latn":
         ["eng-Latn", "fra-Latn"]}, ("test",),
    )  # fmt: skip

    def load_data(self, **_: Any) -> None:
        english, russian = ["otter", "camel", "owl"], ["an otter", "a camel", "an owl"]
        rows = {"eng_Latn": english, "rus_Cyrl": russian, "fra_Latn": russian}
        self.dataset = DatasetDict(test=Dataset.from_dict(rows))
        self.data_loaded = True


TASKS = (SmallRetrieval, SmallSTS, SmallSplits, SmallClustering, SmallBitext)
