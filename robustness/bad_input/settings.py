"""Malformed settings for `robustness.bad_input`: files and overrides, none of which may pass."""

import json
import random
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from polymine.data_contracts.settings.run import SETTINGS

DATASET = {"corpus": "c.parquet", "queries": "q.parquet", "judgments": "j.parquet"}
STEP = {"name": "one", "data": [{"triplets": "runs/one"}]}
SETS = [{"name": "set", "path": "data/set"}]
WHOLE: dict[str, dict[str, Any]] = {
    "mine": {"dataset": DATASET, "output": {"path": "out"}},
    "train": {"training": {"steps": [STEP]}, "output": {"path": "out"}},
    "evaluate": {
        "evaluation": {"sets": SETS, "models": [{"name": "new", "model": "runs/new"}]},
        "output": {"path": "out"},
    },
    "language_gap": {
        "gap": {"sets": SETS, "models": [{"name": "new", "model": "runs/new"}]},
        "output": {"path": "out"},
    },
    "pipeline": {"dataset": DATASET, "output": {"path": "out"}, "training": {"steps": [STEP]}},
    "compare": {
        "dataset": DATASET, "output": {"path": "out"}, "comparison": {"arms": [{"name": "a"}]},
    },
}  # fmt: skip
# What contradicts itself, with a word that the error has to say.
CONTRADICTIONS: list[tuple[str, list[str], str]] = [
    ("mine", ["dataset.pairs=x.csv"], "pairs"),
    ("mine", ["dataset.queries="], "queries"),
    ("mine", ["mining.selection.sampling=softmax"], "sampling"),
    ("mine", ["mining.selection.teacher=nobody"], "nobody"),
    ("mine", ['mining.teachers=[{name="a"}]'], "model"),
    ("mine", ['mining.teachers=[{name="a",kind="lexical",model="x"}]'], "lexical"),
    ("mine", ['mining.teachers=[{name="a",model="x"},{name="a",model="y"}]'], "different"),
    ("mine", ["mining.teachers=[]"], "teachers"),
    ("mine", ['dataset.labels=""'], "labels"),
    ("mine", ['output.path="  "'], "path"),
    ("mine", ["dataset.corpus=s3://key:secret@bucket/c.parquet"], "password"),
    ("mine", ["dataset.corpus=https://host/c.csv?X-Amz-Signature=abc"], "secret"),
    ("train", ["training.recipe.name=mono"], "not both"),
    ("train", ['training.steps.0.loss.kind="gist"'], "guide"),
    ("train", ["training.steps.0.loss.guide=x"], "gist"),
    ("train", ["training.steps.0.on=other"], "on"),
    ("train", ['training.steps.0.loss={kind="align"}'], "target"),
    ("train", ['training.steps.0.loss={kind="mse"}'], "guide"),
    ("train", ['training.steps.0.data.0.parallel="x.csv"'], "triplets"),
    ("train", ["training.steps.0.data=[]"], "data"),
    ("train", ['training.steps.0.data.0.languages=["russian"]'], "ru-en"),
    ("train", ["training.steps.0.name=base"], "base"),
    ("train", ['evaluation.sets=[{name="held-out",path="x"}]'], "held-out"),
    ("evaluate", ['evaluation.sets.0.benchmark="xquad"'], "benchmark"),
    ("evaluate", ['evaluation.models.0.name="base"'], "base"),
    ("evaluate", ['evaluation.sets=[{name="a",path="x"},{name="a",path="y"}]'], "different"),
    ("evaluate", ['evaluation.sets=[{name="a",benchmark="xquad",split="test"}]'], "split"),
    ("language_gap", ["gap.models=[]"], "models"),
    ("language_gap", ['gap.sets=[{name="a",path="x"},{name="a",path="y"}]'], "name of its own"),
    ("language_gap", ['gap.sets=[{name="a",benchmark="belebele-choice"}]'], "multiple choice"),
    ("pipeline", ['evaluation.models=[{name="trained",model="x"}]'], "trained"),
    ("compare", ['comparison.arms=[{name="base"}]'], "base"),
    ("compare", ["comparison.seeds=[1,1]"], "seed"),
    ("compare", ["comparison.arms=[]"], "arms"),
]
OVERRIDES = [
    "no-equals-sign", "=5", "mining.depth.deeper=1", "mining.teachers.x.name=a",
    "mining.teachers.7.name=a", "mining..depth=5", ".=1", "mining=5", "output=[1]", "mining.=3",
    "dataset.corpus.0=x", "mining.depth={", "a.b.c.d=1", " =1", "mining.teachers.-1.name=a",
]  # fmt: skip
TEXTS: list[bytes] = [
    b"", b"\xff\xfe[\x00d\x00", b"\xef\xbb\xbf[dataset]\ncorpus='c'\n", b"[dataset", b"[[dataset]]",
    b"dataset = 5\n", b"[dataset]\n[dataset]\n", b"a = 1\na = 2\n", b"a = 99999999999999999999999",
    b"{\"dataset\": {}}", b"dataset:\n  corpus: x\n", b"[dataset]\ncorpus = 'a\n", b"\x00\x01\x02",
    b"[dataset]\ncorpus = \"\\ud800\"\n", b"[dataset]\ncorpus = 1979-05-27\n", b"caf\xe9 = 1\n",
    b"[mining]\ndepth = nan\n[output]\npath = 'o'\n", b"x = " + b"[" * 5000, b"PAR1" * 90,
]  # fmt: skip


