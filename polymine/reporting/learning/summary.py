"""The short form of a learning page, as Markdown: headline, table, where things lie."""

from polymine.reporting.formatting import (
    code,
    format_count,
    format_gain,
    format_interval,
    format_score,
    plain,
)
from polymine.reporting.learning.data import LearningReport
from polymine.reporting.learning.tables import Gain, list_arms, list_results, list_scores
from polymine.reporting.learning.words import (
    VERDICTS,
    describe_contamination,
    name_metric,
    name_pair,
)


def write_learning_summary(report: LearningReport) -> str:
    """Write the headline, the notes, a table of gains and links to the files."""
    lines = [f"# {plain(report.headline)}", ""]
    lines += [
        f"- {'**Check this:** ' if note.level == 'warning' else ''}{plain(note.text)}"
        for note in report.notes
    ]
    if report.contamination is not None:
        lines.append(f"- {describe_contamination(report.contamination)}")
    lines += ["", *write_gains(report)]
    if report.files:
        lines += ["", "## Where it lies", ""]
        lines += [
            f"- {code(file.path)}: {plain(file.about or file.name)}" for file in report.files
        ]  # fmt: skip
    return "\n".join(lines)


def write_gains(report: LearningReport) -> list[str]:
    """List arms, sets and other tasks as lines of one Markdown table; none without numbers."""
    rows = [
        _row(arm.set, arm.arm, arm.together, report.k, "") for arm in list_arms(report.arms)
    ] + [
        _row(result.set, result.model, gain, report.k, format_count(gain.queries))
        for result in list_results(report.comparisons)
        for gain in result.overall[:1]
    ]
    for score in list_scores(report.scores):
        pair = name_pair(score["document_language"], score["query_language"])
        gain: Gain = score["row"]
        name, cases = f"{score['set']}, {pair}", format_count(gain.queries)
        rows.append(_row(name, score["model"], gain, report.k, cases))
    if not rows:
        return []
    sure = f"{report.confidence:.0%}".replace("%", " %")
    head = f"| set | model | measure | base | trained | gain | {sure} interval | | queries |"
    return [head, "|---|---|---|--:|--:|--:|--:|---|--:|", *rows]


def _row(name: str, model: str, gain: Gain, k: int, queries: str) -> str:
    cells = [
        plain(name), plain(model), plain(name_metric(gain.metric, k)), format_score(gain.base),
        format_score(gain.value), format_gain(gain.gain), format_interval(gain.low, gain.high),
        VERDICTS[gain.verdict], queries,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"
