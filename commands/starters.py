"""Settings files that come with Polymine: to run as they are, or to start one's own from.

They lie in the package, in the wheel as in a checkout, so that no command needs a checkout.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from polymine.data_contracts.errors import InputError, SettingsError
from polymine.data_contracts.shipped_models import ENGLISH, MULTILINGUAL

if TYPE_CHECKING:
    from polymine.data_contracts.notes import Understood
    from polymine.data_contracts.settings import DatasetSettings

Kind = Literal["mine", "pipeline", "compare", "train", "evaluate", "gap"]
PACKAGE = Path(__file__).absolute().parents[1]  # not resolved: a checkout links its rooms in
DEMO = PACKAGE / "configs" / "demo.toml"
PLAN = PACKAGE / "prefect.yaml"
STARTERS: dict[Kind, str] = {
    "mine": "quickstart.toml",
    "pipeline": "pipeline.toml",
    "compare": "comparison.toml",
    "train": "training.toml",
    "evaluate": "evaluation.toml",
    "gap": "gap.toml",
}
EXTRA = "pip install 'polymine[multilingual]'"
_ROLES = {
    "corpus": ("corpus", "documents", "passages"),
    "queries": ("queries",),
    "judgments": ("qrels", "judgments"),
    "labels": ("labels",),
}
# A section ends at the first blank line; only the starters need to keep to that.
_DATASET = re.compile(r"^\[dataset\]\n(?:.+\n)*", re.MULTILINE)
_EXAMPLE = "examples/parallel"


@dataclass(frozen=True)
class Started:
    """What `start` wrote.

    Args:
        file: the settings.
        understood: what the data were taken for.
        languages: of the data; empty where nothing says them.
        model: that ranks them; None where the file is as shipped.
        copied: a folder of example data that the settings name, if it was written too.
    """

    file: Path
    understood: "tuple[Understood, ...]" = ()
    languages: tuple[str, ...] = ()
    model: str | None = None
    copied: Path | None = None


def start(
    kind: Kind, data: Sequence[Path], file: Path | None = None, language: str | None = None
) -> Started:
    """Write a commented settings file that fits the data it is for.

    Args:
        kind: of the command that will run it.
        data: a BEIR folder, files named for their roles (corpus, queries, qrels), or files of
            pairs; without any, the file is as Polymine ships it.
        file: where to; `KIND.toml` here if None.
        language: of texts that name none.

    Raises:
        SettingsError: the file is there already, or this kind starts from no data.
        InputError: the data cannot be read as they are. The file is written, since the settings
            that settle it belong there.
    """
    file = file or Path(f"{kind}.toml")
    if file.exists():
        raise SettingsError(f"{file}: is there already; name another one with --to")
    text = _renamed((PACKAGE / "configs" / STARTERS[kind]).read_text(encoding="utf-8"), kind, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not data:
        file.write_text(text, encoding="utf-8")
        return Started(file, copied=_copy_example(text))
    if not _DATASET.search(text):
        raise SettingsError(
            f"`{kind}` starts from runs and sets, not from a corpus: write the file without data "
            "and name them in it"
        )
    sources = _sources(data)
    file.write_text(_filled(text, sources, language, ()), encoding="utf-8")
    understood = _read(file, sources, language)
    languages = _languages(understood, language)
    file.write_text(_filled(text, sources, language, languages), encoding="utf-8")
    return Started(file, understood, languages, choose_model(languages))


def _renamed(text: str, kind: Kind, file: Path) -> str:
    """Call settings files what they are called here: a starter's own name, and others by kind."""
    for other, name in STARTERS.items():
        here = str(file) if other == kind else f"{other}.toml"
        text = text.replace(f"configs/{name}", here)
    return text


def _copy_example(text: str) -> Path | None:
    """Bring the example data along that a starter names; what is there already stays."""
    target = Path(_EXAMPLE)
    if _EXAMPLE not in text or target.exists():
        return None
    shutil.copytree(PACKAGE / _EXAMPLE, target)
    return target


def _sources(data: Sequence[Path]) -> dict[str, list[str]]:
    """Say which key of `[dataset]` names each path: by the names of the files, else as pairs."""
    if missing := [str(path) for path in data if not path.exists()]:
        raise InputError(f"{missing[0]}: there is no such file or folder")
    if len(data) == 1 and data[0].is_dir() and {"corpus", "queries"} <= set(_roles_in(data[0])):
        return {"corpus": [str(data[0])]}
    sources: dict[str, list[str]] = {}
    for path in data:
        sources.setdefault(_role(path) or "pairs", []).append(str(path))
    return sources


