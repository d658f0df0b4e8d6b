"""What to do about a failure, in plain words; the same on the run's page, in its state and log.

Needs nothing heavy, so that the command line and the server's caretakers may use it, too.
"""

import errno
import re
from dataclasses import dataclass

from polymine.data_contracts.credentials import hide_credentials
from polymine.data_contracts.errors import PolymineError

KEY = "what-to-do"  # of the artifact on the page of a run that did not finish
COMMAND_LINE = "command-line"  # tag of runs that a command started and that end with it

_MEMORY = (
    "Less at once makes the same result: lower `engine.memory` for mining and measuring, or "
    "`training.schedule.mini_batch` for training. Or take a machine with more memory."
)
_FULL = (
    "Free space there (`polymine gc` lists what no kept run needs), or set `engine.store` and "
    "`output.path` to a larger disk."
)
_ACCESS = (
    "Let the user that runs this read and write there, or set `engine.store` and `output.path` "
    "elsewhere."
)
_AWAY = "See whether it runs and can be reached from this machine."
_DEFECT = (
    "This is nothing you could have set otherwise. Report it with the traceback, which the log of "
    "this run has in full, and the settings, which stand under *Parameters*."
)


@dataclass(frozen=True)
class Advice:
    """A failure in words.

    Args:
        kind: what kind of failure it is, as a heading.
        message: what happened; of a user's error, word for word what the error says.
        remedy: what to fix; empty where the message says it already.
    """

    kind: str
    message: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The state's message: all of it in one piece, without Markdown."""
        if not self.remedy:
            return hide_credentials(self.message)
        remedy = self.remedy.replace("`", "").replace("*", "")
        return f"{self.kind}: {hide_credentials(self.message)}\n{remedy}"


def advise(error: BaseException) -> Advice:
    """Say what an exception means to the person who has to act on it."""
    if isinstance(error, PolymineError):
        return Advice("Something to correct", str(error))
    words = f"{type(error).__name__}: {_first_lines(str(error))}"
    causes = _causes(error)
    kinds = {type(each).__name__ for each in causes}
    if kinds & {"ValidationError", "ParameterTypeError", "ParameterBindError"}:
        return Advice("Settings that cannot be used", words, "Correct the settings named here.")
    if kinds & {"MemoryError", "OutOfMemoryError"} or "out of memory" in words.lower():
        return Advice("Memory ran out", words, _MEMORY)
    for each in causes:
        code = each.errno if isinstance(each, OSError) else None
        if code in (errno.ENOSPC, errno.EDQUOT):
            return Advice("The disk is full", words, _FULL)
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Advice("Access was refused", words, _ACCESS)
    away = any(isinstance(each, (ConnectionError, TimeoutError)) for each in causes)
    if away or kinds & {"ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout"}:
        return Advice("Another machine did not answer", words, _AWAY)
    return Advice("A defect, or a failure of the machine", words, _DEFECT)


def advise_stop(message: str) -> Advice:
    """Say what a run means that was stopped, by the message of its state."""
    told = message or "The process ended silently, as after kill -9."
    return Advice(
        "The run was stopped",
        told,
        "Somebody cancelled it, or its worker or machine went down. What it had finished is kept.",
    )


def write_advice(advice: Advice, where: str, continuing: str) -> str:
    """Write the page's text: what happened, where, what to fix, and how to continue.

    Args:
        advice: the failure.
        where: Markdown on the stage and the log; empty if nobody knows.
        continuing: Markdown on how this run is continued.
    """
    parts = [f"# {advice.kind}", _quoted(advice.message)]
    fix = advice.remedy or "Correct what the message names."
    steps = [fix, continuing + " Finished stages and shards are found in the store and reused."]
    parts += ["## What to do", "\n".join(f"{n}. {step}" for n, step in enumerate(steps, 1))]
    if where:
        parts += ["## Where it happened", where]
    return "\n\n".join(parts)


def _quoted(message: str) -> str:
    """Show a message as text: it may quote a row of the user's data, with markup in it."""
    fence = "`" * (max([2, *map(len, re.findall("`+", message))]) + 1)
    return f"{fence}text\n{hide_credentials(message)}\n{fence}"


def _causes(error: BaseException) -> list[BaseException]:
    """List an exception and what it was raised from."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return found


def _first_lines(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[:lines])
