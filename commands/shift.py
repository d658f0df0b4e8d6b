"""`polymine shift`: a model without what each language adds to its vectors."""

from pathlib import Path


def shift(file: Path, model: str, chosen: str | None, to: Path | None) -> str:
    """Write the shifted model and say where; refuses a folder that is there."""
    from polymine.data_contracts.settings import GapRunSettings, load_as
    from polymine.tasks.engine.context import Context
    from polymine.tasks.engine.threads import limited_threads
    from polymine.tasks.evaluation.shifting import save_shifted

    settings = load_as(GapRunSettings, file)
    target = to or Path(f"{model}-shifted")
    set_name = chosen or settings.gap.sets[0].name
    with limited_threads(settings.engine):
        run = Context.of(settings.engine)
        languages = save_shifted(run, settings.gap, model, set_name, target)
    return (
        f"{target}: {model} without the offsets of {', '.join(languages)}, from {set_name}; "
        f'encode with `language="{languages[0]}"`'
    )
