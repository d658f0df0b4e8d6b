"""Languages of texts that name none are found, counted, and never guessed."""

import importlib.metadata
import logging

import polars as pl
import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import DatasetSettings, EvaluationSet
from polymine.reading.languages import DETECT, detect_languages, detector
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.sources.reading import fingerprint_sources, read_sources
from polymine.tasks.store.datasets import load
from tests.public_data import public_tables
from tests.tasks.evaluation.small_sets import read as read_set_of
from tests.tasks.evaluation.small_sets import run_in

SAID = {
    "de": "Der Hund schläft heute den ganzen Tag im Garten hinter dem Haus.",
    "en": "The dog sleeps in the garden behind the house all day today.",
    "es": "El perro duerme hoy todo el día en el jardín detrás de la casa.",
    "fr": "Le chien dort aujourd'hui toute la journée dans le jardin derrière la maison.",
    "ru": "Вчера вечером мы долго гуляли по городу и говорили о том, что будет завтра.",
    "fa": "سگ امروز تمام روز در باغ پشت خانه می‌خوابد.",
}


def detected() -> None:
    pytest.importorskip("py3langid")


def files(folder, language=None) -> dict[str, str]:
    corpus = pl.DataFrame({"doc_id": [f"d-{code}" for code in SAID], "text": list(SAID.values())})
    if language is not None:
        corpus = corpus.with_columns(language=pl.Series(language))
    queries = corpus.select(query_id="doc_id", text="Hm, " + pl.col("text"))
    queries = pl.concat([queries, pl.DataFrame({"query_id": ["no"], "text": ["12:30 -- 4711"]})])
    judged = corpus.select(query_id="doc_id", doc_id="doc_id", relevance=1)
    for name, table in (("corpus", corpus), ("queries", queries), ("judgments", judged)):
        table.write_parquet(folder / f"{name}.parquet")
    return {n: str(folder / f"{n}.parquet") for n in ("corpus", "queries", "judgments")}


def test_each_text_gets_its_language_and_the_uncertain_stay_undetermined(tmp_path, caplog):
    detected()
    run, settings = run_in(tmp_path), DatasetSettings(**files(tmp_path), language=DETECT)
    with caplog.at_level(logging.INFO, "polymine.ingest"):
        made = ingest(run, settings)
    found = dict(load(made.documents).select("doc_id", "language").rows())
    assert found == {f"d-{code}": code for code in SAID}
    asked = dict(load(made.queries).select("query_id", "language").rows())
    assert asked == {f"d-{code}": code for code in SAID} | {"no": "und"}
    (line,) = [line for line in caplog.messages if line.startswith("7 queries named no language")]
    assert "English (en) 1, " in line
    assert line.endswith(" 1 too uncertain to say (und).")
    assert ingest(run, settings).reused
    named = settings.model_copy(update={"language": "und"})
    assert fingerprint_sources(named) != fingerprint_sources(settings)


def test_hardly_a_sure_language_of_real_texts_is_wrong():
    detected()
    corpus, queries, _ = public_tables("xquad")
    for table, most_unsure in ((corpus, 0.04), (queries, 0.25)):
        six = table.filter(pl.col("language").is_in(["ar", "de", "en", "es", "ru", "zh"]))
        drawn = pl.concat(part.sample(100, seed=0) for part in six.partition_by("language"))
        found, counts = detect_languages(drawn.with_columns(language=pl.lit(DETECT)))
        assert sum(counts.values()) == 600
        unsure = found["language"] == "und"
        assert unsure.mean() < most_unsure
        assert ((found["language"] != drawn["language"]) & ~unsure).mean() < 0.01


def test_what_a_file_names_is_kept(tmp_path):
    detected()
    given = files(tmp_path, language=["xx", *[None] * 5])
    raw = read_sources(DatasetSettings(**given, language=DETECT))
    found = dict(raw.documents.select("doc_id", "language").rows())
    assert found == {f"d-{code}": code for code in SAID} | {"d-de": "xx"}
    assert raw.detected["documents"] == dict.fromkeys(sorted({*SAID} - {"de"}), 1)


def test_pairs_of_texts_get_theirs(tmp_path):
    detected()
    table = pl.DataFrame({"query": [SAID["ru"], SAID["de"]], "positive": [SAID["en"], SAID["es"]]})
    table.write_parquet(tmp_path / "pairs.parquet")
    raw = read_sources(DatasetSettings(pairs=str(tmp_path / "pairs.parquet"), language=DETECT))
    assert sorted(raw.queries["language"]) == ["de", "ru"]
    assert sorted(raw.documents["language"]) == ["en", "es"]


def test_nothing_is_looked_at_where_all_languages_are_named():
    table = pl.DataFrame({"text": ["a"], "language": ["en"]})
    assert detect_languages(table) == (table, {})


def test_a_package_that_is_missing_is_named_before_anything_is_read(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("polymine.reading.languages.version", missing)
    with pytest.raises(SettingsError, match=r"pip install 'polymine\[languages\]'"):
        detector()
    with pytest.raises(SettingsError, match="needs py3langid"):
        ingest(run_in(tmp_path), DatasetSettings(**files(tmp_path), language=DETECT))


def test_parallel_texts_to_measure_by_have_to_name_theirs(tmp_path):
    pairs = pl.DataFrame({"text_a": ["a b"], "text_b": ["c d"]})
    (tmp_path / "set").mkdir()
    pairs.write_parquet(tmp_path / "set" / "pairs.parquet")
    with pytest.raises(SettingsError, match="languages are detected of documents and queries"):
        read_set_of(tmp_path, language=DETECT)
    assert EvaluationSet(name="own", path=str(tmp_path), language=DETECT)