BEYOND = (
    ("ge", -1), ("ge", -(10**9)), ("gt", 0), ("gt", -1), ("le", 1), ("le", 10**15), ("lt", 0),
    ("lt", 1),
)  # fmt: skip


@dataclass
class Wrong:
    """Settings that must be refused, and a word that the error has to say."""

    flow: str
    what: str
    text: bytes
    overrides: list[str]
    says: str


def make(rng: random.Random) -> Wrong:
    """Draw one."""
    kind = rng.choices(["leaf", "unknown", "contradiction", "override", "text"],
                          [6, 2, 2, 1, 1])[0]  # fmt: skip
    if kind == "contradiction":
        flow, overrides, says = rng.choice(CONTRADICTIONS)
        return Wrong(flow, f"{overrides[0]:.60}", as_toml(WHOLE[flow]), overrides, says)
    if kind == "override":
        override = rng.choice(OVERRIDES)
        return Wrong("mine", f"--set {override}", as_toml(WHOLE["mine"]), [override], "")
    if kind == "text":
        text = rng.choice(TEXTS)
        return Wrong("mine", f"file {text[:20]!r}", text, [], "")
    flow = rng.choice(list(SETTINGS))
    where, name, annotation, metadata = rng.choice(list(_leaves(SETTINGS[flow], ())))
    if kind == "unknown":
        bad = rng.choice([name + "s", name[:-1] or "x", name.upper(), "zzz"])
        if bad in where or bad == name or _is_field(SETTINGS[flow], (*where, bad)):
            bad = "no_such_key"
        override, says = ".".join((*where, bad)), bad.strip()
        value: Any = 1
    else:
        value = rng.choice(_bad_values(annotation, metadata))
        override, says = ".".join((*where, name)), name
    return Wrong(flow, f"{override}={value!r:.40}", as_toml(WHOLE[flow]),
                 [f"{override}={_literal(value)}"], says)  # fmt: skip


def _leaves(model: type[BaseModel], where: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Every setting that is no group: its place, name, type and bounds."""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            yield where, name, field.annotation, field.metadata
        elif not _is_list(field.annotation):
            yield from _leaves(inner, (*where, name))


def _bad_values(annotation: Any, metadata: Any) -> list[Any]:
    """Values that a field may not take: of another type, and beyond its bounds."""
    kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    plain = tuple(getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
                  for kind in kinds)  # fmt: skip
    bad: list[Any] = [{"a": 1}, [[1]], [{"a": 1}]]
    if str not in plain and not any(typing.get_origin(kind) is dict for kind in plain):
        bad += ["nonsense", "1979-05-27"]
    if {int, float} & set(plain):
        bad += [float("nan"), float("inf"), "many", "", [1]]
    if int in plain:
        bad += [1.5, "1.5"]
    if str in plain and not _is_list(annotation):
        bad += [5, 1.5, True]
    if any(typing.get_origin(kind) is Literal for kind in plain):
        bad += [5, "", "None"]
    for bound in metadata:
        for name, step in BEYOND:
            if (limit := getattr(bound, name, None)) is not None:
                bad.append(limit + step)
    return bad


def as_toml(values: dict[str, Any]) -> bytes:
    """Write nested values as TOML, groups as inline tables."""
    return "\n".join(f"{key} = {_literal(value)}" for key, value in values.items()).encode()


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)


def _is_list(annotation: Any) -> bool:
    origins = [typing.get_origin(kind) for kind in (annotation, *typing.get_args(annotation))]
    return any(origin in (list, tuple, dict) for origin in origins)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_field(model: type[BaseModel], place: tuple[str, ...]) -> bool:
    for name in place[:-1]:
        inner = _model_in(model.model_fields[name].annotation)
        if inner is None:
            return False
        model = inner
    return place[-1] in model.model_fields


def load(wrong: Wrong, folder: Path, read: Callable[..., Any]) -> Any:
    """Read the settings as the command line does."""
    path = folder / "run.toml"
    path.write_bytes(wrong.text)
    return read(SETTINGS[wrong.flow], path, wrong.overrides)
