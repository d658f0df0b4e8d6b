"""Kill -9 in the middle of a stage, run again: finished work is kept, the result is the same.

The flow's own body runs, without Prefect, in processes forked from one that has the libraries
loaded. A process kills itself just before the n-th file of a stage gets its name, so
that the half-written file is left behind as well.
"""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import polars as pl
import pytest

from polymine.data_contracts.settings import (
    DatasetSettings,
    EngineSettings,
    MiningSettings,
    OutputSettings,
    SelectionSettings,
)
from polymine.mining.ingestion import ingest
from polymine.tasks.store import rates
from polymine.tasks.store.manifests import MANIFEST
from robustness.faults.kills import make_reference, run_kills
from robustness.faults.work import PRELOADED, Forks, Job, make_world
from tests.mining.small_mining import Tables, mine
from tests.small import BM25, small_teacher, small_validator

PERCENT = MiningSettings(
    teachers=(small_teacher(), BM25), negatives=3, depth=6, validation=small_validator(),
    selection=SelectionSettings(rule="percent"),
)  # fmt: skip
# A budget that half of what is ranked exceeds, and a validator that is asked about the rest.
RISK = PERCENT.model_copy(
    update={
        "selection": SelectionSettings(
            rule="risk", max_false_negative_rate=0.05, max_false_positive_rate=0.5
        )
    }
)
SMALL = {"threads": 2, "memory": 8 / 1024}  # 8 queries or texts and 4 pairs a shard
TABLES = ("triplets", "negatives", "shortfalls")

# Part of the path, and which of the files with it that a start would write is never finished.
KILLS = {
    "index": ("/index/", 1),
    "first look": ("/first-look/", 1),
    "embed": ("/embeddings/", 4),
    "rank": ("/rankings/", 3),
    "evidence": ("/evidence/", 4),
    "choose-teacher": ("/choices/", 1),
    "fit-risk": ("/risk_models/", 1),
    "deepen": ("/evidence/", 2),
    "predict risk": ("/risks/", 3),
    "validate": ("/pair_scores/", 6),
    "export": ("/exports/", 2),
    "publish": ("/out", 1),
}


def run_stages(
    dataset: dict,
    root: str,
    engine: dict,
    kill: tuple[str, int] | None,
    mining: MiningSettings,
    store: str | None = None,
) -> None:
    """Run the mining flow's body into `root` (in a process of its own)."""
    from polymine.flows import mining as flow

    if kill:
        die_at(*kill)
    settings = EngineSettings(store=store or f"{root}/store", **engine)
    output = OutputSettings(path=f"{root}/out", views=("triplet", "n-tuple"))
    made = flow.mine.fn(DatasetSettings(**dataset), output, mining, settings)
    Path(root, "reused.json").write_text(json.dumps(made["reused"]))


def die_at(part: str, number: int) -> None:
    """Kill this process when the `number`-th path with `part` in it is about to get its name."""
    replace, met = os.replace, []

    def replace_or_die(source, target):
        if part in str(target) and not Path(target).name.startswith("."):  # notes of checksums
            met.append(target)
            if len(met) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die


