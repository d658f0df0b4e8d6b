"""An evaluation looks whether its sets hold what trained models have learned from."""

import polars as pl
import pytest

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.learning import TrainingRows
from polymine.data_contracts.settings import (
    EncoderSettings,
    EvaluationSettings,
    StepSettings,
    TrainingSettings,
)
from polymine.data_contracts.trained import TrainedModel
from polymine.evaluation.contamination import exclude
from polymine.tasks.evaluation.encoding import Measured
from polymine.tasks.evaluation.leaving_out import left_out_of
from polymine.tasks.evaluation.sets import open_collection
from polymine.tasks.store.datasets import Store
from polymine.tasks.training import contamination
from polymine.tasks.training.contamination import (
    ROWS,
    check_contaminated,
    look_for_seen,
    overlap_with,
)
from polymine.tasks.training.rows import guard_rows
from polymine.training.mixture import from_collection
from polymine.training.relations import own_relations, relate
from tests.public_data import public, public_tables
from tests.tasks.evaluation.small_sets import read, run_in, small, write

PASSAGE = (
    "The sea otter swims on its back and cracks open shells upon a stone that it keeps in a fold "
    "of its skin, and it sleeps wrapped in kelp, so that no current carries it out to the sea."
)
FAIL, REPORT = EvaluationSettings(), EvaluationSettings(contaminated="report")


@pytest.fixture
def sets(tmp_path):
    tables = small()
    tables["corpus"] = tables["corpus"].with_columns(
        text=pl.when(pl.col("doc_id") == "a-en").then(pl.lit(PASSAGE)).otherwise("text")
    )
    write(tmp_path / "set", tables)
    return {"own": read(tmp_path, guard="all")}


def train_on(tmp_path, text: str, looked: list[str] | None = None) -> Measured:
    """A model whose one step learned from one row with this passage."""
    frame = pl.DataFrame(
        {
            "source": ["data-0"], "row": [0], "anchor_language": ["en"],
            "positive_language": ["en"], "anchor": ["how do they open shells, after all?"],
            "positive": [text], "negatives": [[]], "weights": [[]], "scores": [[]],
            "positive_weight": [1.0],
        },
        schema_overrides={"negatives": pl.List(pl.String), "weights": pl.List(pl.Float32),
                          "scores": pl.List(pl.Float32), "positive_weight": pl.Float32},
    )  # fmt: skip
    frame = relate(frame, own_relations(frame))
    place = Store(str(tmp_path / "store")).dataset(ROWS, "f" * 32)
    place.write_single(frame, TrainingRows, info={"sets": looked or []})
    return measured({"mono": "f" * 32})


def measured(rows: dict[str, str]) -> Measured:
    trained = TrainedModel(base="base", routes={"*": "mono"}, fingerprint="f", rows=rows)
    return Measured("new", EncoderSettings(model="base"), folder="somewhere", trained=trained)


def look(tmp_path, model: Measured, sets, settings: EvaluationSettings = FAIL):
    return look_for_seen(run_in(tmp_path), [model], sets, settings)[1]


@pytest.mark.parametrize(
    ("text", "kind"), [(PASSAGE, "equal"), (PASSAGE.replace("out to the sea", "off"), "near")]
)
def test_what_was_learned_from_is_refused_with_the_list(tmp_path, sets, text, kind):
    model = train_on(tmp_path, text)
    with pytest.raises(InputError, match=rf"new: step mono(?s:.*)own a-en \({kind}, as positive\)"):
        look(tmp_path, model, sets)


def test_or_measured_with_a_warning(tmp_path, sets):
    (note,) = look(tmp_path, train_on(tmp_path, PASSAGE), sets, REPORT)
    assert note.level == "warning"
    assert "own 1" in note.text


def test_other_texts_are_no_matter(tmp_path, sets):
    model = train_on(tmp_path, "Owls hunt at night, when mice and voles come out to feed.")
    assert look(tmp_path, model, sets) == ()


