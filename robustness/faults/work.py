"""The pipeline as `robustness.faults` breaks it: its own stages, in a process that may be killed.

The flows' bodies run without Prefect, in processes forked from one that has the libraries loaded,
so a run of every stage takes seconds. What a run has made is compared file by file: see `results`.
"""

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import xxhash

PRELOADED = (
    "polymine.flows.pipeline", "sentence_transformers", "faiss", "peft", "bm25s",
    "robustness.faults.work",
    "polymine.training.callbacks", "polymine.training.losses", "pytrec_eval", "sklearn.cluster",
    "transformers.models.bert.modeling_bert",
    "matplotlib.figure", "matplotlib.backends.backend_svg",
)  # fmt: skip
RULES = ("risk", "percent")  # each has a stage that the other has not: `look` and `validate`
# Files that say when and where a run was made, and how long it took.
TOLD = ("manifest.json", "report.html", "README.md")


@dataclass(frozen=True)
class Kill:
    """Where a run ends: in the n-th entry of stages, before a file operation or after a while."""

    stage: int
    operation: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """One run in a folder of its own.

    Args:
        root: holds `store`, `out` and what the run tells of itself.
        world: files of the data set, and `base`, the encoder that is trained.
        rule: of selection.
        kill: when it ends by its own hand.
        store, out: elsewhere than in the root.
        before: a function of `robustness.faults.inside` that prepares the process, with arguments.
    """

    root: str
    world: Mapping[str, str]
    rule: str = "risk"
    kill: Kill | None = None
    store: str | None = None
    out: str | None = None
    before: tuple[str, tuple[Any, ...]] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


def run(job: Job) -> None:
    """Run the pipeline; the body of a child process."""
    root = Path(job.root)
    root.mkdir(parents=True, exist_ok=True)
    _tell_into(root / "log")
    if job.before:
        from robustness.faults import inside

        getattr(inside, job.before[0])(*job.before[1])
    watch = _Watch(root, job.kill)
    flow = _open_flow(watch)
    try:
        flow(**settings(job))
    except BaseException as error:
        from polymine.data_contracts.errors import PolymineError

        kind = "told" if isinstance(error, PolymineError) else "raw"
        (root / "error").write_text(f"{kind}: {type(error).__name__}: {error}")
        raise
    (root / "stages.json").write_text(json.dumps(watch.entries))


def settings(job: Job) -> dict[str, Any]:
    """The sections of a pipeline that has every stage, in small pieces."""
    from polymine.data_contracts.settings import (
        DatasetSettings,
        EngineSettings,
        EvaluationSettings,
        MiningSettings,
        OutputSettings,
        SelectionSettings,
        StepSettings,
        TrainingSettings,
        ValidationSettings,
    )
    from tests.small import BM25, MINILM

    choice = {"percent": 0.95} if job.rule == "percent" else {"max_false_negative_rate": 0.3}
    schedule = {"steps": 6, "batch": 4, "mini_batch": 2, "learning_rate": 5e-3}
    schedule |= job.training
    step = {
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}, "loss": {"negatives": 2},
        "schedule": schedule,
    }  # fmt: skip
    steps = ({"name": "first", **step}, {"name": "second", "adapter": "stack", **step})
    return {
        "dataset": DatasetSettings(**{name: job.world[name] for name in
                                      ("corpus", "queries", "judgments")}),
        "output": OutputSettings(
            path=job.out or f"{job.root}/out", views=("triplet", "n-tuple"), formats=("nemo",)
        ),
        "mining": MiningSettings(
            teachers=(MINILM, BM25), negatives=2, depth=6,
            selection=SelectionSettings(rule=job.rule, **choice),
            validation=ValidationSettings(
                model=job.world["validator"], dtype="float32", pairs_per_query=2,
                margin=-0.5, grey_zone=0.5,  # its logits are noise: about half of them pass
            ),
        ),
        "training": TrainingSettings(
            base={"model": job.world["base"], "dtype": "float32"}, checkpoint_steps=2,
            steps=tuple(StepSettings.model_validate(each) for each in steps),
        ),
        "evaluation": EvaluationSettings(held_out=0.25, resamples=100),
        "engine": EngineSettings(
            store=job.store or f"{job.root}/store", threads=1,
            memory=8 / 1024,  # 8 queries or texts and 4 pairs a shard
        ),
    }  # fmt: skip


def _open_flow(watch: "_Watch") -> Callable[..., Any]:
    """Watch every stage of the flows; called outside a flow run they need no Prefect."""
    from polymine.flows import evaluation, mining, pipeline, training
    from polymine.tasks.mining import teachers

    for module in (evaluation, mining, teachers, training, pipeline):
        for name, value in list(vars(module).items()):
            if callable(getattr(value, "fn", None)) and type(value).__name__ != "Flow":
                setattr(module, name, watch.stage(name, value))
    flow: Callable[..., Any] = pipeline.pipeline.fn
    return flow


