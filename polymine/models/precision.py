"""Says in which precision a model computes here; where that is open, a few batches tell, once.

What a processor can do does not say what it is fast at: with AVX512-BF16 and no AMX, bfloat16 takes
from half as long as float32 to nearly twice as long. So a batch is computed in both, in turns, when
`auto` first meets a model on a machine. The answer is kept, since results are named by their
precision: one that changed with the noise of a machine would make all of them anew.

It is kept in the user's cache and not in a store: it belongs to the machine, and a notebook's store
is gone after each call. An adapter computes as its base does, so that the two compare.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, partial
from math import inf
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from polymine.data_contracts.errors import ModelError
from polymine.data_contracts.references import fingerprint as hash_of
from polymine.models.devices import has_bfloat16
from polymine.models.failures import first_line, told
from polymine.models.finding import bases_of, fingerprint, resolve
from polymine.models.loading import load_cross_encoder, load_encoder
from polymine.models.own import own_dtype

if TYPE_CHECKING:
    from polymine.data_contracts.settings import ModelSettings

# Computes a batch; one of each precision is made before any is timed.
Batch = Callable[[], None]
Opener = Callable[[str], Callable[[str], Batch]]  # from a model's name, then from a precision

EDITION = 1  # raise it when other batches are measured: what was kept before is not read again
GAIN = 0.9  # share of float32's time that bfloat16 may take to be worth its rounding
TEXTS = ["word " * 62] * 8
ROUNDS, LONGEST = 5, 10.0  # turns at most; seconds after which two are enough
ROOM = 0.5  # share of the memory that may be taken to measure

logger = logging.getLogger("polymine.models.precision")
_measuring = threading.RLock()  # two at once would measure each other
_known: dict[Path, str] = {}
_unmeasured: ContextVar[dict[str, None] | None] = ContextVar("unmeasured", default=None)


def dtype_of(call: ModelSettings, device: str) -> str:
    """Say in which precision a model computes on a device.

    On a GPU `auto` is the folder's own where that is float16; else see `fastest`.

    Raises:
        ModelError: it has to be measured and does not load, or what was kept cannot be read.
    """
    auto = call.dtype == "auto" and call.model and device.startswith("cuda")
    if auto and own_dtype(str(call.model)) == "float16":
        return "float16"
    from polymine.data_contracts.settings import EncoderSettings

    work = "encode" if isinstance(call, EncoderSettings) else "score"
    return fastest(call, device, work, partial(_open, call.trust_remote_code, work))


def fastest(call: ModelSettings, device: str, work: str, opened: Opener) -> str:
    """Turn `auto` into the fastest of float32 and bfloat16; other precisions pass through.

    On a CPU both are measured, if it multiplies bfloat16 at all; a GPU that does is faster at it.

    Args:
        call: names model and precision.
        device: as torch names it.
        work: what is done with the model; each kind has an answer of its own.
        opened: makes what computes a batch, from the name of a model without adapters.

    Returns:
        What torch calls it. float32 where bfloat16 gains less than a tenth, or fails.

    Raises:
        ModelError: the model does not load or compute, or what was kept cannot be read.
    """
    if call.dtype != "auto":
        return call.dtype
    if not call.model or not has_bfloat16(device):
        return "float32"
    return "bfloat16" if device != "cpu" else _answer(_base_of(str(call.model)), work, opened)


@contextmanager
def unmeasured() -> Iterator[dict[str, None]]:
    """Measure nothing meanwhile: what has no answer yet counts as float32, and its name is noted.

    Returns:
        Names of these models, in the order in which they were met.
    """
    names: dict[str, None] = {}
    token = _unmeasured.set(names)
    try:
        yield names
    finally:
        _unmeasured.reset(token)


def _base_of(name: str) -> str:
    bases = bases_of(resolve(name).folder)
    return _base_of(bases[0]) if bases else name


def _answer(name: str, work: str, opened: Opener) -> str:
    about = {"cpu": _processor(), "work": work, "model": fingerprint(name), "edition": EDITION}
    with _measuring:
        file = _shelf() / f"{work}-{hash_of(**about)}.json"
        dtype = _known.get(file) or _read(file)
        if dtype is None and (asked := _unmeasured.get()) is not None:
            asked[name] = None
            return "float32"
        if dtype is None:
            seconds = _measure(name, opened)
            dtype = choose(seconds)
            dtype = _keep(file, {"dtype": dtype, "name": name, **about, "seconds": seconds})
        _known[file] = dtype
    return dtype


def choose(seconds: dict[str, float]) -> str:
    """Choose by what a batch takes in each precision: a tie is float32's, which rounds less."""
    return "bfloat16" if seconds["bfloat16"] < GAIN * seconds["float32"] else "float32"


