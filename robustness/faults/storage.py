"""Faults of the storage: damaged files, full disks, and two runs at once."""

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from robustness.faults.kills import Reference, tell
from robustness.faults.work import Forks, Job, Kill, differences, finish, results, stored

MANIFEST = "manifest.json"
FAMILIES = ("embeddings", "pair_scores")  # datasets that grow from run to run
MADE_OF_FAMILIES = ("measures", "comparisons", "looks", "verdicts")
UNFINISHED = ("embeddings", "rankings", "evidence", "pair_scores")  # stages that write shards
TRIES = 12  # operations to die at, one after the other, until there are shards
DISKS = (0.15, 0.4, 0.7, 0.95)  # of what a whole run needs


@dataclass
class Outcome:
    """What one kind of fault did.

    Args:
        fault: what it is.
        times: how often it was made.
        named: how often it was found and named, None where there is nothing to name.
        wrong: what was lost or differs; empty where all is well.
    """

    fault: str
    times: int = 0
    named: int | None = None
    wrong: list[str] = field(default_factory=list)
    note: str = ""


Damage = Callable[[Path, random.Random], None]


def truncate(path: Path, rng: random.Random) -> None:
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(max(len(content), 1))])


def flip(path: Path, rng: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def remove(path: Path, rng: random.Random) -> None:
    """Lose a file."""
    path.unlink()


def replace_by_other(path: Path, rng: random.Random) -> None:
    """Put another file of the same kind in its place."""
    store = next(each for each in path.parents if each.name == "store")
    own = path.read_bytes() if path.exists() else b""
    alike = [
        each
        for each in sorted(store.rglob(f"*{path.suffix}"))
        if each.is_file() and each.read_bytes() != own
    ]
    alike = [each for each in alike if (each.name == MANIFEST) == (path.name == MANIFEST)]
    path.write_bytes(rng.choice(alike).read_bytes() if alike else b"of another program")


DAMAGES: dict[str, Damage] = {
    "truncated": truncate, "one bit flipped": flip, "gone": remove,
    "replaced by another": replace_by_other,
}  # fmt: skip


def damage_finished(forks: Forks, job: Job, expected: Reference, seed: int) -> list[Outcome]:
    """Damage one dataset of every contract at once, run again, and look; for every damage."""
    outcomes = []
    for what in ("shard", "manifest"):
        for name, damage in DAMAGES.items():
            outcome = Outcome(f"store: {what} {name}", named=0)
            for families in (False, True):
                rng = random.Random(f"{seed} {what} {name} {families}")
                hurt = _hurt(Path(job.root) / "store", what, damage, rng, families)
                _resume(forks, job, expected, outcome)
                log = (Path(job.root) / "log").read_text()
                unnamed = [folder for folder in hurt if str(folder) not in log]
                outcome.times += len(hurt)
                outcome.named = (outcome.named or 0) + len(hurt) - len(unnamed)
                if not (what == "manifest" and name == "gone"):  # that is as a killed run leaves it
                    outcome.wrong += [f"not named: {'/'.join(f.parts[-3:])}" for f in unnamed]
            outcomes.append(outcome)
    return outcomes


def _hurt(store: Path, what: str, damage: Damage, rng: random.Random, families: bool) -> list[Path]:
    """Damage one dataset of each contract; return their folders.

    With `families`, every dataset of vectors and logits instead, and what was made of them is
    removed: these are read only when something is missing.
    """
    if families:
        for each in MADE_OF_FAMILIES:
            shutil.rmtree(store / each, ignore_errors=True)
    by_contract: dict[str, list[Path]] = {}
    for manifest in sorted(store.rglob(MANIFEST)):
        held = json.loads(manifest.read_bytes())
        if held["shards"] and (held["contract"] in FAMILIES) == families:
            key = str(manifest.parent) if families else held["contract"]
            by_contract.setdefault(key, []).append(manifest.parent)
    hurt = []
    for folders in by_contract.values():
        folder = rng.choice(folders)
        shards = json.loads((folder / MANIFEST).read_bytes())["shards"]
        name = rng.choice(shards)["name"] if what == "shard" else MANIFEST
        damage(folder / name, rng)
        hurt.append(folder)
    return hurt


def _resume(forks: Forks, job: Job, expected: Reference, outcome: Outcome) -> None:
    """Run again and compare output and store."""
    root = Path(job.root)
    (root / "log").unlink(missing_ok=True)
    # The copied output names places of the run it was copied from: this one may not replace it.
    shutil.rmtree(root / "out", ignore_errors=True)
    if code := forks.wait(job):
        outcome.wrong.append(f"the run again ended with {code}: {tell(root)}")
        return
    compare(root, job, expected, outcome)


def compare(root: Path, job: Job, expected: Reference, outcome: Outcome) -> None:
    """Note what differs from the undisturbed run."""
    out = Path(job.out or root / "out")
    outcome.wrong += differences(results(out), expected.results)
    held = stored(Path(job.store or root / "store"))
    outcome.wrong += [f"store: {name}" for name in expected.stored if name not in held]


def damage_unfinished(forks: Forks, job: Job, expected: Reference, seed: int) -> list[Outcome]:
    """Kill a run amid its shards, damage one that is done, resume."""
    outcome = Outcome("store: shard of an unfinished dataset damaged", named=0)
    for contract in UNFINISHED:
        for name in ("truncated", "one bit flipped"):
            own = replace(job, root=f"{job.root}/{contract}-{name.split()[0]}")
            rng, root = random.Random(f"{seed} {contract} {name}"), Path(own.root)
            stage, middle = _in_the_middle(expected, contract)
            for operation in range(middle, middle + TRIES):  # it may be between two datasets
                shutil.rmtree(root, ignore_errors=True)
                code = forks.wait(replace(own, kill=Kill(stage, operation=operation)))
                if shards := list(_unfinished(root / "store" / contract)):
                    break
            if code != -signal.SIGKILL or not shards:
                outcome.wrong.append(f"{contract}: the run ended with {code} before it had shards")
                continue
            shard = rng.choice(shards)
            DAMAGES[name](shard, rng)
            outcome.times += 1
            _resume(forks, own, expected, outcome)
            outcome.named = (outcome.named or 0) + (str(shard) in (root / "log").read_text())
            shutil.rmtree(root)
    if outcome.named != outcome.times:
        outcome.wrong.append("not all were named")
    return [outcome]


STAGE_OF = {"embeddings": "embed", "rankings": "rank", "evidence": "evidence"}


def _in_the_middle(expected: Reference, contract: str) -> tuple[int, int]:
    """Find a stage that writes this contract, and the middle one of its file operations."""
    names = {STAGE_OF.get(contract, "look"), STAGE_OF.get(contract, "validate")}
    found = [n for n, each in enumerate(expected.stages) if each["stage"] in names]
    return found[0], expected.stages[found[0]]["operations"] // 2


def _unfinished(folder: Path) -> Iterator[Path]:
    """Find shards that a run would take over: one without its checksum is rebuilt anyway."""
    for note in sorted(folder.rglob(".part-*.sum")):
        if not (note.parent / MANIFEST).exists():
            yield note.with_name(note.name.removeprefix(".").removesuffix(".sum"))


def damage_checkpoints(forks: Forks, job: Job, expected: Reference, seed: int) -> list[Outcome]:
    """Kill a run amid a step's training, damage its newest checkpoint, resume."""
    outcome = Outcome("store: checkpoint damaged", named=0)
    training = [n for n, each in enumerate(expected.stages) if each["stage"] == "train_adapter"]
    middle = expected.stages[training[0]]["operations"] // 2  # at the end checkpoints are removed
    for number, file in enumerate(("optimizer.pt", "adapter_model.safetensors", "checkpoint.json")):
        for name in ("truncated", "one bit flipped"):
            own = replace(job, root=f"{job.root}/checkpoint-{number}-{name.split()[0]}")
            root, rng = Path(own.root), random.Random(f"{seed} {file} {name}")
            code = forks.wait(replace(own, kill=Kill(training[0], operation=middle)))
            held = sorted((root / "store" / "checkpoints").glob("*/checkpoint-*/checkpoint.json"))
            if code != -signal.SIGKILL or not held:
                outcome.wrong.append(f"{file}: the run ended with {code} without a checkpoint")
                continue
            DAMAGES[name](held[-1].parent / file, rng)
            outcome.times += 1
            _resume(forks, own, expected, outcome)
            found = str(held[-1].parent) in (root / "log").read_text()
            outcome.named = (outcome.named or 0) + found
            shutil.rmtree(root)
    if outcome.named != outcome.times:
        outcome.wrong.append("not all were named")
    return [outcome]


def fill_disks(forks: Forks, job: Job, expected: Reference, needed: int) -> list[Outcome]:
    """Run on disks that are too small, then on one that is large enough."""
    outcome = Outcome("disk full", named=0)
    root = Path(job.root)
    with small_disk(root / "disk") as resize:
        if resize is None:
            outcome.wrong.append("not tried: mounting a small disk is not permitted here")
            return [outcome]
        own = replace(job, store=str(root / "disk" / "store"), out=str(root / "disk" / "out"))
        for share in DISKS:
            resize(int(share * needed))
            code = forks.wait(own)
            outcome.times += 1
            said = tell(root)
            if code == 0:
                outcome.note = f"{share:.0%} of {needed / 1e6:.1f} MB were enough"
            elif said.startswith("told: StoreError") and "disk is full" in said:
                outcome.named = (outcome.named or 0) + 1
            else:
                outcome.wrong.append(f"{share:.0%} of the room: {said[-400:]}")
            for name in ("error", "errors"):
                (root / name).unlink(missing_ok=True)
        if not outcome.named:
            outcome.wrong.append("not one of the disks was too small")
        resize(4 * needed)
        _resume(forks, own, expected, outcome)
    return [outcome]


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[int], None] | None]:
    """Give a function that sets the size of a disk in bytes, or None where none may be mounted."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return

    def resize(size: int) -> None:
        options = f"remount,size={size // 1024 + 1}k"
        subprocess.run(["mount", "-o", options, str(place)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", str(place)], check=True)


def run_together(forks: Forks, job: Job, expected: Reference) -> list[Outcome]:
    """Run twice at once on one store: into two folders, into one, and with one that is killed."""
    outcomes = []
    for fault, outs, kill in (
        ("two runs on one store at once", ("one", "two"), None),
        ("two runs into one folder at once", ("same", "same"), None),
        ("two runs at once, one killed", ("left", "right"), Kill(len(expected.stages) // 2, 3)),
    ):
        outcome = Outcome(fault, times=1)
        root = Path(job.root) / fault.replace(" ", "-")
        jobs = [
            replace(job, root=str(root / str(n)), store=str(root / "store"), out=str(root / out))
            for n, out in enumerate(outs)
        ]
        processes = [
            forks.start(replace(each, kill=kill if n == 0 else None)) for n, each in enumerate(jobs)
        ]
        codes = [finish(process) for process in processes]
        if kill is not None:
            codes[0] = forks.wait(jobs[0]) if codes[0] == -signal.SIGKILL else 1
        for each, code in zip(jobs, codes, strict=True):
            if code:
                outcome.wrong.append(f"ended with {code}: {tell(Path(each.root))[-400:]}")
            else:
                compare(Path(each.root), each, expected, outcome)
        outcomes.append(outcome)
        shutil.rmtree(root)
    return outcomes
