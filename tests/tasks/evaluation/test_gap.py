"""The language gap from files to its page, on small texts and a tiny model."""

from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError
from polymine.data_contracts.gap import GapScores
from polymine.data_contracts.settings import EngineSettings, GapSettings, OutputSettings
from polymine.flows.gap import language_gap
from polymine.tasks.evaluation.gap import CLUSTERS, gather_texts, read_gap
from tests.evaluation.gap.small_gap import sentences
from tests.small import save_small_encoder
from tests.tasks.evaluation.small_sets import read as read_set_of
from tests.tasks.evaluation.small_sets import run_in, small, write

HOSTILE = "<script>alert('x')</script> house and garden"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    place = tmp_path_factory.mktemp("gap")
    texts = sentences(16).with_columns(
        text=pl.when(pl.col("id") == "001-en").then(pl.lit(HOSTILE)).otherwise("text")
    )
    write(place / "sentences", {"sentences": texts})
    scored = pl.DataFrame({
        "id": [f"{code}{at}" for code in ("de", "en") for at in range(6)],
        "text_a": [f"{code} text {at}" for code in ("de", "en") for at in range(6)],
        "text_b": [f"{code} other {at}" for code in ("de", "en") for at in range(6)],
        "lang_a": ["de"] * 6 + ["en"] * 6, "lang_b": ["de"] * 6 + ["en"] * 6,
        "score": [0.0, 1, 2, 3, 4, 5] * 2, "group_id": [str(at) for at in range(6)] * 2,
    })  # fmt: skip
    splits = scored.select("id", "group_id", split=pl.lit("test"))
    write(place / "scored", {"pairs": scored.drop("group_id"), "splits": splits})
    write(place / "collection", small())
    for seed in (0, 1):
        save_small_encoder(place / f"m{seed}", seed)
    return place


def settings(desk, *names: str, **others) -> GapSettings:
    models = [{"name": f"m{seed}", "model": str(desk / f"m{seed}" / "model")} for seed in (0, 1)]
    sets = [{"name": name, "path": str(desk / name)} for name in names]
    return GapSettings(models=models, sets=sets, points=10, resamples=100, **others)


def run(desk, asked: GapSettings, output: str = "out", flow=language_gap.fn):
    engine = EngineSettings(store=str(desk / "store"), threads=1)
    return flow(asked, OutputSettings(path=str(desk / output)), engine)


@pytest.fixture(scope="module")
def made(desk):
    return run(desk, settings(desk, "sentences", "scored", "collection"))


def read(made, name: str) -> pl.DataFrame:
    return pl.read_parquet(f"{made['output']}/{name}.parquet")


def test_every_set_gives_what_it_can(made):
    scores = GapScores.validate(read(made, "scores"), cast=True)
    found = {name: set(part["measure"]) for (name,), part in scores.group_by("set")}
    parallel = {"rank-consistency", "translation", "above-random", "xsim", "purity", "probe"}
    assert parallel <= found["sentences"]
    assert "pool-map" not in found["sentences"]
    assert {"sts", "rank-consistency"} <= found["scored"]
    assert {"pool-map", "found", "preference", "mix-cost"} <= found["collection"]
    assert set(scores["model"]) == {"m0", "m1"}
    changes = read(made, "changes")
    assert set(changes["model"]) == {"m1"}
    assert changes.filter(set="scored", measure="sts").height == 4


def test_few_cases_are_marked_and_in_no_mean(made):
    scores = read(made, "scores").filter(set="scored", model="m0")
    sts = scores.filter(measure="sts")
    assert sts["flagged"].all()
    assert sts.height == 4
    consistency = scores.filter(measure="rank-consistency")
    assert consistency.select("language_a", "language_b", "flagged").rows() == [("de", "en", True)]


def test_the_page_shows_texts_as_texts_and_names_what_is_flagged(made):
    page = Path(made["report"]).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    words = " ".join(page.split())
    assert "scored: de–en share 6 texts, fewer than 10" in words
    assert "Similarity (STS), by direction" in words
    assert '<td>de–en</td><td class="n">6</td>' in words
    assert page.count("<svg") >= 2


def test_a_second_run_encodes_and_measures_nothing_again(desk, made):
    again = run(desk, settings(desk, "sentences", "scored", "collection"), output="again")
    assert set(again["reused"]) == {timing["stage"] for timing in again["timings"]}
    for name in ("scores", "changes"):
        assert read(again, name).equals(read(made, name))


