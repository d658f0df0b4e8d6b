"""Arms of a comparison: what their negatives are stored under, and what they come to."""

import pytest
from conftest import MINILM

from data_contracts.settings import ArmSettings, DatasetSettings, MiningSettings
from data_contracts.tables import Triplets
from tasks import comparison
from tasks.comparison import mine_otherwise
from tasks.ingestion import ingest

LIBRARY = ArmSettings(name="library", miner="sentence-transformers", set=("relative_margin=0.05",))


@pytest.fixture
def mined(animals, tmp_path, monkeypatch):
    """Mine with a teacher, the library being played; returns the folder of its negatives."""
    collection = ingest.fn(DatasetSettings(**animals), str(tmp_path))
    triplets = Triplets.create_empty()
    monkeypatch.setattr(comparison, "library_triplets", lambda *_, **__: triplets)

    def mine(arm: ArmSettings = LIBRARY, **changed: object) -> str:
        mining = MiningSettings(teachers=(MINILM.model_copy(update=changed),), negatives=2)
        return str(mine_otherwise.fn(arm, collection, mining, 0, str(tmp_path)).path)

    return mine


@pytest.mark.parametrize(
    "change",
    [{"query_prompt": "q: "}, {"document_prompt": "d: "}, {"max_length": 64},
     {"dtype": "bfloat16"}, {"trust_remote_code": True}],
)  # fmt: skip
def test_what_changes_the_teachers_vectors_is_mined_anew(mined, change):
    assert mined(**change) != mined()


def test_what_changes_none_is_not(mined):
    assert mined(name="other") == mined()
    chance = ArmSettings(name="random", miner="random")
    assert mined(chance, query_prompt="q: ") == mined(chance)
