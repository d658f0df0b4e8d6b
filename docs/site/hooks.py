"""Pages of the site that are kept elsewhere or made: README, settings, commands, linked files."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click

from polymine.commands.main import app
from polymine.data_contracts.settings.run import SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the top of the repository, those that are made, and what pages link to."""
    made = {page: (ROOT / name).read_text() for name, page in PAGES.items()}
    made |= {"settings.md": "\n".join(settings_page()), "commands.md": commands_page()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    texts = [*made.values(), *(path.read_text() for path in (ROOT / "docs").glob("*.md"))]
    linked = {target for text in texts for _, _, target, _ in LINK.findall(text)}
    for target in sorted(linked):
        name = target.removeprefix("../")
        elsewhere = not name.startswith(("docs/", "http")) and not name.endswith(".md")
        if elsewhere and (ROOT / name).is_file():
            files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links say where things are on the site, not in the repository."""

    def replace(found: re.Match[str]) -> str:
        mark, text, target, anchor = found.groups()
        name = target.removeprefix("../").removeprefix("docs/")
        if (ROOT / name).is_dir():
            return text  # a folder is no page
        return f"{mark}[{text}]({PAGES.get(name, name)}{anchor or ''})"

    return LINK.sub(replace, markdown)


def commands_page() -> str:
    """Describe every command and option, as `--help` does."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="polymine")
    return get_docs_for_click(obj=command, ctx=context, name="polymine", title="Commands")


def settings_page() -> Iterator[str]:
    """Describe every key of every settings file: its type, default and meaning."""
    yield "# Settings\n"
    yield "Sections of each command's file. `--set SECTION.KEY=VALUE` overrides a key.\n"
    for flow, kind in SETTINGS.items():
        sections = ", ".join(f"[`[{name}]`](#{_slug(model)})" for name, model in _sections(kind))
        yield f"- **{flow.replace('_', '-')}**: {sections}"
    yield ""
    for model, place in _every(SETTINGS.values()).items():
        yield f"## {place} {{ #{_slug(model)} }}\n\n{_prose(model.__doc__)}\n"
        yield "| key | values | default | what it does |\n|---|---|---|---|"
        yield from (_row(name, field) for name, field in model.model_fields.items())
        yield ""


def _sections(kind: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in kind.model_fields.items():
        yield from ((name, model) for model in list(_models(field.annotation))[:1])


def _every(kinds: Iterable[type[BaseModel]]) -> dict[type[BaseModel], str]:
    """All groups of settings with the first place where a file names them, in that order."""
    places: dict[type[BaseModel], str] = {}

    def visit(model: type[BaseModel], path: str, many: bool) -> None:
        if model in places:
            return
        places[model] = f"`[[{path}]]`" if many else f"`[{path}]`"
        for name, field in model.model_fields.items():
            for below in _models(field.annotation):
                visit(below, f"{path}.{name}", get_origin(field.annotation) is tuple)

    for kind in kinds:
        for name, model in _sections(kind):
            visit(model, name, many=False)
    return places


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from _models(part)


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _kind(field.annotation), _default(field), _prose(field.description))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(kind: Any) -> str:
    """Say a type as somebody would who writes TOML."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in parts if part is not type(None)))
    if origin in (tuple, list, frozenset, set):
        return f"list of {_kind(parts[0])}" if parts else "list"
    if origin is dict:
        return "table"
    if origin is not None:  # Annotated
        return _kind(parts[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[table](#{_slug(kind)})"
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "*required*"
    if default is None:
        return ""
    if isinstance(default, BaseModel) or (
        isinstance(default, tuple) and any(isinstance(each, BaseModel) for each in default)
    ):
        return "its defaults"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        default = list(default)
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def _slug(model: type[BaseModel]) -> str:
    return model.__name__.lower()


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())
