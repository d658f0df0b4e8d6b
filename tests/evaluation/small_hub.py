"""Made-up rows in the shapes of the hub, and MTEB's reading of them in plain Python."""

from pathlib import Path

import polars as pl


def belebele_rows(languages: tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Three passages with two questions each; two questions read the same in English alone."""
    rows: dict[str, list[dict[str, object]]] = {language: [] for language in languages}
    for language in languages:
        for number in range(6):
            passage, place = divmod(number, 2)
            text = f"{language}: question {number}?"
            if language == "en" and number in (0, 2):
                text = "en: who was it?"
            rows[language].append(
                {
                    "link": f"https://news/{passage}",
                    "question_number": place + 1,
                    "flores_passage": f"{language} passage {passage}",
                    "question": text,
                    **{f"mc_answer{i + 1}": f"{language} {'abcd'[i]}" for i in range(4)},
                    "correct_answer_num": str(number % 4 + 1),
                }
            )
    # The later row of a passage differs, as a stray space would: the first is the document.
    for language in languages:
        rows[language][3]["flores_passage"] = f"{language} passage 1, again"
    return {language: pl.DataFrame(items) for language, items in rows.items()}


def mteb_belebele(
    documents: pl.DataFrame, queries: pl.DataFrame
) -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Corpus, queries and relevant documents of one direction, as MTEB's task describes them."""
    numbers: dict[str, int] = {}
    for question in queries["question"]:
        numbers.setdefault(question, len(numbers))
    corpus: dict[str, str] = {}
    by_link: dict[str, str] = {}
    for row in documents.to_dicts():
        if row["link"] not in by_link:
            by_link[row["link"]] = f"C{len(by_link)}"
            corpus[by_link[row["link"]]] = row["flores_passage"]
    asked: dict[str, str] = {}
    relevant: dict[str, set[str]] = {}
    for row in queries.to_dicts():
        query = f"Q{numbers[row['question']]}"
        asked[query] = row["question"]
        relevant.setdefault(query, set()).add(by_link[row["link"]])
    return corpus, asked, relevant


def write_hub_folder(folder: Path, files: dict[str, pl.DataFrame], split: str) -> None:
    """A copy of a data set as the hub lays it out: files, and configurations in the README."""
    lines = ["---", "configs:"]
    for config, frame in files.items():
        (folder / "data").mkdir(exist_ok=True)
        frame.write_ndjson(folder / "data" / f"{config}.jsonl")
        lines += [
            f"- config_name: {config}",
            "  data_files:",
            f"  - split: {split}",
            f"    path: data/{config}.jsonl",
        ]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
