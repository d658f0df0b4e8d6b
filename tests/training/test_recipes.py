"""Recipes written out by hand, routes, and everything that is refused before any work."""

import re

import pytest

from polymine.data_contracts.errors import SettingsError
from polymine.data_contracts.settings import (
    LoraSettings,
    LossSettings,
    RecipeSettings,
    ScheduleSettings,
    StepSettings,
    TrainingData,
    TrainingSettings,
)
from polymine.training.recipes import check, expand, routes

CROSS = TrainingData(parallel="pairs.parquet")


def recipe(name: str, *languages: str, **settings) -> TrainingSettings:
    settings = {"cross": None if name == "mono" else CROSS, "per_language": True} | settings
    made = RecipeSettings(name=name, languages=languages or None, **settings)
    return TrainingSettings(recipe=made)


def step(name: str, adapter: str = "new", on: str | None = None, **settings) -> StepSettings:
    return StepSettings(name=name, adapter=adapter, on=on, **settings)


def outline(training: TrainingSettings) -> list[tuple]:
    """(name, adapter, on, languages, language pairs of each part of the data) of every step."""
    return [
        (made.name, made.adapter, made.on, made.languages, [part.languages for part in made.data])
        for made in expand(training)
    ]


class TestExpand:
    def test_without_recipe_one_adapter_learns_from_all_that_is_mined(self):
        (made,) = expand(TrainingSettings())
        assert (made.name, made.adapter, made.languages) == ("mono", "new", None)
        assert made.data == (TrainingData(triplets="mined"),)

    def test_steps_written_out_are_left_as_they_are(self):
        steps = (step("one"), step("two", "stack"))
        assert expand(TrainingSettings(steps=steps)) == steps

    def test_mono_per_language(self):
        assert outline(recipe("mono", "ru", "en")) == [
            ("mono-ru", "new", None, ("ru",), [("ru-ru",)]),
            ("mono-en", "new", None, ("en",), [("en-en",)]),
        ]

    def test_cross_needs_no_step_for_the_pivot(self):
        assert outline(recipe("cross", "ru", "en")) == [
            ("cross-ru", "new", None, ("ru",), [("ru-en", "en-ru")])
        ]

    def test_mixed_shares_the_batches(self):
        training = recipe("mixed", "ru", "de", pivot="de", share=0.2)
        assert outline(training) == [
            ("mixed-ru", "new", None, ("ru",), [("ru-ru",), ("ru-de", "de-ru")]),
            ("mono-de", "new", None, ("de",), [("de-de",)]),
        ]
        assert [part.share for part in expand(training)[0].data] == pytest.approx([0.8, 0.2])

    @pytest.mark.parametrize(
        ("name", "adapter"), [("sequential", "continue"), ("stacked", "stack")]
    )
    def test_second_step_stands_on_the_first_of_its_language(self, name, adapter):
        assert outline(recipe(name, "ru", "en", "ar")) == [
            ("mono-ru", "new", None, ("ru",), [("ru-ru",)]),
            ("cross-ru", adapter, "mono-ru", ("ru",), [("ru-en", "en-ru")]),
            ("mono-en", "new", None, ("en",), [("en-en",)]),
            ("mono-ar", "new", None, ("ar",), [("ar-ar",)]),
            ("cross-ar", adapter, "mono-ar", ("ar",), [("ar-en", "en-ar")]),
        ]

    def test_one_adapter_for_all_languages(self):
        mono, cross = ("ru-ru", "ar-ar", "en-en"), ("ru-en", "en-ru", "ar-en", "en-ar")
        assert outline(recipe("stacked", "ru", "ar", "en", per_language=False)) == [
            ("mono", "new", None, None, [mono]),
            ("cross", "stack", "mono", None, [cross]),
        ]

    def test_pairs_of_every_language_with_every_other(self):
        ((*_, (pairs,)),) = outline(recipe("cross", "ru", "ar", per_language=False, pairs="all"))
        assert pairs == ("ru-ar", "ar-ru", "ru-en", "en-ru", "ar-en", "en-ar")
        with pytest.raises(ValueError, match="are for one adapter"):
            recipe("cross", "ru", "ar", pairs="all")

    def test_languages_mix_in_one_adapter_alone(self):
        schedule = ScheduleSettings(mixed_languages=True)
        of_one = RecipeSettings(name="mono", languages=("ru", "ar"), per_language=True)
        with pytest.raises(ValueError, match=r"leave out `recipe.per_language`"):
            TrainingSettings(recipe=of_one, schedule=schedule)
        with pytest.raises(ValueError, match="leave out the step's `languages`"):
            step("one", languages=("ru",), schedule=schedule)

    def test_settings_of_the_run_are_those_of_its_steps(self):
        shared = {
            "lora": LoraSettings(rank=3),
            "loss": LossSettings(negatives=2),
            "schedule": ScheduleSettings(batch=8),
            "seed": 7,
        }
        training = recipe("stacked", "ru").model_copy(update=shared)
        for made in expand(training):
            assert {name: getattr(made, name) for name in shared} == shared

    def test_languages_of_a_part_narrow_it(self):
        cross = TrainingData(parallel="pairs.parquet", languages=("en-ru", "en-ar"))
        assert outline(recipe("cross", "ru", cross=cross))[0][-1] == [("en-ru",)]
        with pytest.raises(SettingsError, match=r"none of the language pairs.*fa-en, en-fa"):
            expand(recipe("cross", "fa", cross=cross))

    @pytest.mark.parametrize("name", ["mono", "cross", "mixed", "sequential", "stacked"])
    @pytest.mark.parametrize("per_language", [True, False])
    def test_every_recipe_passes_the_checks(self, name, per_language):
        check(expand(recipe(name, "ru", "en", "ar", per_language=per_language)))

    def test_what_contradicts_the_recipe_is_refused(self):
        with pytest.raises(SettingsError, match="`Russian` is no language"):
            expand(recipe("mono", "Russian"))
        with pytest.raises(SettingsError, match="twice"):
            expand(recipe("mono", "ru", "ru"))
        mono = TrainingData(triplets="mined", share=1.0)
        with pytest.raises(SettingsError, match=r"recipe.mono: leave out its `share`"):
            expand(recipe("mono", "ru", mono=mono))


