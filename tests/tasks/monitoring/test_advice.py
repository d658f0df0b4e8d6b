"""Failures in words: what kind, what to mend, how to go on; quoted data stays text."""

import errno

import pytest

from polymine.data_contracts.errors import InputError
from polymine.tasks.monitoring.advice import advise, advise_stop, write_advice

OUT_OF_MEMORY = type("OutOfMemoryError", (RuntimeError,), {})  # as torch names it


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "/store/part-00003.parquet")


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "kind", "mend"),
    [
        (MemoryError(), "Memory ran out", "engine.memory"),
        (OUT_OF_MEMORY("CUDA out of memory. Tried to allocate 2 GiB"), "Memory ran out", "mini_b"),
        (full_disk(), "The disk is full", "polymine gc"),
        (caused(RuntimeError("cannot write"), full_disk()), "The disk is full", "polymine gc"),
        (PermissionError(errno.EACCES, "denied", "/out"), "Access was refused", "read and write"),
        (ConnectionResetError("by peer"), "Another machine did not answer", "reached"),
        (KeyError("order"), "A defect, or a failure of the machine", "traceback"),
    ],
)
def test_a_failure_has_a_kind_and_something_to_do(error: Exception, kind: str, mend: str) -> None:
    advice = advise(error)
    assert advice.kind == kind
    assert mend in advice.remedy
    assert advice.line.startswith(f"{kind}: {type(error).__name__}")
    assert "`" not in advice.line
    page = write_advice(advice, "In stage `rank`.", "Then run the same command again: `x`.")
    assert page.index(kind) < page.index("## What to do") < page.index("Then run the same command")
    assert "reused" in page
    assert page.endswith("In stage `rank`.")


def test_a_users_error_is_its_message_and_nothing_else() -> None:
    message = "queries.parquet: 3 rows without text, such as q7; fill them or drop them"
    assert advise(InputError(message)).line == message


def test_quoted_data_is_shown_as_text_and_passwords_are_not() -> None:
    message = "s3://me:secret@host/x: odd text, such as\n```\n<script>alert(1)</script>\n# Title"
    advice = advise(InputError(message))
    page = write_advice(advice, "", "Then retry.")
    assert "secret" not in page + advice.line
    fence = page.splitlines()[2]
    assert fence == "````text"
    assert page.index("<script>") < page.index("\n````\n", page.index(fence))
    assert "Where it happened" not in page


def test_a_stopped_run_says_that_nothing_finished_is_lost() -> None:
    advice = advise_stop("Execution was aborted by a termination signal.")
    assert advice.line.startswith("The run was stopped: Execution was aborted by a termination")
    assert "is kept" in advice.remedy
    assert "ended silently" in advise_stop("").message


@pytest.mark.parametrize("address", [
    "s3://AKIAX:se/cr/et=@bucket/a.parquet", "https://host/x.csv?X-Amz-Signature=secr/et",
])  # fmt: skip
def test_a_secret_is_hidden_wherever_settings_refuse_one(address: str) -> None:
    message = f"{address}: cannot be read\nand more of it"
    for text in (advise(InputError(message)).line, advise(ConnectionError(message)).line,
                 write_advice(advise(InputError(message)), "", "Then retry.")):  # fmt: skip
        assert "/et" not in text
        assert "***" in text