def test_sets_that_training_has_looked_into_are_not_compared_again(tmp_path, sets, monkeypatch):
    model = train_on(tmp_path, PASSAGE, looked=[sets["own"].fingerprint])
    monkeypatch.setattr(contamination, "compare_texts", None)
    assert look(tmp_path, model, sets) == ()


def test_a_pipeline_that_would_train_and_then_not_measure_is_refused():
    reporting = TrainingSettings(contaminated="report")
    with pytest.raises(SettingsError, match=r'set evaluation.contaminated = "report" or "exclude"'):
        check_contaminated(reporting, FAIL)
    check_contaminated(reporting, REPORT)
    check_contaminated(TrainingSettings(), FAIL)


def test_what_training_merely_reported_is_looked_for_again(tmp_path, sets):
    """Rows that hold a set's texts were trained on, so the set is not known to be clear."""
    step, run = StepSettings(name="mono"), run_in(tmp_path)
    gathered = run.store.dataset(ROWS, train_on(tmp_path, PASSAGE).trained.rows["mono"]).find()
    guarded = guard_rows(run, step, gathered, sets, TrainingSettings(contaminated="report"))
    assert guarded.rows == 1
    with pytest.raises(InputError, match="new: step mono was trained on"):
        look(tmp_path, measured({"mono": guarded.fingerprint}), sets)


def test_rows_of_another_store_are_said_to_be_unknown(tmp_path, sets):
    (note,) = look(tmp_path, measured({"mono": "0" * 32}), sets)
    assert "nobody looked" in note.text


def test_plain_models_have_learned_nothing_here(tmp_path, sets):
    assert look(tmp_path, Measured("plain", EncoderSettings(model="base")), sets) == ()


def test_or_the_queries_that_it_answers_are_left_out_for_all(tmp_path, sets):
    model = train_on(tmp_path, PASSAGE)
    excluding = EvaluationSettings(contaminated="exclude")
    with pytest.raises(InputError, match="learned from everything that it measures"):
        look_for_seen(run_in(tmp_path), [model], sets, excluding)
    tables = small()
    tables["corpus"] = pl.concat([open_collection(sets["own"]).documents, tables["corpus"][2:]],
                                 how="diagonal").unique("doc_id")  # fmt: skip
    more = pl.DataFrame({"query_id": ["q-b"], "text": ["what flies?"], "language": ["en"]})
    tables["queries"] = pl.concat([tables["queries"], more])
    judged = pl.DataFrame({"query_id": ["q-b"], "doc_id": ["b-en"], "relevance": [1]})
    tables["qrels"] = pl.concat([tables["qrels"], judged])
    write(tmp_path / "set", tables)
    larger = {"own": read(tmp_path, guard="all")}
    left, notes = look_for_seen(run_in(tmp_path), [model], larger, excluding)
    assert open_collection(left["own"]).queries["query_id"].to_list() == ["q-b"]
    assert "left out for all models" in notes[0].text
    assert notes[1].text == "own: 2 queries left out of all figures"
    assert set(left_out_of(left["own"])) == {"q-en", "q-ru"}


def test_scifacts_standard_split_loses_the_rows_with_a_test_query_alone(tmp_path):
    """All 916 rows hold a document of the corpus that both splits search; 7 hold a test query."""
    folder = public("scifact")
    tested = {"scifact": read(tmp_path, path=str(folder), split="validation")}
    corpus, queries, qrels = public_tables("scifact")
    splits = pl.read_parquet(folder / "splits.parquet").filter(split="train")
    own = queries.join(splits, on="query_id", how="semi")
    rows = from_collection(corpus, own, qrels.join(own, on="query_id", how="semi"), "train").rows
    overlap, levels = overlap_with(tested, rows)
    assert levels == {"scifact": "queries"}
    kept, removed = exclude(rows, overlap)
    assert (kept.height + removed, removed) == (rows.height, 7)