@pytest.fixture(scope="module")
def fork():
    """Starts a function in a process that has the libraries loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])

    def start(function, *arguments) -> multiprocessing.Process:
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return start


@pytest.fixture(scope="module")
def run(fork, animals):
    """Runs the stages to their end and returns the exit code."""

    def once(
        root: Path,
        engine: dict = SMALL,
        kill: tuple[str, int] | None = None,
        mining: MiningSettings = PERCENT,
    ) -> int | None:
        process = fork(run_stages, animals, str(root), engine, kill, mining)
        process.join(120)
        return process.exitcode

    return once


def tables(root: Path, *names: str) -> dict[str, bytes]:
    found = {}
    for name in names or TABLES:
        for path in sorted((root / "out" / name).glob("*.parquet")):
            found[f"{name}/{path.name}"] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    assert run(root) == 0
    return root


@pytest.fixture(scope="module")
def by_risk(run, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("risk")
    assert run(root, mining=RISK) == 0
    return root


def mine_in_memory(animals: dict[str, str], mining: MiningSettings) -> Tables:
    corpus, queries, judgments = (pl.read_parquet(path) for path in animals.values())
    return mine(ingest(corpus, queries, judgments), mining)


def assert_same(root: Path, mined: Tables) -> None:
    for name in TABLES:
        table = pl.read_parquet(root / "out" / name / "*.parquet")
        expected = getattr(mined, name)
        assert table.equals(expected.cast(dict(table.schema))), name
    evidence = pl.concat(map(pl.read_parquet, (root / "out" / "evidence").iterdir()))
    expected = mined.evidence.select(evidence.columns)
    assert evidence.sort("query_id", "doc_id").equals(expected.cast(dict(evidence.schema)))


def test_a_flow_gives_what_a_notebook_gives(undisturbed, animals):
    mined = mine_in_memory(animals, PERCENT)
    assert_same(undisturbed, mined)
    assert len(mined.shortfalls) < 36
    assert "promoted" in set(mined.negatives["verdict"])


def test_a_flow_gives_what_a_notebook_gives_by_risk(by_risk, animals):
    mined = mine_in_memory(animals, RISK)
    assert_same(by_risk, mined)
    assert len(mined.triplets) > 50
    assert mined.negatives["validator_score"].is_not_null().sum() > 20
    weights = mined.triplets["weight"]
    assert weights.n_unique() > 10
    assert weights.is_between(0.05, 1).all()


def shards(root: Path) -> dict[Path, tuple[int, int]]:
    """Finished files of the store, but the export, which is one piece of work.

    A file that is written again is another one; the date of a manifest says when it was used.
    How fast work went is noted anew by each run.
    """
    return {
        path: (path.name == MANIFEST or path.stat().st_mtime_ns, path.stat().st_ino)
        for path in (root / "store").rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.name != rates.FILE
        and "exports" not in path.relative_to(root).parts
    }


def test_a_run_killed_in_each_stage_goes_on_where_it_was(run, undisturbed, tmp_path):
    """One run, killed in one stage after the other: each start keeps what the last one finished."""
    before: dict[Path, tuple[int, int]] = {}
    for stage, kill in KILLS.items():
        assert run(tmp_path, kill=kill) == -signal.SIGKILL, stage
        assert not (tmp_path / "out").exists()
        after = shards(tmp_path)
        assert_kept(before, after)
        assert len(after) > len(before) or stage in ("export", "publish"), stage
        before = after

    assert run(tmp_path) == 0
    assert_kept(before, shards(tmp_path))
    assert tables(tmp_path) == tables(undisturbed)
    assert tables(tmp_path, "evidence", "n-tuple") == tables(undisturbed, "evidence", "n-tuple")
    assert json.loads((tmp_path / "reused.json").read_text()) == [
        "ingest", "index bm25", "embed small documents", "embed small queries", "rank small",
        "rank bm25", "positives", "evidence", "choose teacher", "fit risk", "deepen",
        "predict risk", "select", "validate", "export",
    ]  # fmt: skip


def assert_kept(before: dict[Path, tuple[int, int]], after: dict[Path, tuple[int, int]]) -> None:
    for path, state in before.items():
        if path.parent.parent.name != "index":  # an index is not cut into shards
            assert after[path] == state, f"{path} was made again"


@pytest.mark.proof
def test_the_pipeline_killed_at_random_moments_ends_the_same(tmp_path):
    """A short form of `python -m robustness.faults`: mining, training and evaluation."""
    (tmp_path / "world").mkdir()
    world, forks = make_world(tmp_path / "world"), Forks()
    reference = make_reference(forks, Job(str(tmp_path / "reference"), world))
    cases = run_kills(forks, world, [reference], 3, seed=2, scratch=tmp_path)
    assert sum(len(case.died) for case in cases) >= 3
    assert [text for case in cases for text in case.wrong] == []


CUTS = pytest.mark.parametrize(
    "engine",
    [
        {"threads": 1, "memory": 8.0},
        {"threads": 3, "memory": 5 / 1024},
    ],
    ids=["one thread, whole", "three threads, small pieces"],
)


@pytest.mark.proof
@CUTS
def test_same_bytes_however_the_work_is_cut(engine, run, undisturbed, tmp_path):
    assert run(tmp_path, engine) == 0
    assert tables(tmp_path) == tables(undisturbed)


@CUTS
def test_same_bytes_by_risk_however_the_work_is_cut(engine, run, by_risk, tmp_path):
    assert run(tmp_path, engine, mining=RISK) == 0
    assert tables(tmp_path) == tables(by_risk)


@pytest.mark.proof
def test_a_run_by_risk_killed_in_each_stage_goes_on_where_it_was(run, by_risk, tmp_path):
    before: dict[Path, tuple[int, int]] = {}
    kills = (
        ("/risks/", 2), ("/promotions/", 1), ("/validator_evidence/", 1), ("/decisions/", 2)
    )  # fmt: skip
    for kill in kills:
        assert run(tmp_path, kill=kill, mining=RISK) == -signal.SIGKILL, kill
        after = shards(tmp_path)
        assert [path for path in before if after[path] != before[path]] == []
        before = after
    assert run(tmp_path, mining=RISK) == 0
    after = shards(tmp_path)
    assert [path for path in before if after[path] != before[path]] == []
    assert tables(tmp_path) == tables(by_risk)


def test_killed_run_may_go_on_with_another_cut(run, undisturbed, tmp_path):
    assert run(tmp_path, kill=("/embeddings/", 4)) == -signal.SIGKILL
    other = SMALL | {"threads": 1, "memory": 12 / 1024}
    assert run(tmp_path, other) == 0
    assert tables(tmp_path) == tables(undisturbed)


@pytest.mark.proof
def test_two_runs_on_one_store_at_once(fork, undisturbed, animals, tmp_path):
    roots = [tmp_path / "one", tmp_path / "two"]
    (tmp_path / "store").mkdir()
    for root in roots:
        root.mkdir()
        (root / "store").symlink_to(tmp_path / "store")
    runs = [fork(run_stages, animals, str(root), SMALL, None, PERCENT) for root in roots]
    for process in runs:
        process.join(120)
    assert [process.exitcode for process in runs] == [0, 0]
    for root in roots:
        assert tables(root) == tables(undisturbed)