def _roles_in(folder: Path) -> list[str | None]:
    return [_role(path) for path in folder.iterdir()]


def _role(path: Path) -> str | None:
    """Name the role of a file by the first word of its name, as `corpus` of corpus-01.parquet."""
    word = re.split(r"[-_.]", path.name.lower())[0]
    return next((role for role, names in _ROLES.items() if word in names), None)


def _settings(sources: dict[str, list[str]], language: str | None) -> "DatasetSettings":
    from polymine.data_contracts.settings import DatasetSettings, check_as

    named = {key: paths[0] if len(paths) == 1 else paths for key, paths in sources.items()}
    said = {"language": language} if language else {}
    return check_as(DatasetSettings, {**named, **said}, where="the data")


def _read(
    file: Path, sources: dict[str, list[str]], language: str | None
) -> "tuple[Understood, ...]":
    from polymine.tasks.sources.reading import check_raw, read_sources

    settings = _settings(sources, language)
    try:
        raw = read_sources(settings)
        check_raw(raw, settings.on_invalid)
    except InputError as error:
        raise InputError(
            f"{error}\n{file} is written: add what settles this to its [dataset], then "
            f"`polymine plan {file}`"
        ) from error
    return raw.understood


def _languages(understood: "tuple[Understood, ...]", language: str | None) -> tuple[str, ...]:
    found = {code for each in understood for code, _ in each.languages}
    return tuple(sorted((found - {"und"}) | ({language} if language else set())))


def _filled(
    text: str, sources: dict[str, list[str]], language: str | None, languages: tuple[str, ...]
) -> str:
    """Put the sources into a starter, and a teacher that knows their languages."""
    lines = ["[dataset]"]
    for key, paths in sources.items():
        # JSON's strings are TOML's, with quotes and backslashes escaped alike.
        named = ", ".join(json.dumps(path, ensure_ascii=False) for path in paths)
        lines.append(f"{key} = {named if len(paths) == 1 else f'[{named}]'}")
    if language:
        lines.append(f'language = "{language}"                    # of rows that name none')
    elif not languages:
        lines.append('# language = "en"                  # no row names its language: say it here')
    lines.append('on_invalid = "fail"                # or "quarantine": set bad rows aside')
    text = _DATASET.sub(lambda _: "\n".join(lines) + "\n", text, count=1)
    text = text.replace("overwrite = true\n", "")  # is for trying things out
    if choose_model(languages) == MULTILINGUAL:
        text = text.replace(ENGLISH, MULTILINGUAL).replace('name = "minilm"', 'name = "e5"')
    return text


def choose_model(languages: Sequence[str]) -> str:
    """Choose the model that ranks: a small one for English alone, else one of many languages.

    Where nothing says the language that one is right as well, and is taken if it is installed.
    """
    if languages:
        return MULTILINGUAL if set(languages) - {"en"} else ENGLISH
    return MULTILINGUAL if _has_multilingual() else ENGLISH


def _has_multilingual() -> bool:
    return find_spec(MULTILINGUAL.removeprefix("package:")) is not None


def _say_model(started: Started) -> list[str]:
    """Say which model ranks, and why."""
    if started.model is None:
        return []
    reads = "multilingual-e5-small, which reads many languages"
    if started.model == ENGLISH:
        reads = "all-MiniLM-L6-v2, which reads English only"
    lacks = started.model == MULTILINGUAL and not _has_multilingual()
    said = f"teachers: {started.model} ({reads}) and BM25"
    return [f"{said}; not installed yet: {EXTRA}" if lacks else said]


def told(started: Started, kind: Kind) -> list[str]:
    """Say line by line what was written, and what comes next."""
    from polymine.reading.understood import describe

    command = "run" if kind == "mine" else kind
    lines = [describe(each) for each in started.understood]
    if started.languages:
        lines.append(f"languages: {', '.join(started.languages)}")
    elif started.understood:
        lines.append("languages: no row names one; --language en (or de, ja ...) says it")
    lines += _say_model(started)
    if started.copied:
        lines.append(f"{started.copied}: the example data that it names")
    checked = f"polymine plan {started.file} (checks it), then " if started.understood else ""
    return [*lines, f"{started.file} is written. Next: {checked}polymine {command} {started.file}"]
