"""What workloads add to an app, and what is refused when two want the same."""

import asyncio
import sys
import types

import pytest

from modelkeep import (
    App,
    BadFeatures,
    BadInput,
    BadSettings,
    Conflict,
    Done,
    Extension,
    Field,
    ManualClock,
    NotFound,
    Outcome,
    Policy,
    Reading,
    Schedule,
    Settings,
    Signature,
    Workload,
    settings,
)
from modelkeep.extending import BUILT_IN
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Rollout
from modelkeep.store.datasets import Datasets


def rule(name, condition="value > 1", **more):
    extra = "".join(f"{key} = {value!r}\n" for key, value in more.items())
    return f'[[rule]]\nname = "{name}"\nreading = "heat"\ncondition = "{condition}"\n{extra}'


def idle(rooms, run):
    return Done()


@pytest.fixture
def package(monkeypatch):
    """Extensions as attributes of an importable module ``theirs``."""
    module = types.ModuleType("theirs")
    monkeypatch.setitem(sys.modules, "theirs", module)

    def put(**found):
        for name, extension in found.items():
            setattr(module, name, extension)
        return tuple(f"theirs:{name}" for name in found)

    return put


@pytest.fixture
def opened(tmp_path):
    apps = []

    def make(names, **more):
        apps.append(
            App.open(Settings(folder=tmp_path / "data", workloads=tuple(names), **more), clock=ManualClock(1e9))
        )
        return apps[-1]

    yield make
    for app in apps:
        app.stop()


# ------------------------------------------------------------------------------------------------ the setting


def test_all_five_come_along_unless_the_owner_says_otherwise(tmp_path):
    assert settings.load(folder=tmp_path, environ={}).workloads == tuple(BUILT_IN)
    (tmp_path / "modelkeep.toml").write_text('workloads = ["any", "devices"]')
    assert settings.load(folder=tmp_path, environ={}).workloads == ("any", "devices")
    assert settings.load(folder=tmp_path, environ={"MODELKEEP_WORKLOADS": "any,a.b:C"}).workloads == ("any", "a.b:C")


def test_no_workload_at_all_is_fine(opened):
    app = opened(())
    assert app.extensions == ()
    assert {"deliver", "tidy", "watch", "report"} <= set(app.schedules)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("driling", "names 'driling'"),
        ("no.such:THING", "No module named 'no'"),
        ("theirs:NOTHING", "has no attribute 'NOTHING'"),
        ("theirs:NUMBER", "is int, not a Workload"),
        ("theirs:UPPER", "is named 'Upper Case'"),
    ],
)
def test_an_unknown_workload_is_refused_with_the_names_that_there_are(package, tmp_path, name, said):
    package(NUMBER=7, UPPER=Extension(name="Upper Case"))
    (tmp_path / "modelkeep.toml").write_text(f"# mine\nworkloads = [{name!r}]\n")
    found = settings.load(folder=tmp_path, environ={})
    with pytest.raises(BadSettings) as refusal:
        App.open(found)
    assert said in str(refusal.value)
    if "UPPER" not in name:
        assert "weight, drilling, restaurants, any, devices" in str(refusal.value)
    if name == "driling":
        assert "modelkeep.toml, line 2" in str(refusal.value)


# ------------------------------------------------------------------------------------------------ what is joined


def test_tasks_schedules_rules_and_probes_join_the_products(package, opened, tmp_path):
    def probe(rooms):
        yield Reading(name="heat", subject="one/a", value=2.0, level="warning", at=rooms.clock.now(), n=1)

    one = Workload(
        name="one", summary="one", rules=rule("hot") + rule("lost_skill_once", summary="{detail}"), probes=(probe,),
        tasks={"one_idle": idle}, schedules={"nightly": Schedule(task="one_idle", when="0 2 * * *")},
    )  # fmt: skip
    two = Extension(name="two", schedules={"again": Schedule(task="one_idle", when="every 1h")})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.toml").write_text('[[rule]]\nname = "hot"\ncondition = "value > 9"\n')
    app = opened(
        package(ONE=one, TWO=two),
        alerts=settings.sections.AlertsSettings(rules="mine.toml"),
        schedules={"nightly": Schedule(task="one_idle", when="0 5 * * *")},
    )
    assert [each.name for each in app.extensions] == ["one", "two"]
    assert app.tasks["one_idle"] is idle
    assert app.schedules["nightly"].when == "0 5 * * *"  # the owner's word is the last
    assert app.schedules["again"].when == "every 1h"
    found = {each.name: each for each in app.rooms.book.rules}
    assert found["hot"].condition == "value > 9"  # the same
    assert "lost_skill_once" in found
    assert [each.workload for each in app.probes if each.workload == "one"] == ["one"]


