"""Says which prompts a model reads texts with: those that a call names, else the model's own."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from polymine.data_contracts.errors import ModelError
from polymine.models.failures import told
from polymine.models.finding import adapter_base, resolve

if TYPE_CHECKING:
    from polymine.data_contracts.settings import EncoderSettings

Call = TypeVar("Call", bound="EncoderSettings")

CONFIG = "config_sentence_transformers.json"

logger = logging.getLogger("polymine.models.prompts")


@dataclass(frozen=True)
class Prompts:
    """What stands before every query and every document; empty for nothing."""

    query: str = ""
    document: str = ""


def own_prompts(name: str) -> Prompts:
    """Read the prompts that a model's folder names.

    Names are those of sentence-transformers: `query`; `document`, else `passage`, else `corpus`; or
    the only one that ends so, as `retrieval.query` and `search_document`. A folder that names
    neither side, but a `default_prompt_name`, puts that prompt before both. Prompts of which none
    is taken are warned about.

    Args:
        name: as for `resolve`. An adapter without prompts of its own has those of its base.

    Raises:
        ModelError: there is no such model, or its configuration cannot be read.
    """
    folder = resolve(name).folder
    config = folder / CONFIG
    if not config.is_file():
        base = adapter_base(folder)
        return own_prompts(base) if base else Prompts()
    with told(f"Model {name!r}: {config} could not be read"):
        said = json.loads(config.read_text(encoding="utf-8"))
        prompts: dict[str, str | None] = said.get("prompts") or {}
        default = prompts.get(said.get("default_prompt_name")) or ""
    if any(not isinstance(text, str | None) for text in prompts.values()):
        raise ModelError(f"Model {name!r}: expected texts as `prompts` in {config}, got {prompts}")
    said_so = {name.lower(): text for name, text in prompts.items() if text}
    blank = {name.lower() for name, text in prompts.items() if text == ""}  # says: nothing
    sides = (("query",), ("document", "passage", "corpus"))
    query, document = ("" if blank & {*names} and not said_so.keys() & {*names}
                       else _side(said_so, names) for names in sides)  # fmt: skip
    if said_so and not (query or document or default):
        logger.warning(
            "Model %r: none of its own prompts (%s) says that it is for queries or documents, so "
            "none is used; name the right ones as `query_prompt` and `document_prompt`",
            name, ", ".join(f"`{each}`" for each in said_so),
        )  # fmt: skip
    return Prompts(query, document) if query or document else Prompts(default, default)


def _side(prompts: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The prompt of one side: by the first of its names, or the only one that ends in one."""
    if named := next((prompts[name] for name in names if name in prompts), None):
        return named
    ending = re.compile(rf".*[._ -]({'|'.join(names)})")
    ended = [text for name, text in prompts.items() if ending.fullmatch(name)]
    if len(ended) > 1:
        logger.warning(
            "%d prompts end in `%s`, and none is used; name the right one as `query_prompt` or "
            "`document_prompt`", len(ended), names[0],
        )  # fmt: skip
    return ended[0] if len(ended) == 1 else ""


@cache
def _say_own(name: str | None, own: Prompts) -> None:
    """Say once which prompts are a model's own: every stage that calls it settles them anew."""
    logger.info(
        "Model %r: its own prompts are used where the settings name none: %r before queries, "
        "%r before documents",
        name, own.query, own.document,
    )  # fmt: skip


def prompted(call: Call, otherwise: EncoderSettings | None = None) -> Call:
    """Settle the prompts of a call, before anything is named by them or read with them.

    Args:
        call: `query_prompt` and `document_prompt` are None where the settings name none.
        otherwise: whose prompts are taken where neither `call` nor the model's folder names any.

    Returns:
        The call with both prompts as texts; what the folder named is logged.

    Raises:
        ModelError: as from `own_prompts`.
    """
    named = (call.query_prompt, call.document_prompt)
    own = own_prompts(call.model) if call.model and None in named else Prompts()
    found = (own.query, own.document)
    if any(found):
        _say_own(call.model, own)
    elif otherwise is not None:
        found = (otherwise.query_prompt or "", otherwise.document_prompt or "")
    texts = [text if text is not None else own for text, own in zip(named, found, strict=True)]
    return call.model_copy(update={"query_prompt": texts[0], "document_prompt": texts[1]})
