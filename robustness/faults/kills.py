"""Kill -9 at random moments of every stage, resumed to the same bytes."""

import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robustness.faults.work import Forks, Job, Kill, differences, results, stored

IN_A_ROW = (1, 1, 2, 3)  # kills before a run is left to finish, drawn from these
AT_ONCE = 2  # runs side by side


@dataclass
class Reference:
    """An undisturbed run under one rule."""

    rule: str
    stages: list[dict[str, Any]]
    results: dict[str, str]
    stored: dict[str, str]


@dataclass
class Case:
    """A run that is killed, perhaps several times, and then left to finish."""

    rule: str
    kills: list[Kill]
    died: list[str] = field(default_factory=list)
    missed: int = 0
    wrong: list[str] = field(default_factory=list)


def make_reference(forks: Forks, job: Job) -> Reference:
    """Run undisturbed and digest what came out."""
    if code := forks.wait(job):
        raise SystemExit(f"the undisturbed run ended with {code}: {tell(Path(job.root))}")
    root = Path(job.root)
    stages = json.loads((root / "stages.json").read_text())
    return Reference(job.rule, stages, results(root / "out"), stored(root / "store"))


def tell(root: Path) -> str:
    """Return what a run said when it failed."""
    for name in ("error", "errors"):
        path = root / name
        if path.exists() and (text := path.read_text(errors="replace").strip()):
            return text[-2000:]
    return "it said nothing"


def plan(references: Sequence[Reference], kills: int, rng: random.Random) -> list[Case]:
    """Spread kills over all stages of all rules, each stage once before any twice."""
    entries: list[tuple[Reference, int]] = []
    while len(entries) < kills:
        every = [(each, stage) for each in references for stage in range(len(each.stages))]
        rng.shuffle(every)
        entries += every
    by_rule: dict[str, list[Kill]] = {each.rule: [] for each in references}
    for reference, stage in entries[:kills]:
        by_rule[reference.rule].append(_draw(reference.stages[stage], stage, rng))
    cases = []
    for rule, drawn in by_rule.items():
        while drawn:
            size = min(rng.choice(IN_A_ROW), len(drawn))
            row, drawn = drawn[:size], drawn[size:]
            cases.append(Case(rule, sorted(row, key=lambda kill: kill.stage)))
    return cases


def _draw(entry: dict[str, Any], stage: int, rng: random.Random) -> Kill:
    """Draw a moment: before one of the stage's file operations, or after part of its time."""
    if entry["operations"] and rng.random() < 0.5:
        return Kill(stage, operation=rng.randrange(entry["operations"]))
    return Kill(stage, seconds=rng.uniform(0, 0.95 * entry["seconds"]))


def run_kills(
    forks: Forks,
    world: dict[str, str],
    references: Sequence[Reference],
    kills: int,
    seed: int,
    scratch: Path,
) -> list[Case]:
    """Run cases until as many kills as asked for have hit a run at work."""
    rng, cases = random.Random(seed), list[Case]()
    known = {each.rule: each for each in references}
    while (left := kills - sum(len(case.died) for case in cases)) > 0:
        planned = plan(references, left, rng)

        def work(item: tuple[int, Case]) -> Case:
            number, case = item
            root = scratch / f"case-{number}"
            _run_case(forks, world, case, known[case.rule], root)
            shutil.rmtree(root, ignore_errors=True)
            return case

        with ThreadPoolExecutor(AT_ONCE) as pool:
            cases += pool.map(work, enumerate(planned, start=len(cases)))
    return cases


def _run_case(
    forks: Forks, world: dict[str, str], case: Case, expected: Reference, root: Path
) -> None:
    """Kill, kill again, and resume; a kill whose moment never came does not count."""
    job = Job(str(root), world, case.rule)
    code = None
    for kill in case.kills:
        code = forks.wait(replace(job, kill=kill))
        if code == 0:
            case.missed += 1
            break
        if code != -signal.SIGKILL:
            case.wrong.append(f"ended with {code}: {tell(root)}")
            return
        case.died.append(_stage(root))
    if code != 0 and (code := forks.wait(job)):
        case.wrong.append(f"the resumed run ended with {code}: {tell(root)}")
        return
    case.wrong += differences(results(root / "out"), expected.results)
    # More than the undisturbed run is no fault: a kill may cut one dataset's work in two.
    held = stored(root / "store")
    case.wrong += [f"store: {name}" for name in expected.stored if name not in held]


def _stage(root: Path) -> str:
    """Name the stage that a run died in; it may die as it writes down the next one's name."""
    path = root / "stage"
    return (path.read_text() if path.exists() else "") or "between stages"


def count_stages(cases: Sequence[Case]) -> dict[str, int]:
    """Count the kills by stage."""
    counts = Counter(stage for case in cases for stage in case.died)
    return dict(sorted(counts.items()))
