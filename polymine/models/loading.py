"""Loads encoders and cross-encoders from the folders where they were found."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from polymine.data_contracts.errors import ModelError
from polymine.models.devices import torch_dtype
from polymine.models.failures import told
from polymine.models.finding import CHAIN, ResolvedModel, adapter_base, resolve
from polymine.models.limits import check_words, settle_length, settle_padding
from polymine.models.own import CONNECTOR, SHIFT, own_dtype

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

Model = TypeVar("Model", "SentenceTransformer", "CrossEncoder")

logger = logging.getLogger("polymine.models.loading")
CHAIN_WEIGHTS = "lusifer.safetensors"  # beside CHAIN: connector and projection
CHAIN_ADAPTERS = ("encoder", "target")  # beside CHAIN: folders of their LoRA, where they have one

# Architectures whose score head comes with the weights; any other would get a random one.
_SCORING_HEADS = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")


def load_encoder(
    name: str,
    *,
    device: str,
    dtype: str,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    pooled: bool = True,
) -> SentenceTransformer:
    """Load a sentence-transformers encoder in evaluation mode.

    Pooling, normalisation and prompts are those the model was saved with; what its folder leaves
    open is settled (`polymine.models.limits`). An adapter is merged into the float32 weights of its
    base before they are cast.

    Args:
        name: as for `resolve`.
        dtype: of the weights, one of DTYPES; `dtype_of` turns `auto` into one.
        max_length: in tokens; None keeps the model's own.
        trust_remote_code: whether code that lies beside the model may run.
        pooled: whether its own vectors are wanted; of a part of a chain only the states are, and
            nobody need hear how its folder makes one of them.

    Raises:
        ModelError: the model is not there, cannot be loaded, has fewer positions than
            `max_length`, or neither a padding nor an end token.
    """
    from sentence_transformers import SentenceTransformer

    found = resolve(name)
    if (found.folder / CHAIN).is_file():
        encoder = _load_chain(found, device, dtype, trust_remote_code)
        settle_length(encoder, max_length, name)
        return encoder
    base = adapter_base(found.folder)
    if base is not None:
        encoder = load_encoder(
            base, device=device, dtype="float32", max_length=max_length,
            trust_remote_code=trust_remote_code, pooled=pooled,
        )  # fmt: skip
        return _with_adapter(encoder, found, dtype)
    with _loading(name, device):
        encoder = SentenceTransformer._load_with_module_classes(
            found.location,
            _own_modules(found),
            device=device,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            model_kwargs={"dtype": torch_dtype(dtype)},
        )
    check_words(encoder, name)
    if pooled:
        _say_pooling(found, encoder)
    settle_padding(encoder, name, ranks=False)
    settle_length(encoder, max_length, name)
    _say_precision(name, dtype)
    return encoder.eval()


def load_cross_encoder(
    name: str,
    *,
    device: str,
    dtype: str,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> CrossEncoder:
    """Load a cross-encoder with one output, in evaluation mode.

    The activation is always the identity: after a sigmoid, confident pairs saturate and a margin
    below the known positive's score means nothing.

    Args:
        name, dtype, trust_remote_code: as for `load_encoder`.
        max_length: in tokens, of query and document together; None keeps the model's own.

    Returns:
        A model that gives raw logits.

    Raises:
        ModelError: the model is not there, cannot be loaded, has no trained score head, more than
            one output, fewer positions than `max_length` or no padding token.
    """
    found = resolve(name)
    base = adapter_base(found.folder)
    if base is None:
        _check_scoring_head(found)
        encoder = _build_cross_encoder(found, device, dtype, trust_remote_code)
    else:
        bare = _build_cross_encoder(resolve(base), device, "float32", trust_remote_code)
        encoder = _with_adapter(bare, found, dtype)
    if encoder.num_labels != 1:
        raise ModelError(
            f"Model {name!r}: expected a cross-encoder with 1 output, got {encoder.num_labels} in "
            f"{found.location}. Choose a model trained for ranking."
        )
    settle_padding(encoder, name, ranks=True)
    settle_length(encoder, max_length, name)
    return encoder.eval()


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
            model_kwargs={"dtype": torch_dtype(dtype)},
        )
    return encoder


def _load_chain(
    found: ResolvedModel, device: str, dtype: str, trust_remote_code: bool
) -> SentenceTransformer:
    """Chain two models as a folder says, their adapters merged, and cast the result to `dtype`."""
    from safetensors.torch import load_file

    from polymine.models.lusifer import build, load_own_state

    about = json.loads((found.folder / CHAIN).read_text(encoding="utf-8"))
    parts = []
    for part in CHAIN_ADAPTERS:
        model = load_encoder(
            about.pop(part), device=device, dtype="float32", trust_remote_code=trust_remote_code,
            pooled=False,
        )  # fmt: skip
        adapter = found.folder / part
        if adapter.is_dir():
            trained = ResolvedModel(f"{found.name}/{part}", str(adapter), None, "folder")
            model = _with_adapter(model, trained, "float32")
        parts.append(model)
    with _loading(found.name, device):
        chain = build(*parts, **about)
        load_own_state(chain, load_file(str(found.folder / CHAIN_WEIGHTS)), found.name)
    return chain.to(torch_dtype(dtype)).eval()


def _say_pooling(found: ResolvedModel, encoder: SentenceTransformer) -> None:
    """Warn of a folder of transformers alone, where the library chooses how tokens become one."""
    if (found.folder / "modules.json").is_file():
        return
    mode = next((m.pooling_mode for m in encoder.children() if hasattr(m, "pooling_mode")), "mean")
    last = "the last one's is taken, as of any decoder"
    taken = last if mode == "lasttoken" else f"their {mode} is taken"
    logger.warning(
        "Model %r: its folder does not say how the vectors of its tokens become one; %s. If it was "
        "trained otherwise (by its mean, first or last token), save it by sentence-transformers "
        "with that pooling",
        found.name, taken,
    )  # fmt: skip


def _own_modules(found: ResolvedModel) -> dict[str, type]:
    """Name the modules of a model that are Polymine's own, for which no code need be trusted.

    The library's public way to load them is to trust any code that the folder names.
    """
    modules = found.folder / "modules.json"
    named = modules.read_text(encoding="utf-8") if modules.is_file() else ""
    own: dict[str, type] = {}
    if CONNECTOR in named:
        from polymine.models.lusifer import Connector

        own[CONNECTOR] = Connector
    if SHIFT in named:
        from polymine.models.shifted import LanguageShift

        own[SHIFT] = LanguageShift
    return own


def _with_adapter(model: Model, adapter: ResolvedModel, dtype: str) -> Model:
    """Merge an adapter into the float32 weights of `model` and cast the result to `dtype`.

    Merging before the cast rounds once; merged weights cost nothing extra per pair.
    """
    from peft import PeftModel

    device = str(model.device)
    with _loading(adapter.name, device):
        module: Any = model[0]  # its .model is the transformers model
        wrapped: Any = PeftModel.from_pretrained(
            module.model, adapter.location, torch_device=device
        )
        module.model = wrapped.merge_and_unload()
    model.to(torch_dtype(dtype))
    return model.eval()


@cache
def _say_precision(name: str, used: str) -> None:
    """Say once where a model computes in less than its weights were saved in."""
    own = own_dtype(name)
    if own == "float32" != used:
        logger.info(
            "Model %r: computes in %s, its weights were saved in %s; `dtype = %r` keeps that",
            name, used, own, own,
        )  # fmt: skip


def _check_scoring_head(found: ResolvedModel) -> None:
    config = found.folder / "config.json"
    if not config.is_file():
        return
    architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
    if not any(str(item).endswith(_SCORING_HEADS) for item in architectures):
        raise ModelError(
            f"Model {found.name!r}: expected a cross-encoder, got the encoder {architectures} in "
            f"{found.location}: its score head would be random. Name a cross-encoder, such as "
            "'cross-encoder/ms-marco-MiniLM-L6-v2', or use this model as a teacher."
        )


@contextmanager
def _loading(name: str, device: str) -> Iterator[None]:
    """Turn whatever a library raises while loading into one ModelError, and keep it quiet."""
    with told(f"Model {name!r} was found but could not be loaded on {device!r}"), quiet():
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back progress bars and load reports: a core that prints disturbs whoever calls it.

    So does PEFT, which asks transformers for what transformers no longer wants to be asked.
    """
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        for logger, old in zip(others, before, strict=True):
            logger.setLevel(old)
