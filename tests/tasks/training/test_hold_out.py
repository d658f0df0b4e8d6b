"""What held-out queries search: by default what users search."""

from polymine.data_contracts.notes import SetNote
from polymine.data_contracts.settings import DatasetSettings, EvaluationSettings
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.mining.ingestion import ingest
from polymine.tasks.reporting.parts import with_held_out
from polymine.tasks.store.datasets import note_of
from polymine.tasks.training.split import hold_out_set
from tests.public_data import public
from tests.tasks.evaluation.small_sets import run_in


def test_by_default_the_whole_corpus_is_searched(tmp_path):
    """Of piaf 77 documents are held out, among which every model looks good."""
    files = {key: str(public("piaf") / f"{name}.parquet") for key, name in
             (("corpus", "corpus"), ("queries", "queries"), ("judgments", "qrels"))}  # fmt: skip
    run, dataset = run_in(tmp_path), DatasetSettings(**files)
    collection = ingest(run, dataset)
    found = {}
    for pool in ("whole", "held-out"):
        evaluation = EvaluationSettings(**({} if pool == "whole" else {"pool": pool}))
        held = hold_out_set(run, collection, dataset, evaluation)
        (chosen,) = with_held_out(evaluation, held).sets
        note = note_of(read_set(run, chosen, 0), SetNote)
        found[pool] = (note.documents, note.queries)
    assert found["whole"][0] == collection.documents.rows == 761
    assert found["held-out"][0] == 77
    assert found["whole"][1] == found["held-out"][1]