class TestRoutes:
    def test_a_language_goes_to_the_last_step_trained_on_it(self):
        training = recipe("stacked", "ru", "en")
        assert routes(expand(training), training) == {
            "*": "base",
            "ru": "cross-ru",
            "en": "base",  # what Russian was aligned with
        }
        mono = recipe("mono", "ru", "en")
        assert routes(expand(mono), mono)["en"] == "mono-en"

    def test_a_later_step_on_all_languages_takes_them_over(self):
        steps = (step("ru", languages=("ru",)), step("all", "stack"), step("ar", languages=("ar",)))
        training = TrainingSettings(steps=steps)
        assert routes(steps, training) == {"*": "all", "ar": "ar"}

    def test_given_routes_change_the_languages_they_name(self):
        training = recipe("stacked", "ru", "en").model_copy(update={"routes": {"en": "base"}})
        expected = {"*": "base", "ru": "cross-ru", "en": "base"}
        assert routes(expand(training), training) == expected

    def test_given_routes_with_all_others_are_all_there_are(self):
        given = {"*": "mono-ru", "en": "base"}
        training = recipe("stacked", "ru", "en").model_copy(update={"routes": given})
        assert routes(expand(training), training) == given

    def test_unknown_steps_and_languages_are_refused(self):
        training = recipe("mono", "ru").model_copy(update={"routes": {"ru": "momo-ru"}})
        with pytest.raises(SettingsError, match=r"`momo-ru`.*did you mean `mono-ru`"):
            routes(expand(training), training)
        training = training.model_copy(update={"routes": {"russian": "mono-ru"}})
        with pytest.raises(SettingsError, match="`russian` is no language"):
            routes(expand(training), training)


PAIRS = {"languages": ("ar-ar",)}


class TestCheck:
    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ((), "no steps"),
            ((step("one"), step("one")), "step `one`: an earlier step has that name"),
            ((step("one", "stack"),), "step `one`: the first step has nothing to stack on"),
            ((step("one", "continue"),), "step `one`: the first step has nothing to continue on"),
            ((step("one", "stack", on="one"),), "step `one`: its adapter cannot stack on itself"),
            ((step("one", "stack", on="two"), step("two")), "`two` comes later"),
            ((step("mono"), step("two", "stack", on="momo")), "did you mean `mono`"),
            (
                (step("one"), step("two", "continue", lora=LoraSettings(rank=4))),
                "step `two`: continues the adapter of `one`, whose lora.rank is 16, with 4",
            ),
            (
                (step("one", loss=LossSettings(kind="distill"), data=(CROSS,)),),
                "step `one`, data 1: loss `distill`",
            ),
            (
                (step("one", languages=("ru",), data=(TrainingData(triplets="mined", **PAIRS),)),),
                "no text of ar-ar passes through an adapter for ru",
            ),
        ],
    )
    def test_refused(self, steps, message):
        with pytest.raises(SettingsError, match=re.escape(message)):
            check(steps)

    def test_a_folder_must_hold_an_adapter(self, tmp_path):
        steps = (step("two", "stack", on=str(tmp_path)),)
        with pytest.raises(SettingsError, match=r"has no adapter_config.json"):
            check(steps)
        (tmp_path / "adapter_config.json").write_text("{}")
        check(steps)

    def test_dropout_may_change_and_stacked_adapters_have_any_shape(self):
        one = step("one")
        check((one, step("two", "continue", lora=LoraSettings(dropout=0.1))))
        check((one, step("two", "stack", lora=LoraSettings(rank=4))))
