"""Settles what a model's folder leaves open: how long a text may be, and what fills short ones up.

A folder's own word is taken where it can be right. Many tokenizers name no maximum length (T5) or
that of the position table with the rows in it that no token may have (RoBERTa: 514, of which 2 are
reserved), and many decoders have no padding token (Llama).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from polymine.data_contracts.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

# What BERT read, and what models without absolute positions were mostly trained with.
DEFAULT_LENGTH = 512
# Names of the tables of absolute positions: BERT and its kin, BART and OPT, GPT-2.
_TABLES = ("position_embeddings", "embed_positions", "wpe")
_DECLARED = ("max_position_embeddings", "n_positions")
_NO_LIMIT = 1 << 30

logger = logging.getLogger("polymine.models.limits")


def settle_length(model: SentenceTransformer | CrossEncoder, wanted: int | None, name: str) -> None:
    """Give the model a maximum length that it can really read; what was derived is logged.

    Args:
        model: is changed in place.
        wanted: tokens that the settings name; None for the model's own, held against its table of
            positions; without one, the table's, the declared positions, or DEFAULT_LENGTH.
        name: in errors and logs.

    Raises:
        ModelError: `wanted` is more than the model has positions for.
    """
    rows, reserved = count_positions(model)
    most = most_tokens(model)
    source = f"of {rows} positions {reserved} are reserved" if reserved else f"{most} positions"
    if wanted is not None:
        if wanted < 3 or (most and most < wanted):
            raise ModelError(
                f"Model {name!r}: expected max_length between 3 and {most or 'its own'} tokens, "
                f"got {wanted}{f' ({source})' if most else ''}. Set a lower `max_length` for it, "
                "or leave it out to use the model's own."
            )
        model.max_seq_length = wanted
        return
    own = _own_length(model)
    if own is not None and not (rows and most and own > most):
        return
    settled = most or DEFAULT_LENGTH
    model.max_seq_length = settled
    logger.info(
        "Model %r: %s; at most %d tokens of a text are read (%s)",
        name,
        "it names no maximum length" if own is None else f"it names {own} tokens",
        settled,
        source if most else "as it has no positions to count; `max_length` sets another",
    )


def length_limit(model: SentenceTransformer | CrossEncoder) -> int:
    """Say how many tokens of a text a model reads; where nothing limits them, a huge number."""
    length = model.max_seq_length
    return int(length) if length and length < _NO_LIMIT else _NO_LIMIT


def settle_padding(model: SentenceTransformer | CrossEncoder, name: str, *, ranks: bool) -> None:
    """See that short texts can be filled up to the longest of their batch.

    What fills up is masked, so an encoder may take its end token for it. A cross-encoder over a
    decoder finds the last token of a pair by it, and would read the wrong one.

    Args:
        model: its tokenizer is changed in place.
        name: in errors and logs.
        ranks: whether it is a cross-encoder.

    Raises:
        ModelError: it has no padding token, and none that may stand in.
    """
    from transformers import PreTrainedTokenizerBase

    tokenizer: Any = model.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token is not None:
        return
    if ranks or tokenizer.eos_token is None:
        raise ModelError(
            f"Model {name!r}: its tokenizer has no padding token"
            f"{'' if ranks else ' and no end token'}. Name the one it was trained with as "
            "`pad_token` in its tokenizer_config.json, and the token's number as `pad_token_id` in "
            "its config.json."
        )
    tokenizer.pad_token = tokenizer.eos_token
    logger.info(
        "Model %r: it names no padding token; its end token %r fills short texts up, masked",
        name,
        tokenizer.eos_token,
    )


def check_words(model: SentenceTransformer, name: str) -> None:
    """See that a tokenizer was read, and not made up where its files are missing.

    Raises:
        ModelError: it knows less than half of the tokens that the model has vectors for.
    """
    config = getattr(model[0], "config", None)
    wanted = getattr(config, "vocab_size", None)
    try:
        known = len(model.tokenizer)
    except TypeError:
        return  # no tokenizer of transformers
    if wanted and known < wanted / 2:
        raise ModelError(
            f"Model {name!r}: its tokenizer knows {known:,} tokens of {wanted:,}, so nearly all "
            "words would be unknown to it; put the tokenizer's files (tokenizer.json or the like) "
            "beside the model's"
        )


def count_positions(model: Any) -> tuple[int, int]:
    """Count the rows of a model's table of absolute positions.

    Returns:
        Rows, and how many of them no token may have; (0, 0) where there is no such table.
    """
    import torch

    for module in model.modules():
        for name in _TABLES:
            table = getattr(module, name, None)
            if isinstance(table, torch.nn.Embedding):
                # BART's kin shift by an offset, RoBERTa's number positions behind the padding's.
                padding = getattr(module, "padding_idx", None)
                behind = padding + 1 if isinstance(padding, int) else 0
                return table.num_embeddings, int(getattr(table, "offset", behind))
    return 0, 0


def most_tokens(model: Any) -> int | None:
    """Count the tokens that a model has positions for, by its table or as it declares them.

    Returns:
        None where nothing limits them.
    """
    rows, reserved = count_positions(model)
    return rows - reserved if rows else _declared(model)


def _declared(model: Any) -> int | None:
    config = getattr(model, "config", None)
    values = (getattr(config, name, None) for name in _DECLARED)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def _own_length(model: Any) -> int | None:
    """The length that tokenizer or folder name; transformers marks a missing one with 10^30."""
    from transformers.tokenization_utils_base import LARGE_INTEGER

    if not isinstance(model.max_seq_length, int | None):
        return _NO_LIMIT  # static embeddings have neither positions nor a limit: infinite
    length = model.max_seq_length
    return length if length and length < LARGE_INTEGER else None
