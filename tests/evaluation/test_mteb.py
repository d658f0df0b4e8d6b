"""Tasks of MTEB over made-up data, by encoders whose answers a reader can follow."""

import importlib
import sys
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from datasets import Dataset
from scipy.stats import spearmanr

from polymine.data_contracts.errors import InputError, ModelError
from polymine.data_contracts.settings import EvaluationSet
from polymine.evaluation import mteb_tasks
from polymine.evaluation.belebele import belebele_collection
from polymine.evaluation.gap.sts import compare_crossed, cross_pairs, name_scores
from polymine.evaluation.languages import flores_code
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.evaluation.sets import kind_of, read_table
from tests.evaluation.small_hub import belebele_rows
from tests.tasks.evaluation.small_sets import run_in

mteb = pytest.importorskip("mteb", reason="mteb is not installed")
small_mteb = importlib.import_module("tests.evaluation.small_mteb")

WORDS = ("otter", "camel", "owl", "river", "desert", "night")


class CountingEncoder:
    """Counts six words in any language's text and notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, tuple[str, ...]]] = []

    def __call__(self, texts: Sequence[str], language: str, role: str) -> np.ndarray:
        self.calls.append((language, role, tuple(texts)))
        counts = [[text.count(word) for word in WORDS] for text in texts]
        return np.asarray(counts, dtype=np.float32) + 0.01

    def languages(self) -> dict[str, set[str]]:
        """Roles to the languages they were asked in."""
        asked: dict[str, set[str]] = {}
        for language, role, _ in self.calls:
            asked.setdefault(role, set()).add(language)
        return asked


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    # `mteb.get_tasks` is a function by that name; the module of the registry lies behind it.
    registry = sys.modules["mteb.get_tasks"]._TASKS_REGISTRY
    for task in small_mteb.TASKS:
        monkeypatch.setitem(registry, task.metadata.name, task)


class TestRetrieval:
    def test_numbers_are_those_of_trec_eval(self):
        import pytrec_eval

        encoder = CountingEncoder()
        row = mteb_tasks.mteb_scores("SmallRetrieval", encoder, ["ru", "en"]).row(0, named=True)
        documents = encoder(small_mteb.TEXTS, "ru", "document")
        run = {}
        for query, text in small_mteb.QUESTIONS.items():
            vector = encoder([text], "en", "query")[0]
            cosines = documents @ vector / np.linalg.norm(documents, axis=1)
            names = [f"d{i}" for i in range(len(documents))]
            run[query] = dict(zip(names, (cosines / np.linalg.norm(vector)).tolist(), strict=True))
        measured = pytrec_eval.RelevanceEvaluator(small_mteb.RELEVANT, {"ndcg_cut.10"}).evaluate(
            run
        )
        expected = np.mean([scores["ndcg_cut_10"] for scores in measured.values()])
        assert 0.3 < expected < 0.99
        assert row["value"] == pytest.approx(expected, abs=1e-5)
        assert (row["metric"], row["count"]) == ("ndcg_at_10", 2)

    def test_the_documents_language_comes_first_and_each_side_has_its_own(self):
        encoder = CountingEncoder()
        scores = mteb_tasks.mteb_scores("SmallRetrieval", encoder)
        assert scores.rows() == [
            ("SmallRetrieval", "ru", "en", "ndcg_at_10", 2, pytest.approx(scores["value"][0]))
        ]
        assert encoder.languages() == {"document": {"ru"}, "query": {"en"}}

    def test_tasks_that_name_the_queries_language_first_are_turned(self, monkeypatch):
        monkeypatch.setattr(mteb_tasks, "_QUERY_FIRST", ("SmallRetrieval",))
        encoder = CountingEncoder()
        scores = mteb_tasks.mteb_scores("SmallRetrieval", encoder)
        assert scores.select("document_language", "query_language").row(0) == ("en", "ru")
        assert encoder.languages() == {"document": {"en"}, "query": {"ru"}}


class TestPairs:
    """What the language gap reads: texts and scores, not one number a subset."""

    def test_are_the_tasks_own_with_the_language_of_each_side(self):
        pairs = mteb_tasks.mteb_pairs("SmallSTS", ["en", "ar"])
        first, second, gold = small_mteb.PAIRS
        crossed = pairs.filter(language_a="en", language_b="ar")
        assert crossed.select("text_a", "text_b", "gold").rows() == list(
            zip(first, second, gold, strict=True)
        )
        assert pairs["id"].is_unique().all()
        assert pairs.height == 10

    def test_their_correlation_is_the_one_mteb_gives(self):
        encoder = CountingEncoder()
        pairs = mteb_tasks.mteb_pairs("SmallSTS", ["en"])
        units = [(v := encoder(pairs[f"text_{end}"].to_list(), "en", "text"))
                 / np.linalg.norm(v, axis=1, keepdims=True) for end in "ab"]  # fmt: skip
        found = name_scores(compare_crossed(cross_pairs(pairs), *units), "m", "s", 3, 0.95)
        scored = mteb_tasks.mteb_scores("SmallSTS", encoder, ["en"])
        assert found["value"].to_list() == pytest.approx(scored["value"].to_list(), abs=1e-6)

    def test_every_split_and_subset_has_pairs_of_its_own(self):
        assert mteb_tasks.mteb_pairs("SmallSplits")["id"].n_unique() == 20

    def test_a_task_of_another_kind_is_refused(self):
        with pytest.raises(InputError, match=r"SmallRetrieval: is a task of Retrieval.*STS17"):
            mteb_tasks.mteb_pairs("SmallRetrieval")

    def test_the_gap_reads_a_benchmark_as_pairs(self, tmp_path):
        chosen = EvaluationSet(name="own", benchmark="SmallSTS", languages=("en",))
        tables = read_set(run_in(tmp_path), chosen, 0, scored=True)
        assert kind_of(tables) == "similarity"
        assert read_table(tables, "pairs").height == 5
        plain = read_set(run_in(tmp_path), chosen, 0)
        assert kind_of(plain) == "mteb"


class TestSimilarity:
    def test_each_sentence_is_encoded_in_its_own_language(self):
        encoder = CountingEncoder()
        scores = mteb_tasks.mteb_scores("SmallSTS", encoder, ["en", "ar"])
        first, second, gold = small_mteb.PAIRS
        assert [call for call in encoder.calls if call[0] == "ar"] == [("ar", "text", second)]
        assert ("en", "text", first) in encoder.calls
        a, b = encoder(first, "en", "text"), encoder(second, "ar", "text")
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        expected = spearmanr(cosines, gold).statistic
        rows = {row[1:3]: row for row in scores.rows()}
        assert set(rows) == {("en", "ar"), ("en", "en")}
        assert rows["en", "ar"][3:5] == ("cosine_spearman", 5)
        assert rows["en", "ar"][5] == pytest.approx(expected, abs=1e-6)

    def test_only_subsets_of_the_languages_run(self):
        scores = mteb_tasks.mteb_scores("SmallSTS", CountingEncoder(), ["en"])
        assert scores.select("document_language", "query_language").rows() == [("en", "en")]

    def test_equal_vectors_have_no_correlation_and_that_is_said(self):
        with pytest.raises(ModelError, match="cosine_spearman is nan; does the model give every"):
            mteb_tasks.mteb_scores("SmallSTS", lambda texts, *_: np.ones((len(texts), 2)), ["en"])


class TestOthers:
    def test_clustering_counts_texts_and_takes_script_for_language(self):
        encoder = CountingEncoder()
        scores = mteb_tasks.mteb_scores("SmallClustering", encoder)
        assert scores.select("document_language", "query_language", "metric", "count").rows() == [
            ("ru", "ru", "v_measure", 12), ("arb_Latn", "arb_Latn", "v_measure", 12),
        ]  # fmt: skip
        assert scores["value"].to_list() == [pytest.approx(1.0)] * 2
        assert encoder.languages() == {"document": {"ru", "arb_Latn"}}  # as local sentences are

    def test_columns_of_a_bitext_are_languages(self):
        encoder = CountingEncoder()
        scores = mteb_tasks.mteb_scores("SmallBitext", encoder, ["en", "ru"])
        assert encoder.languages() == {"text": {"en", "ru"}}
        assert scores.select("document_language", "query_language", "count").rows() == [
            ("en", "ru", 3)
        ]
        assert scores["value"].item() == 1.0

    def test_splits_and_subsets_of_equal_languages_stay_apart(self):
        scores = mteb_tasks.mteb_scores("SmallSplits", CountingEncoder())
        assert scores["set"].to_list() == [
            "SmallSplits-dev-news", "SmallSplits-dev-web",
            "SmallSplits-test-news", "SmallSplits-test-web",
        ]  # fmt: skip

    def test_plain_mteb_gives_a_sentence_transformer_the_same_number(self, minilm):
        ours = mteb_tasks.mteb_scores("SmallSTS", lambda texts, *_: minilm.encode(texts), ["en"])
        theirs = mteb.evaluate(minilm, small_mteb.SmallSTS(), cache=None, show_progress_bar=False)
        (result,) = theirs.task_results
        by_subset = {row["hf_subset"]: row["main_score"] for row in result.scores["test"]}
        assert ours["value"].item() == pytest.approx(by_subset["en-en"], abs=1e-6)


class TestBelebele:
    @pytest.mark.parametrize(("documents", "queries"), [("ru", "en"), ("en", "ru"), ("en", "en")])
    def test_the_own_collection_is_that_of_the_task(self, monkeypatch, documents, queries):
        rows = belebele_rows(("ru", "en"))
        by_code = {flores_code(code): Dataset.from_polars(frame) for code, frame in rows.items()}
        monkeypatch.setattr(
            "mteb.tasks.retrieval.multilingual.belebele_retrieval.load_dataset",
            lambda *, name, **_: {"test": by_code[name]},
        )
        subset = f"{flores_code(documents)}-{flores_code(queries)}"
        task = mteb.get_task("BelebeleRetrieval", hf_subsets=[subset])
        task.load_data()
        corpus, asked, relevant = (
            part[subset]["test"] for part in (task.corpus, task.queries, task.relevant_docs)
        )
        frames = belebele_collection(rows)
        own = (
            frames.relevant.join(frames.documents, on="doc_id")
            .filter(pl.col("language") == documents)
            .join(frames.queries, on="query_id", suffix="_asked")
            .filter(pl.col("language_asked") == queries)
        )
        assert set(own.select("text_asked", "text").rows()) == {
            (asked[query], corpus[document]["text"])
            for query, judged in relevant.items()
            for document in judged
        }
        in_language = frames.documents.filter(pl.col("language") == documents)
        assert in_language["text"].to_list() == [item["text"] for item in corpus.values()]
        of_language = frames.queries.filter(pl.col("language") == queries)
        assert of_language["text"].to_list() == list(asked.values())


class TestErrors:
    def test_an_unknown_task_is_told_the_nearest(self):
        with pytest.raises(InputError, match="Did you mean: 'STS17'"):
            mteb_tasks.mteb_scores("STS117", CountingEncoder())

    def test_a_language_it_has_not_is_refused_with_those_it_has(self):
        with pytest.raises(InputError, match="STS17: has no fa, ru; it has ar, de, en, es, fr"):
            mteb_tasks.mteb_scores("STS17", CountingEncoder(), ["en", "ru", "fa"])
        with pytest.raises(InputError, match="no subset has only tr; its subsets are ko-ko"):
            mteb_tasks.mteb_scores("STS17", CountingEncoder(), ["tr"])

    def test_a_task_of_images_is_refused(self):
        with pytest.raises(InputError, match="not a task about texts"):
            mteb_tasks.mteb_scores("STS17MultilingualVisualSTS", CountingEncoder())

    def test_without_network_it_says_what_to_do(self, monkeypatch):
        def unreachable(*_: object, **__: object) -> None:
            raise ConnectionError("Couldn't reach 'mteb/sts17-crosslingual-sts' on the Hub")

        monkeypatch.setattr("mteb.abstasks.abstask.load_dataset", unreachable)
        with pytest.raises(
            InputError, match=r"sts17-crosslingual-sts\) cannot be loaded .*HF_HOME"
        ):
            mteb_tasks.mteb_scores("STS17", CountingEncoder(), ["en"])

    def test_without_mteb_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "mteb", None)
        with pytest.raises(ModelError, match=r"pip install 'polymine\[mteb\]'"):
            mteb_tasks.mteb_scores("STS17", CountingEncoder())

    @pytest.mark.parametrize(
        ("name", "languages", "expected"),
        [
            ("SIB200ClusteringS2S", ["ru", "fa"], {("ru", "ru"), ("fa", "fa")}),
            ("STS22.v2", ["es", "en"], {("es", "es"), ("en", "en"), ("es", "en")}),
            ("BelebeleRetrieval", ["ar", "en"],
             {("ar", "ar"), ("ar", "en"), ("en", "ar"), ("en", "en")}),
            ("CosQA", None, {("mul", "mul")}),
        ],
    )  # fmt: skip
    def test_subsets_of_real_tasks(self, name, languages, expected):
        subsets = mteb_tasks._subsets(mteb.get_task(name), languages)
        assert set(subsets.values()) == expected
        assert len(subsets) == len(expected)