def _measure(name: str, opened: Opener) -> dict[str, float]:
    """Time a batch in both precisions.

    Returns:
        Seconds of a batch; infinite for bfloat16 where it fails, and for float32 where the model
        needs more memory than is to be taken for this.
    """
    import torch

    if _bytes_in_float32(name) > ROOM * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        return {"float32": inf, "bfloat16": 0.0}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other where other work takes the cores
    try:
        with torch.random.fork_rng(devices=[]), told(f"Model {name!r} could not be measured"):
            batch = opened(name)
            batch("float32")()  # what is made once, as kernels, is not timed
            try:
                batch("bfloat16")()
            except Exception as error:
                logger.info("Model %r: does not compute in bfloat16: %s", name, first_line(error))
                return {"float32": 0.0, "bfloat16": inf}
            return _time(batch)
    finally:
        torch.set_num_threads(threads)


def _time(batch: Callable[[str], Batch]) -> dict[str, float]:
    """Time both in turns; what disturbs them only ever slows, so the least of each counts."""
    began, seconds = time.monotonic(), {"float32": inf, "bfloat16": inf}
    for turn in range(ROUNDS):
        for dtype in seconds:
            compute, start = batch(dtype), time.monotonic()
            compute()
            seconds[dtype] = min(seconds[dtype], time.monotonic() - start)
        if turn and time.monotonic() - began > LONGEST:
            break
    return seconds


def _open(trusted: bool, work: str, name: str) -> Callable[[str], Batch]:
    """Load an encoder or a cross-encoder; its weights are cast from one precision to the other."""
    import torch

    load: Callable[..., Any] = load_encoder if work == "encode" else load_cross_encoder
    model = load(name, device="cpu", dtype="float32", trust_remote_code=trusted)
    texts = TEXTS if work == "encode" else [(text[: len(text) // 2],) * 2 for text in TEXTS]
    features = model.preprocess(texts)

    def batch(dtype: str) -> Batch:
        model.to(getattr(torch, dtype))

        def compute() -> None:
            with torch.inference_mode():
                made = model(dict(features))
            if not made["sentence_embedding" if work == "encode" else "scores"].isfinite().all():
                raise ModelError(f"what it gives in {dtype} is not finite")

        return compute

    return batch


def _bytes_in_float32(name: str) -> int:
    folder = resolve(name).folder
    files = [*folder.rglob("*.safetensors")] or [*folder.rglob("*.bin")]
    half = own_dtype(name) in ("float16", "bfloat16")
    return sum(file.stat().st_size for file in files) * (2 if half else 1)


@cache
def _processor() -> list[str]:
    """Name the processor, and what it can do: under one name a virtual one may lack some of it."""
    import torch

    cpu = Path("/proc/cpuinfo")
    said = cpu.read_text(encoding="utf-8") if cpu.is_file() else ""
    named = next((line for line in said.splitlines() if line.startswith("model name")), "")
    can = [key for key, has in torch.cpu.get_capabilities().items() if has is True]
    return [named.partition(":")[2].strip() or platform.processor(), *sorted(can)]


def _shelf() -> Path:
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE) / "polymine" / "precision"


def _read(file: Path) -> str | None:
    """Read an answer that was kept; None where there is none."""
    if not file.is_file():
        return None
    try:
        dtype = json.loads(file.read_text(encoding="utf-8"))["dtype"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: says no precision, and it should ({first_line(error)}). Delete it, and it is "
            "measured anew"
        ) from error
    return str(dtype)


def _keep(file: Path, answer: dict[str, Any]) -> str:
    """Keep an answer unless another process was first, and give the one that is kept."""
    seconds = {dtype: took for dtype, took in answer["seconds"].items() if 0 < took < inf}
    took = ", ".join(f"{dtype} {each:.3f} s" for dtype, each in seconds.items())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=file.parent, prefix=".", encoding="utf-8") as beside:
            json.dump(answer | {"seconds": seconds}, beside, indent=1)
            beside.flush()
            with suppress(FileExistsError):
                os.link(beside.name, file)
    except OSError as error:
        logger.warning(
            "%s: which precision is fastest could not be kept (%s), and the next process measures "
            "again; name one as `dtype`, or HF_HOME as a folder that can be written",
            file, error.strerror,
        )  # fmt: skip
        return str(answer["dtype"])
    dtype = _read(file) or str(answer["dtype"])
    logger.info(
        "Model %r: to %s, `auto` takes %s on this machine from now on (a batch: %s)",
        answer["name"], answer["work"], dtype, took or "not measured",
    )  # fmt: skip
    return dtype
