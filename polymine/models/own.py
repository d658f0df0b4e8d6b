"""Says how a model is called where the settings leave it open: as its own folder says.

Read without loading anything, so that what depends on it is named by it, and what cannot work is
refused before any work.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polymine.data_contracts.errors import ModelError
from polymine.models.failures import told
from polymine.models.finding import CHAIN, adapter_base, bases_of, resolve
from polymine.models.prompts import CONFIG, prompted

if TYPE_CHECKING:
    from polymine.data_contracts.settings import EncoderSettings, ModelSettings

Call = TypeVar("Call", bound="EncoderSettings")

MODULES = "modules.json"
LENGTH = "sentence_bert_config.json"
# Modules of Polymine's own, as modules.json names them.
CONNECTOR = "polymine.models.lusifer.Connector"
SHIFT = "polymine.models.shifted.LanguageShift"
_ROUTES = (".Router", ".Asym")
_LIBRARY = "sentence_transformers."

logger = logging.getLogger("polymine.models.own")


def settled(call: Call, otherwise: EncoderSettings | None = None) -> Call:
    """Settle all that names a model's vectors beside its weights: prompts and similarity.

    Args:
        call: how a model is called; it may have no model (BM25).
        otherwise: whose prompts are taken where neither `call` nor the folder names any.

    Raises:
        ModelError: there is no such model, or its folder names a similarity that is not searched.
    """
    call = prompted(call, otherwise)
    if call.similarity != "auto" or not call.model:
        return call
    return call.model_copy(update={"similarity": own_similarity(call.model)})


def own_similarity(name: str) -> str:
    """Say how a model's folder compares vectors: `cosine` or `dot`.

    Vectors of unit length come in one order by cosine, dot product and distance.

    Raises:
        ModelError: it names another comparison, which no exact search here computes.
    """
    folder = resolve(name).folder
    if (folder / CHAIN).is_file():
        return "cosine"
    if not (folder / CONFIG).is_file() and (base := adapter_base(folder)):
        return own_similarity(base)
    named = _read(folder / CONFIG).get("similarity_fn_name") or "cosine"
    unit = any(str(each.get("type", "")).endswith(".Normalize") for each in _modules(folder))
    if named == "cosine" or (unit and named in ("dot", "euclidean")):
        return "cosine"
    if named != "dot":
        raise ModelError(
            f"Model {name!r}: its folder names {named!r} to compare its vectors, which is not "
            'searched here; set `similarity = "cosine"` for it, or "dot"'
        )
    logger.info("Model %r: its vectors are compared by dot product, as its folder says", name)
    return "dot"


def own_dtype(name: str) -> str | None:
    """Read the precision that a model's weights were saved in; None where its folder says none."""
    folder = resolve(name).folder
    if bases := bases_of(folder):
        return own_dtype(bases[0])
    config = _configuration(folder)
    said = config.get("dtype") or config.get("torch_dtype")
    return str(said).removeprefix("torch.") if said else None


def own_length(name: str) -> int | None:
    """Read how many tokens of a text a model's folder says are read; None where it says nothing."""
    folder = resolve(name).folder
    if bases := bases_of(folder):
        return own_length(bases[0])
    said: int | None = _read(folder / LENGTH).get("max_seq_length")
    return said


def check_call(call: ModelSettings) -> None:
    """Refuse a model that is not there or cannot be called so, before any work.

    Raises:
        ModelError: there is no such model, its folder names a similarity that is not searched, or
            it comes with code of its own that nobody has said may run.
    """
    from polymine.data_contracts.settings import EncoderSettings

    if not call.model:
        return
    if isinstance(call, EncoderSettings):
        settled(call)
    check_code(str(call.model), call.trust_remote_code)


def check_code(name: str, trusted: bool) -> None:
    """Refuse a model that comes with code of its own which nobody has said may run.

    Raises:
        ModelError: there is no such model, it is such a one, or it reads by several routes.
    """
    folder = resolve(name).folder
    for base in bases_of(folder):
        check_code(base, trusted)
    if any(str(each.get("type", "")).endswith(_ROUTES) for each in _modules(folder)):
        raise ModelError(
            f"Model {name!r}: reads queries and documents by routes of their own (`Router`), and "
            "here one model reads both; save the route that is meant as a model by itself"
        )
    own = [t for each in _modules(folder) if not (t := str(each.get("type", ""))).startswith(
        (_LIBRARY, CONNECTOR, SHIFT))]  # fmt: skip
    config = _configuration(folder)
    if trusted or not (own or config.get("auto_map")):
        return
    if not own:
        from transformers import CONFIG_MAPPING

        if config.get("model_type") in CONFIG_MAPPING:
            logger.info(
                "Model %r: its folder brings code of its own, which does not run: transformers' "
                "own %r is taken; `trust_remote_code = true` beside its name runs it",
                name, config["model_type"],
            )  # fmt: skip
            return
    what = f"the module {own[0]}" if own else f"the architecture {config.get('model_type')!r}"
    raise ModelError(
        f"Model {name!r}: comes with code of its own, for {what}, which runs only where "
        "`trust_remote_code = true` stands beside its name. Read it first: it may do anything"
    )


def _modules(folder: Path) -> list[dict[str, Any]]:
    modules = _read(folder / MODULES)
    return modules if isinstance(modules, list) else []


def _configuration(folder: Path) -> dict[str, Any]:
    """Of the transformer, which may lie in the folder of the first module."""
    first = [folder / str(each.get("path", "")) for each in _modules(folder)[:1]]
    read = (_read(place / "config.json") for place in (*first, folder))
    config: dict[str, Any] = next(filter(None, read), {})
    return config


def _read(path: Path) -> Any:
    if not path.is_file():
        return {}
    with told(f"{path}: could not be read"):
        return json.loads(path.read_text(encoding="utf-8"))
