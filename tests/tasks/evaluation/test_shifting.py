"""A model saved without what each language adds: the same vectors as `shift = true` measures."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from polymine.commands.shift import shift
from polymine.data_contracts.errors import ModelError, SettingsError
from polymine.data_contracts.settings import EncoderSettings, GapSettings
from polymine.data_contracts.trained import TrainedModel
from polymine.models import load_encoder
from polymine.tasks.evaluation.encoding import Measured, encode, offsets_of, open_measured
from polymine.tasks.evaluation.reading import read_set
from polymine.tasks.evaluation.sets import sides_of_set
from polymine.tasks.evaluation.shifting import _only_path
from tests.small import save_small_encoder
from tests.tasks.evaluation.small_sets import run_in, small, write


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    place = tmp_path_factory.mktemp("shift")
    write(place / "animals", small())
    model = save_small_encoder(place / "base")
    (place / "gap.toml").write_text(f"""
[gap]
models = [{{ name = "m", model = "{model}", query_prompt = "ask: ", dtype = "float32" }}]
sets = [{{ name = "animals", path = "{place / "animals"}" }}]
[output]
path = "{place / "out"}"
[engine]
store = "{place / "store"}"
threads = 1
""")
    said = shift(place / "gap.toml", "m", None, place / "shifted")
    assert "without the offsets of" in said
    return place


def test_its_vectors_are_those_that_are_measured(desk):
    import tomllib

    told = tomllib.loads((desk / "gap.toml").read_text())["gap"]
    gap = GapSettings.model_validate(told)
    run = run_in(desk)
    sides = sides_of_set(read_set(run, gap.sets[0], gap.seed))
    measured = open_measured("m", gap.models[0], shift=True)
    offsets = offsets_of(run, measured, sides)
    queries, _ = sides[0]
    wanted = encode(run, measured, queries["text"], queries["language"], "queries", offsets)
    saved = SentenceTransformer(str(desk / "shifted"), trust_remote_code=True, device="cpu")
    for code in queries["language"].unique():
        own = (queries["language"] == code).to_numpy()
        given = saved.encode(
            queries["text"].to_list(), language=code, prompt_name="query", batch_size=1
        )
        np.testing.assert_allclose(given[own], wanted[own], atol=1e-5)


def test_a_text_without_a_language_is_refused(desk):
    ours = load_encoder(str(desk / "shifted"), device="cpu", dtype="float32")  # trusts no code
    with pytest.raises(ModelError, match="needs the language of the texts"):
        ours.encode(["a text"])
    with pytest.raises(ModelError, match=r"has no 'xx'.*it knows"):
        ours.encode(["a text"], language="xx")


def test_an_adapter_of_one_language_is_not_left_out_silently(tmp_path):
    base = save_small_encoder(tmp_path / "base")
    trained = TrainedModel(base=str(base), routes={"ru": "own"}, fingerprint="x")
    measured = Measured("m", EncoderSettings(model=str(base)), str(tmp_path), trained, shift=True)
    with pytest.raises(ModelError, match="m: 2 adapters encode these languages, or the base"):
        _only_path(measured, ("en", "ru"))


def test_what_the_settings_do_not_name_is_refused(desk):
    with pytest.raises(SettingsError, match="name no `other`; there are m"):
        shift(desk / "gap.toml", "other", None, desk / "new")
    with pytest.raises(SettingsError, match="name no `none`; there are animals"):
        shift(desk / "gap.toml", "m", "none", desk / "new")
    assert not (desk / "new").exists()
