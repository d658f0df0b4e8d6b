"""A whole run on texts and ids full of markup: shown as text everywhere, and nothing is pickled."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from polymine.data_contracts.settings import (
    AdaptedModel,
    DatasetSettings,
    EngineSettings,
    EvaluationSettings,
    LoraSettings,
    LossSettings,
    MiningSettings,
    OutputSettings,
    ScheduleSettings,
    TrainingSettings,
)
from polymine.flows.pipeline import pipeline
from tests.pickle_scan import find_pickles
from tests.small import BM25, MINILM, animal_tables, save_small_encoder

pytestmark = pytest.mark.flow
PAYLOADS = [
    "<script>alert('pwned')</script>",
    "</script><script>alert('pwned')</script>",
    "<img src=x onerror=alert('pwned')>",
    '"><svg onload=alert("pwned")>',
    "' onmouseover='alert(`pwned`)",
    "[pwned](javascript:alert('pwned'))",
    "![pwned](javascript:alert('pwned'))",
    "</p></details></style></title></textarea><iframe srcdoc='pwned'>",
    "{{ 7 * 7 }}{% raw %}pwned",
    "```\n</code></pre><script>alert('pwned')</script>",
    "--- \n# pwned\n| a | b |\n<!-- pwned",
    "<a href='javascript:alert(`pwned`)'>pwned</a>&lt;b&gt;",
]
EVENTS = re.compile(r"^on|^srcdoc$|^formaction$")


class Elements(HTMLParser):
    """Collects all that a page consists of; what is between the tags is of no interest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        for name, value in attrs:
            assert not EVENTS.match(name), f"<{tag} {name}>"
            assert "pwned" not in (value or "") or name in ("aria-label",), (
                f"<{tag} {name}={value}>"
            )
            assert not (value or "").strip().lower().startswith("javascript:")

    def handle_comment(self, data: str) -> None:
        assert "pwned" not in data

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def ran(prefect_server, tmp_path_factory) -> tuple[Path, Path, str]:
    folder = tmp_path_factory.mktemp("hostile")
    documents, queries, judgments = (table.to_dicts() for table in animal_tables())
    new = {row["doc_id"]: f"{row['doc_id']}{payload}" for row, payload in
           zip(documents, PAYLOADS * 6, strict=True)}  # fmt: skip
    asked = {row["query_id"]: f"{row['query_id']}{payload}" for row, payload in
             zip(queries, PAYLOADS * 3, strict=True)}  # fmt: skip
    for row, payload in zip(documents, PAYLOADS * 6, strict=True):
        row |= {"doc_id": new[row["doc_id"]], "text": f"{row['text']} {payload}"}
    for row, payload in zip(queries, PAYLOADS * 3, strict=True):
        row |= {"query_id": asked[row["query_id"]], "text": f"{payload} {row['text']}"}
    for row in judgments:
        row |= {"query_id": asked[row["query_id"]], "doc_id": new[row["doc_id"]]}
    documents.append({"doc_id": "<b>pwned", "text": "", "language": "<i>pwned</i>"})
    files = {}
    tables = {"corpus": documents, "queries": queries, "judgments": judgments}
    inputs = folder / "in<img src=x onerror=alert('pwned')>"
    inputs.mkdir()
    for name, rows in tables.items():
        files[name] = str(inputs / f"{name}.jsonl")
        Path(files[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, store = folder / "run`<u>pwned<!-- [x](javascript:y)", folder / "store"
    training = TrainingSettings(
        base=AdaptedModel(
            model=save_small_encoder(folder / "base`<b>pwned"), dtype="float32",
            query_prompt="<script>pwned</script>` ",
        ), checkpoint_steps=1,
        schedule=ScheduleSettings(steps=3, batch=8, mini_batch=8),
        loss=LossSettings(negatives=2), lora=LoraSettings(rank=4),
    )  # fmt: skip
    pipeline(
        dataset=DatasetSettings(**files, on_invalid="quarantine"),
        output=OutputSettings(path=str(out)),
        mining=MiningSettings(teachers=(MINILM, BM25), negatives=2, depth=10),
        training=training,
        evaluation=EvaluationSettings(held_out=0.25, resamples=100),
        engine=EngineSettings(store=str(store), threads=2),
    )
    return out, store, training.base


def test_no_page_holds_an_element_or_attribute_that_came_from_the_data(ran):
    pages = sorted(ran[0].rglob("*.html"))
    assert len(pages) >= 4
    shown = 0
    for page in pages:
        elements = Elements()
        elements.feed(page.read_text(encoding="utf-8"))
        assert not {"script", "iframe", "img", "object", "embed"} & set(elements.found), page
        text = "".join(elements.texts)
        assert "{{ 7 * 7 }}" in text or "49{" not in text
        shown += "alert('pwned')" in text
    assert shown, "no page shows a text of the data, so nothing was proved"


def test_the_cards_hold_no_markup_of_the_data(ran):
    cards = [*ran[0].rglob("*.md")]
    assert cards
    for card in cards:
        check_markdown(card.read_text(encoding="utf-8"), card)


def test_the_artifacts_in_the_ui_hold_none_either(ran):
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(limit=200)
    texts = [str(artifact.data) for artifact in artifacts if artifact.type == "markdown"]
    assert any("pwned" in text for text in texts)
    for text in texts:
        check_markdown(text, "artifact")


def test_nothing_that_a_run_writes_is_a_pickle(ran):
    out, store, _ = ran
    assert find_pickles(out, store) == []


def check_markdown(text: str, where: object) -> None:
    """Outside of code, no tag and no link may be left of what the data hold."""
    fenced = re.sub(r"^(```+).*?^\1\s*$", "", text, flags=re.S | re.M)
    fenced = fenced.replace("\\`", "")  # an escaped one begins no code
    bare = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", fenced, flags=re.S)
    bare = re.sub(r"\A---\n.*?\n---\n", "", bare, flags=re.S)  # YAML
    for tag in re.findall(r"<[a-zA-Z/!][^>]*>?", bare):
        assert tag.strip("</>").split()[0] in ("details", "summary"), (where, tag)
    assert not re.search(r"(?<!\\)\]\((?!data:|https?:|#)[^)]*javascript", bare), where