def test_questions_are_drawn_with_what_shares_their_passage(tmp_path):
    """By their case, and by their group where the questions are the parallel texts."""
    asked = [(f"q{n}-{x}", f"{x} {n}?", x, f"q{n}") for n in range(8) for x in ("en", "ru")]
    queries = pl.DataFrame(asked, ["query_id", "text", "language", "group_id"], orient="row")
    texts = [(f"d{n}", f"text {n}", "en") for n in range(6)]
    corpus = pl.DataFrame(texts, ["doc_id", "text", "language"], orient="row")
    judged = [(f"q{n}-en", f"d{n // 2 if n < 4 else n - 2}", 1) for n in range(8)]
    qrels = pl.DataFrame(judged, ["query_id", "doc_id", "relevance"], orient="row")
    write(tmp_path / "set", {"corpus": corpus, "queries": queries, "qrels": qrels})
    tables, context = read_set_of(tmp_path), run_in(tmp_path)
    gap = GapSettings(models=[{"name": "m", "model": "m"}], sets=[{"name": "own", "path": "x"}])
    gathered = gather_texts(context, gap.sets[0], tables, gap)
    cluster = dict(read_gap(gathered, CLUSTERS).rows())
    for name in ("g:q{}", "q{}"):
        of = [cluster[name.format(n)] for n in range(8)]
        assert of[0] == of[1] != of[2] == of[3]
        assert len(set(of)) == 6


def test_one_language_alone_is_refused_before_anything_is_encoded(desk):
    write(desk / "alone", {"sentences": sentences(languages=("en",))})
    with pytest.raises(InputError, match="no two languages have a text in common"):
        run(desk, settings(desk, "alone"), output="none")
    assert not (desk / "none").exists()


def test_a_language_without_versions_is_named_on_the_page(desk, caplog):
    texts = sentences().with_columns(
        group_id=pl.when(pl.col("language") == "ru").then(pl.lit(None)).otherwise("group_id")
    )
    write(desk / "lonely", {"sentences": texts})
    made = run(desk, settings(desk, "lonely"), output="out-lonely")
    words = " ".join(Path(made["report"]).read_text().split())
    said = "lonely: 12 texts in Russian (ru) say what no text in another language says"
    assert said in words
    assert said in caplog.text


def test_machine_translations_are_held_against_peoples(desk):
    people = sentences(languages=("de", "en"))
    machine = people.filter(language="de").with_columns(
        pl.lit("de-x-mt").alias("language"), pl.format("{}-mt", "id").alias("id"),
        text=pl.col("text").str.replace("Garten", "Hof", n=9),
    )  # fmt: skip
    write(desk / "machine", {"sentences": pl.concat([people, machine])})
    made = run(desk, settings(desk, "machine"), output="out-machine")
    row = read(made, "scores").filter(
        measure="human-over-machine", model="m0", language_a="en", language_b="de"
    )
    cases = pl.read_parquet(f"{made['output']}/cases/m0/machine.parquet").filter(
        measure="translation"
    )
    mean = {key: part["value"].mean() for key, part in cases.group_by("language_a", "language_b")}
    assert row["value"].item() == pytest.approx(mean["de", "en"] - mean["de-x-mt", "en"])


def test_texts_in_another_script_are_in_no_pool_and_no_similarity(desk):
    tables = small()
    strange = pl.DataFrame({"doc_id": ["x-ru"], "text": ["not Russian at all"],
                            "language": ["ru"]})  # fmt: skip
    tables["corpus"] = pl.concat([tables["corpus"], strange], how="diagonal")
    write(desk / "mixed", tables)
    made = run(desk, settings(desk, "mixed"), output="out-mixed")
    words = " ".join(Path(made["report"]).read_text().split())
    assert "mixed: 1 text given as Russian (ru) is in another script" in words
    clean = run(desk, settings(desk, "collection"), output="out-clean")
    pool = [read(each, "scores").filter(pl.col("measure") == "pool-map").drop("set")
            for each in (made, clean)]  # fmt: skip
    assert pool[0].equals(pool[1])


@pytest.mark.flow
def test_as_a_flow_it_has_artifacts(desk, made, prefect_server):
    from prefect.client.orchestration import get_client

    run(desk, settings(desk, "sentences"), output="flow", flow=language_gap)
    with get_client(sync_client=True) as client:
        keys = {artifact.key for artifact in client.read_artifacts()}
    assert {"gap-summary", "gap-sentences", "gap-scores"} <= keys


def test_a_collection_without_groups_is_measured_by_its_pool_alone(desk, caplog):
    bare = {name: table.drop("group_id", strict=False) for name, table in small().items()}
    lone = {name: bare[name] for name in ("corpus", "queries", "qrels")}
    write(desk / "lone", lone)
    with pytest.raises(InputError, match="no two languages have a text in common"):
        run(desk, settings(desk, "lone"), "out-lone")
    both = pl.DataFrame({"query_id": ["q-en"] * 2, "doc_id": ["a-en", "a-ru"], "relevance": [1, 1]})
    write(desk / "bare", lone | {"qrels": both})
    made = run(desk, settings(desk, "bare"), "out-bare")
    measures = set(read(made, "scores")["measure"])
    assert "pool-ndcg" in measures
    assert not measures & {"translation", "xsim", "rank-consistency"}
    assert "no `group_id` says which texts are versions" in caplog.text
