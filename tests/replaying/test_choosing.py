"""The recipe of a table: named, or recognised by its columns, or the generic one."""

import pytest

from modelkeep import Field, NotFound, Policy, Recipe, Workload
from modelkeep.replaying import choosing

REPLAYED = ("event_time", "entity", "label", "label_time")


@pytest.fixture
def known(monkeypatch):
    """Two workloads beside the generic one; one recipe is more particular than the other."""

    def recipe(name, *columns, forms=()):
        fields = tuple(Field(name=column, kind="number") for column in columns)
        return Recipe(model=name, summary=name, columns=fields, prepare="a:b", policy=Policy(model=name), forms=forms)

    stalls = Workload(
        name="stalls",
        summary="Stalls",
        recipes=(
            recipe("stalls-sales", "day", "sales", forms=(("stall",),)),
            recipe("stalls-heat", "day", "sales", "heat"),
        ),
    )
    found = choosing.find
    monkeypatch.setattr(choosing, "BUILT_IN", {"stalls": "", "any": ""})
    monkeypatch.setattr(choosing, "find", lambda name: stalls if name == "stalls" else found(name))
    return stalls


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("columns", "model"),
    [
        (("day", "sales"), "stalls-sales"),
        (("day", "sales", "heat", "more"), "stalls-heat"),
        ((*REPLAYED, "stall"), "stalls-sales"),
        (("stall",), "any"),  # a form counts for tables in replay form only
        ((*REPLAYED, "x"), "any"),
    ],
)
def test_the_most_particular_recipe_that_the_columns_allow_is_taken(columns, model):
    assert choosing.choose(columns).recipe.model == model


@pytest.mark.usefixtures("known")
def test_a_named_recipe_is_taken_and_a_wrong_name_is_told_with_near_ones():
    assert choosing.choose(("x",), "stalls/stalls-heat").recipe.model == "stalls-heat"
    assert choosing.choose(("day", "sales"), "stalls").recipe.model == "stalls-sales"
    with pytest.raises(NotFound, match="stall"):
        choosing.choose(("x",), "stalls/stalls-head")
    with pytest.raises(NotFound, match="stals"):
        choosing.choose(("x",), "stals")


def test_the_generic_recipe_takes_the_name_that_it_is_given():
    chosen = choosing.choose(("label",), "any/elec2")
    assert (chosen.recipe.model, chosen.recipe.policy.model) == ("elec2", "elec2")
    assert choosing.choose(("label",), "any/elec2", history=True).recipe.prepare.endswith("prepare_with_history")