class _Watch:
    """Tells which stage runs, counts file operations in it, and kills where it is told to."""

    def __init__(self, root: Path, kill: Kill | None) -> None:
        self.entries: list[dict[str, Any]] = []
        self._root, self._kill, self._own = str(root), kill, str(root / "stage")
        self._inside, self._operations = False, 0
        self._met = -1
        sys.addaudithook(self._hear)

    def stage(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a stage's function."""

        @wraps(plain)
        def watched(*arguments: Any, **named: Any) -> Any:
            self._enter(name)
            began = time.monotonic()
            try:
                return plain(*arguments, **named)
            finally:
                self._inside = False
                self.entries[-1] |= {
                    "seconds": time.monotonic() - began, "operations": self._operations,
                }  # fmt: skip

        return watched

    def _enter(self, name: str) -> None:
        self.entries.append({"stage": name})
        self._operations, self._met = 0, len(self.entries) - 1
        with open(self._own, "w") as file:
            file.write(name)
        self._inside = True
        kill = self._kill
        if kill and kill.seconds is not None and kill.stage == self._met:
            threading.Timer(kill.seconds, die).start()

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count what changes files; Python announces it before it happens."""
        if not self._inside:
            return
        changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile")
        if event == "open" and isinstance(arguments[2], int):
            changes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if not changes:
            return
        kill = self._kill
        if kill and kill.stage == self._met and kill.operation == self._operations:
            die()
        self._operations += 1


def die() -> None:
    """End this process as kill -9 does: nothing is finished, closed or written."""
    os.kill(os.getpid(), signal.SIGKILL)


def _tell_into(path: Path) -> None:
    """Write Polymine's warnings into a file."""
    handler = logging.FileHandler(path)
    handler.setLevel(logging.WARNING)
    logging.getLogger("polymine").addHandler(handler)
    os.dup2(os.open(path.with_name("errors"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)


class Forks:
    """Starts runs in processes that have the libraries loaded already."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))

    def start(self, job: Job) -> Any:
        """Start a run."""
        process = self._context.Process(target=run, args=(job,))
        process.start()
        return process

    def wait(self, job: Job, limit: float = 300.0) -> int:
        """Run to the end; return the exit code, as -9 for a kill."""
        return finish(self.start(job), limit)


def finish(process: Any, limit: float = 300.0) -> int:
    """Wait for a run that was started."""
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise SystemExit(f"a run did not end within {limit:.0f} s")
    return int(process.exitcode)


# --- what is compared ------------------------------------------------------------------------


def results(out: Path) -> dict[str, str]:
    """Digest all that a run's output must have in common with another's, by name.

    Tables of triplets, views, negatives, shortfalls, evidence, risks and positives, files for
    other trainers, the risk model, adapters with their configs and routes, measures, comparisons
    and scores: every byte. Training curves: all but the column `seconds`. Not compared are
    `TOLD`: pages, cards and manifests name the folder, the time taken and what was reused.
    """
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = path.relative_to(out).as_posix()
        if path.name in TOLD or any(part.startswith(".") for part in path.relative_to(out).parts):
            continue
        found[name] = _digest(path)
    return found


def stored(store: Path) -> dict[str, str]:
    """Digest the finished datasets of a store: contract and content to a digest.

    By content, not by fingerprint: a held-out set is named by its path, which differs from run to
    run, and with it the fingerprints of what is measured on it.
    """
    found: dict[str, str] = {}
    for manifest in sorted(store.rglob("manifest.json")):
        held = json.loads(manifest.read_bytes())
        content = [
            [shard["name"], _digest(manifest.parent / shard["name"])] for shard in held["shards"]
        ]
        key = xxhash.xxh3_128_hexdigest(json.dumps(content).encode())
        found[f"{held['contract']}/{key}"] = key
    return found


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.name in ("curve.parquet", "curves.parquet"):
        import polars as pl

        content = pl.read_parquet(path).drop("seconds").serialize()
    return xxhash.xxh3_128_hexdigest(content)


def differences(made: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Name what is missing, altered or too much."""
    return [name for name in sorted({*made, *expected}) if made.get(name) != expected.get(name)]


def make_world(folder: Path) -> dict[str, str]:
    """Write the data set and the encoder that all runs share."""
    from tests.small import save_small_encoder, save_small_validator, write_animals

    models = {"base": save_small_encoder(folder), "validator": save_small_validator(folder)}
    return {**write_animals(folder), **models}
