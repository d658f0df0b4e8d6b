"""Turns what libraries raise about a model, at loading or at use, into errors made for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from polymine.data_contracts.errors import ModelError, PolymineError
from polymine.models.memory import is_out_of_memory

# What the libraries' messages mean: a pattern of the message, what helps.
_ADVICE = (
    (
        "trust_remote_code",
        "It comes with code of its own, which runs only where `trust_remote_code = true` stands "
        "beside its name.",
    ),
    (
        "padding token|[Aa]sking to pad",
        "Its tokenizer has no token to fill short texts up with: name one as `pad_token` in its "
        "tokenizer_config.json, and the token's number as `pad_token_id` in its config.json.",
    ),
    (
        "out of range|out of bounds|device-side assert",
        "It was given more tokens than it has positions for, or pieces that it has no vector for: "
        "set a lower `max_length` for it, or check that its tokenizer belongs to it.",
    ),
    (
        "not implemented for|same dtype|expected scalar type",
        'Parts of it do not compute in this precision here: set `dtype = "float32"` for it.',
    ),
    ("No module named", "Its own code needs this Python package: install it with pip."),
)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn whatever a library raises into one ModelError; errors made for people pass through.

    Args:
        what: begins the message, as "Model 'x' could not be loaded on 'cpu'".

    Raises:
        ModelError: with the library's words and the setting that mends it, where one does.
    """
    try:
        yield
    except PolymineError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"{what}: {words.rstrip('.')}. {_advise(error)}") from error


def _advise(error: Exception) -> str:
    if is_out_of_memory(error) or isinstance(error, MemoryError):
        return 'Free some memory, or set `dtype = "bfloat16"` or name a smaller model.'
    for pattern, advice in _ADVICE:
        if re.search(pattern, str(error)):
            return advice
    return (
        "Check that its files are complete, that the device exists, and that sentence-transformers "
        "itself encodes with it."
    )


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message that says something, cut to 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
