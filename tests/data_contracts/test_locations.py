"""Every setting that names a place carries the mark, and no address a password."""

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from polymine.data_contracts.credentials import credential_in, hide_credentials
from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    ArmSettings,
    ComparisonSettings,
    DatasetSettings,
    EvaluatedModel,
    EvaluationSettings,
    OutputSettings,
    RecipeSettings,
    TrainingData,
    TrainingSettings,
    check_as,
    load_as,
)
from polymine.data_contracts.settings.locations import (
    _mark_of,
    check_locations,
    locations_in,
    with_locations,
)
from polymine.data_contracts.settings.run import SETTINGS, RunSettings
from polymine.tasks.monitoring.run_names import describe_run, name_data

# Settings that are texts and no places. A new one has to be put here, or be marked.
TEXTS = {
    "name", "language", "languages", "query_prompt", "document_prompt", "teacher", "pivot", "split",
    "benchmark", "report_to", "routes", "targets", "set", "training",
    "gpu_pool",
    "columns", "separator", "encoding", "grades",
}  # fmt: skip


def fields_of(model: type[BaseModel], seen: set[type]) -> Iterator[tuple[str, object, object]]:
    seen.add(model)
    for name, field in model.model_fields.items():
        inner = [m for m in models_in(field.annotation) if m not in seen]
        for each in inner:
            yield from fields_of(each, seen)
        yield name, field.annotation, field.metadata


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)


def holds_text(annotation: object) -> bool:
    return annotation is str or any(map(holds_text, getattr(annotation, "__args__", ())))


def test_every_setting_that_is_a_text_is_marked_or_known_to_be_no_place():
    seen: set[type] = set()
    for settings in SETTINGS.values():
        for name, annotation, metadata in fields_of(settings, seen):
            marked = _mark_of(annotation, metadata) is not None
            known = name in TEXTS or not holds_text(annotation)
            assert marked != known, f"{name}: mark it as a Location, or say here that it is none"


def test_places_are_found_however_deep():
    training = TrainingSettings(
        base="b", recipe=RecipeSettings(mono=TrainingData(triplets=["one", "two"]))
    )
    found = {(p.key, p.value, p.kind) for p in locations_in(training, "training")}
    assert found == {
        ("training.base.model", "b", "model"),
        ("training.recipe.mono.triplets.0", "one", "table"),
        ("training.recipe.mono.triplets.1", "two", "table"),
    }
    moved = with_locations(training, lambda value, kind: f"/{kind}/{value}")
    assert moved.recipe.mono.triplets == ["/table/one", "/table/two"]
    assert moved.model_dump()["steps"] == ()


def test_code_is_trusted_model_by_model():
    evaluation = EvaluationSettings(
        base="b", models=(EvaluatedModel(name="x", model="m", trust_remote_code=True),)
    )
    assert {p.value: p.trusts_code for p in locations_in(evaluation)} == {"b": False, "m": True}
    assert not any(p.trusts_code for kind in (TrainingSettings(), EvaluationSettings())
                   for p in locations_in(kind))  # fmt: skip


@pytest.mark.parametrize("address", [
    "s3://AKIAX:secret@bucket/a.parquet", "s3://AKIAX:se/cr+et=@bucket/a", "https://me@host/x.csv",
    "simplecache::ftp://u:secret@host/x", "https://host/x?X-Amz-Signature=secret",
    "https://host/x?a=1&sig=secret", "https://host/x?token=secret", "gs://b/x?api_key=secret",
    "s3://AKIAX:pa@:secret@b", "s3://AKIAX: a 'b\":secret@b/x", "https://host/x#a=1&token=secret",
    "https://host/x;token=secret", "https://host/x?code=secret", "az://b/x?AccountKey=secret",
    "https://host/x?%74oken=secret", "s3://AKIAX:\0:secret@b", "~x://AKIAX:secret@b",
])  # fmt: skip
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    dataset = DatasetSettings(corpus=address, queries="q", judgments="j")
    with pytest.raises(SettingsError, match=r"dataset\.corpus: .* holds a (user|secret)") as caught:
        check_locations(dataset, "dataset")
    assert not any(word in str(caught.value) for word in ("AKIAX", "=secret", ":secret", "cr+et"))


@pytest.mark.parametrize("address", [
    "s3://bucket/a@b.parquet", "hf://datasets/org/name@main/x", "http://host:9000/a@b.csv",
    "data/me:you@x.csv", "https://host/x?part=1", "s3://bucket/tokens.parquet",
    "s3://bucket/key=1/a.parquet", "https://host/x?part=1&author=you&keyword=it&country_code=de",
    "https://host/x?sort_key=date&session_no=3&monkey=1", "http://[::1]:9000/a@b.csv",
])  # fmt: skip
def test_other_addresses_are_fine(address):
    assert credential_in(address) is None
    assert hide_credentials(address) == re.sub(r"\?.*", "?***", address)


# A password in three parts, so that whatever stands between them, none may be left over.
PARTS = ("hunter", "trustno", "swordfish")
PASSWORDS = st.tuples(*[st.text(max_size=5)] * 4).map(
    lambda others: others[0] + "".join(map("".join, zip(PARTS, others[1:], strict=True)))
)
ADDRESSES = (
    "s3://AKIAX:{}@bucket/x.parquet", "simplecache::ftp://me:{}@host/x", "https://h/x?token={}",
    "https://h/x?a=1;AccountKey={}", "https://h/x.csv#code={}",
)  # fmt: skip


@given(PASSWORDS, st.sampled_from(ADDRESSES))
@example("hunter@@trustno'swordfish", ADDRESSES[0])
def test_whatever_the_password_it_is_found_and_shown_nowhere(password, address):
    assume(not re.match(r"\d+/", password))  # `k:90/x@b` is a port and a path, to all that open it
    named = address.format(password)
    dataset = DatasetSettings(corpus=[named], queries="q", judgments="j")
    with pytest.raises(SettingsError, match=r"corpus\.0: this address holds a ") as caught:
        check_locations(dataset, "dataset")
    output = OutputSettings(path="runs/a")
    shown = [str(caught.value), describe_run({"dataset": dataset, "output": output}),
             name_data(dataset)]  # fmt: skip
    with pytest.raises(SettingsError) as caught:
        check_as(RunSettings, {"dataset": {"corpus": [named, 5]}}, "run.toml")
    shown.append(str(caught.value))
    assert not any(part in text for part in PARTS for text in shown)


@given(PASSWORDS, st.sampled_from(ADDRESSES[:2]))
def test_a_line_of_text_loses_a_password_whatever_it_is(password, address):
    assume(not re.match(r"\d*[/\s]", password))
    assume("\n" not in password)
    hidden = hide_credentials(f"cannot read {address.format(password)}: it is away\nand so on")
    assert not any(part in hidden for part in PARTS)
    assert hidden.startswith("cannot read ")
    assert hidden.endswith(": it is away\nand so on")


@pytest.mark.parametrize("value", ["s3://k:secret@b/x", "s3://k:a 'b\"@secret@b/x"])
def test_the_command_line_never_shows_a_password(tmp_path, value):
    path = tmp_path / "run.toml"
    corpus = json.dumps([value, 5])
    path.write_text(f'[dataset]\ncorpus = {corpus}\n[output]\npath = "o"\n')
    with pytest.raises(SettingsError) as caught:
        load_as(RunSettings, path)
    assert "dataset" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_arms_are_texts_whose_places_are_found_when_they_are_applied():
    arm = ArmSettings(name="x", set=("teachers.0.model=/etc",))
    assert list(locations_in(ComparisonSettings(arms=(arm,)))) == []  # as allowed_roots does
