"""The table of acts, and the Python face."""

from collections import Counter

import msgspec
import pytest
from migrated import ready

from modelkeep import settings
from modelkeep.app import App
from modelkeep.errors import BadInput, NotFound
from modelkeep.jobs.registering import Registration, register
from modelkeep.nouns import Field, Rollout, Signature
from modelkeep.operations import OPERATIONS, alerts, jobs, models, named, outcomes, predictions, releases, status
from modelkeep.operations.act import moment, stamp

SIGNATURE = Signature(inputs=(Field(name="x", kind="number"),), output=Field(name="y", kind="number"))


@pytest.fixture
def app(tmp_path):
    ready(tmp_path / "data" / "modelkeep.db")
    with App.open(settings.load(folder=tmp_path / "data", environ={})) as found:
        file = tmp_path / "m.py"
        file.write_text("def predict(row):\n    return 2.0 * row['x']\n")
        register(found.rooms, Registration(model="doubler", path=file, trust=True, signature=SIGNATURE))
        yield found


@pytest.mark.parametrize("field", ["name", "request", "words"])
def test_every_act_is_one_of_a_kind(field):
    seen = Counter(getattr(operation, field) for operation in OPERATIONS if getattr(operation, field))
    assert [value for value, n in seen.items() if n > 1] == []
    assert len({(o.method, o.path) for o in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_act_is_whole(operation):
    fields = {f.encode_name for f in msgspec.structs.fields(operation.request)}
    in_path = {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}
    assert in_path <= fields
    assert set(operation.plain) <= fields
    assert 20 < len(operation.summary) < 125
    assert operation.request.__doc__
    assert operation.result.__doc__
    assert operation.request.__struct_config__.frozen
    assert named(operation.name) is operation


def test_acts_are_done_in_python_without_a_server(app):
    listed = models.list_models(app, models.ListModels()).models
    assert [(model.model, model.state) for model in listed] == [("doubler", "candidate")]
    plan = releases.release(app, releases.Release(model="doubler", number=1))
    assert "modelkeep up" in plan.plan[-1]
    assert [job.id for job in jobs.list_jobs(app, jobs.ListJobs()).jobs] == [plan.job]
    with pytest.raises(NotFound, match="released version"):
        predictions.predict(app, predictions.Predict(model="doubler", features={"x": 3}))
    with app.rooms.store.write() as ledger:
        ledger.rollouts.put(Rollout(model="doubler", champion=1), None)
    answer = predictions.predict(app, predictions.Predict(model="doubler", features={"x": 3}))
    assert answer.prediction == 6.0
    many = predictions.predict(app, predictions.Predict(model="doubler", rows=(predictions.Row(features={"x": 1}),)))
    assert [one.prediction for one in many.predictions] == [2.0]
    told = outcomes.tell_outcomes(app, outcomes.TellOutcomes(prediction_id=answer.prediction_id, actual=7))
    assert told.outcomes[0].state == "joined"
    assert status.status(app, status.ReadStatus()).serving is False


def test_what_cannot_be_is_refused(app):
    with pytest.raises(NotFound, match="dubler"):
        models.list_versions(app, models.ListVersions(model="dubler"))
    with pytest.raises(BadInput, match="severity"):
        alerts.list_alerts(app, alerts.ListAlerts(severity="urgent"))


def test_times_go_out_with_a_z_and_come_in_as_people_write_them():
    assert msgspec.json.encode(stamp(0.5)) == b'"1970-01-01T00:00:00.500000Z"'
    assert moment("1970-01-02", "for") == 86400.0
    assert moment(12.5, "for") == 12.5
    assert moment(None, "for") is None
    with pytest.raises(BadInput, match="for"):
        moment("soon", "for")
