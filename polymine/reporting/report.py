"""What every page has: a headline, remarks, timings, and what the run was made with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, computed_field

from polymine.data_contracts.notes import Understood


@dataclass(frozen=True)
class Note:
    """A remark; `warning` means that something may need to be done."""

    level: Literal["warning", "remark"]
    text: str


@dataclass(frozen=True)
class Timing:
    """How long a stage took, how many rows it has, and whether it was there already."""

    stage: str
    seconds: float
    rows: int
    reused: bool = False

    @property
    def speed(self) -> float | None:
        """Rows per second; none for what was only looked up."""
        return None if self.reused or self.seconds < 1e-3 else self.rows / self.seconds


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows."""

    title: str
    about: str
    chart: Markup


@dataclass(frozen=True)
class LinkedFile:
    """A file beside the page, by its relative path."""

    name: str
    path: str
    about: str = ""


class Report(BaseModel):
    """What pages of all kinds show; each kind adds its own.

    A model's dump is what the output's manifest says, and the manifest makes the model again.
    Tables stay out of it: they lie beside it as Parquet.

    Args:
        title: what the run is called.
        headline: what came out, in one sentence.
        sources: what each file of the input was taken for.
        settings: nested, as in the file.
        fingerprints, versions: by name.
        files: beside the page, linked from it.
    """

    kind: ClassVar[str] = ""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    title: str
    headline: str
    sources: tuple[Understood, ...] = ()
    settings: dict[str, Any] = {}
    timings: tuple[Timing, ...] = ()
    notes: tuple[Note, ...] = ()
    fingerprints: dict[str, str] = {}
    versions: dict[str, str] = {}
    files: tuple[LinkedFile, ...] = Field((), exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reused(self) -> list[str]:
        """Stages that an earlier run had made."""
        return [timing.stage for timing in self.timings if timing.reused]


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List nested settings as `--set` takes them, without empty ones: (dotted key, TOML)."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += flatten(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for at, item in enumerate(value):
                lines += flatten(item, f"{name}.{at}.")
        elif value is not None and value != "":
            lines.append((name, json.dumps(value, ensure_ascii=False)))
    return lines