def test_a_workload_may_change_a_rule_of_the_product(package, opened):
    name = opened(()).rooms.book.rules[0].name
    app = opened(package(ONE=Extension(name="one", rules=f'[[rule]]\nname = "{name}"\nsummary = "mine"\n')))
    assert next(each.summary for each in app.rooms.book.rules if each.name == name) == "mine"


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ({"rules": rule("hot")}, {"rules": rule("hot")}, "the rule 'hot' is set by workload one and workload two"),
        ({"rules": "[[rule]]\nname=3"}, {}, "workload one:2: name"),
        ({"rules": rule("x", "value >")}, {}, "workload one:4: condition"),
        (
            {"tasks": {"idle": idle}},
            {"tasks": {"idle": idle}},
            "the task 'idle' is set by workload one and workload two",
        ),
        ({"tasks": {"watch": idle}}, {}, "the task 'watch' is set by the product and workload one"),
        (
            {"schedules": {"tidy": Schedule(task="tidy", when="every 1h")}},
            {},
            "the schedule 'tidy' is set by the product",
        ),
        ({"schedules": {"x": Schedule(task="tidi", when="every 1h")}}, {}, "schedule x: no task 'tidi'"),
        ({"schedules": {"x": Schedule(task="tidy", when="never")}}, {}, "workload one: schedule x.when"),
        ({"policies": (Policy(model="m"),)}, {"policies": (Policy(model="m"),)}, "the policy of the model 'm'"),
    ],
)
def test_two_of_one_name_and_what_cannot_be_are_refused_at_the_start(package, opened, one, two, said):
    with pytest.raises(BadSettings) as refusal:
        opened(package(ONE=Extension(name="one", **one), TWO=Extension(name="two", **two)))
    assert said in str(refusal.value)


def test_one_workload_twice_is_refused(package, opened):
    with pytest.raises(BadSettings, match="two are named 'one'"):
        opened(package(ONE=Extension(name="one"), TWO=Extension(name="one")))


def test_a_dataset_stands_in_the_data_folder(opened, tmp_path):
    app = opened(())
    assert isinstance(app.rooms.datasets, Datasets)
    app.rooms.datasets.open("d", columns=[Field(name="x", kind="number")], time="at").append({"at": [1.0], "x": [2.0]})
    assert (tmp_path / "data" / "datasets" / "d" / "dataset.json").exists()


# ------------------------------------------------------------------------------------------------ asking


@pytest.fixture
def asked(opened, tmp_path):
    """An app with the model ``double`` (y = 2 x), released; nothing serves."""
    app = opened(())
    file = tmp_path / "double.py"
    file.write_text("def predict(row):\n    return 2.0 * row['x']\n")
    fields = (Field(name="x", kind="number", low=-10, high=10),)
    made = Registration(
        model="double", path=file, trust=True, metrics={"mae": 1.0},
        signature=Signature(inputs=fields, output=Field(name="y", kind="number")),
    )  # fmt: skip
    version = register(app.rooms, made)
    with app.rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="double", champion=version.number), None)
    return app


def test_an_app_asks_and_tells_without_a_server(asked):
    found = asked.predict(
        "double", [{"x": 1.0}, {"x": 2.0}], keys=["a", "b"], targets=[5.0, 6.0], subject="me", request="r"
    )
    assert [(p.output, p.key, p.target, p.subject, p.request) for p in found] == [
        (2.0, "a", 5.0, "me", "r"),
        (4.0, "b", 6.0, "me", "r"),
    ]
    told = asked.tell(
        [Outcome(prediction=found[0].id, value=3.0, at=1e9), Outcome(prediction="9-9", value=1.0, at=1e9)]
    )
    assert [each.state for each in told] == ["joined", "orphan"]
    assert asked.tell([]) == []


def test_what_cannot_be_asked_is_refused_as_a_clients_is(asked):
    for model, rows, kind, said in [
        ("duble", [{"x": 1.0}], NotFound, "no model 'duble'"),
        ("double", [{"x": 99.0}], BadFeatures, "x: expected number -10..10"),
        ("double", [], BadInput, "at least one"),
    ]:
        with pytest.raises(kind, match=said):
            asked.predict(model, rows)
    with pytest.raises(BadInput, match="keys: expected none, or one for each of 1 rows"):
        asked.predict("double", [{"x": 1.0}], keys=["a", "b"])


def test_waiting_in_the_servers_own_loop_is_refused_instead_of_hanging(asked):
    async def serve():
        loop = asyncio.get_running_loop()
        with asked.rooms.client.at_home(loop):
            with pytest.raises(Conflict, match="own event loop"):
                asked.predict("double", [{"x": 1.0}])
            (found,) = await loop.run_in_executor(None, asked.predict, "double", [{"x": 1.0}])
            return found.output

    with pytest.raises(NotFound):
        asked.predict("none", [{"x": 1.0}])
    asked.predict("double", [{"x": 1.0}])
    assert asyncio.run(serve()) == 2.0
