import json
from pathlib import Path

import pytest

from modelkeep.errors import BadSettings
from modelkeep.nouns import Policy
from modelkeep.settings import MASK, Secret, Settings, listing, load, variables
from modelkeep.settings.known import leaves

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "modelkeep.toml"


def read(file, text, environ=None, **flags):
    file.write_text(text)
    return load(file=file, environ=environ or {}, flags={k.replace("_", "."): v for k, v in flags.items()})


def test_later_layers_win_and_every_value_knows_its_source(file):
    text = "[server]\nlisten = [9000]\nbody = '1MB'\n\n[watch]\nevery = '5m'\n[jobs]\nworkers = 3\n"
    found = read(file, text, {"MODELKEEP_WATCH_EVERY": "10m", "MODELKEEP_JOBS_WORKERS": "4"}, jobs_workers=5)
    assert (found.server.listen, found.server.body) == ((9000,), 1024**2)
    assert (found.watch.every, found.jobs.workers) == (600.0, 5)
    assert found.source("server.listen") == "modelkeep.toml, line 2"
    assert found.source("watch.every") == "environment MODELKEEP_WATCH_EVERY"
    assert found.source("jobs.workers") == "flag jobs.workers"
    assert found.source("logs.level") == "default"


@pytest.mark.row("CFG-06")
@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("[server]\nlissten = 1", {}, "modelkeep.toml, line 2: server.lissten is unknown, did you mean server.listen"),
        ("[sever]\nlisten = 1", {}, "line 1: sever is unknown, did you mean server"),
        ("[models.churn]\nhorizn = 1", {}, "models.churn.horizn is unknown, did you mean models.churn.horizon"),
        ("[models.churn]\nnumber = 1", {}, "models.churn.number is unknown"),
        ("", {"MODELKEEP_WATCH_EVRY": "1m"}, "MODELKEEP_WATCH_EVRY is unknown, did you mean MODELKEEP_WATCH_EVERY"),
        ("sources = 1", {}, "sources is unknown"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest_name_and_its_place(file, text, environ, message):
    with pytest.raises(BadSettings) as refusal:
        read(file, text, environ)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "environ", "parts"),
    [
        ("[server]\nlisten = [70000]", {}, ["server.listen", "70000", "line 2", "65535"]),
        ("[watch]\nevery = -1", {}, ["watch.every", "-1", ">= 0"]),
        ("[watch]\nevery = true", {}, ["watch.every", "duration"]),
        ("[watch]\nevery = nan", {}, ["watch.every", "finite"]),
        ("[jobs]\nworkers = 'two'", {}, ["jobs.workers", "'two'", "int"]),
        ("", {"MODELKEEP_JOBS_WORKERS": "two"}, ["jobs.workers", "'two'", "MODELKEEP_JOBS_WORKERS"]),
        ("[jobs]\nlease = '10 bananas'", {}, ["jobs.lease", "duration such as 30s"]),
        ("[logs]\nlevel = 'loud'", {}, ["logs.level", "loud", "debug, info"]),
        ("[models.m.guards]\nalpha = 2", {}, ["models.m.guards.alpha", "2", "< 1"]),
        ("[models.m.trial]\ncanary = ['150%']", {}, ["models.m.trial.canary", "share"]),
        ("[schedules.s]\ntask = 'backup'", {}, ["schedules.s", "lacks when"]),
        ("[schedules.s]\ntask = 'backup'\nwhen = '99 * * * *'", {}, ["schedules.s.when", "Bad minute"]),
        ("[schedules]\ns = 1", {}, ["schedules", "[schedules.NAME]"]),
        ("watch = 1", {}, ["watch is a section", "[watch]"]),
        ("[alerts.channels.ops]\nkind = 'webhook'", {}, ["alerts.channels.ops", "without url"]),
        ("[alerts.channels.ops]\nkind = 'webhook'\nurl = 'file-ish'", {}, ["alerts.channels.ops.url", "URL"]),
        ("[server", {}, ["cannot read", "modelkeep.toml"]),
    ],
)
def test_what_is_wrong_is_refused_with_key_value_source_and_what_is_expected(file, text, environ, parts):
    with pytest.raises(BadSettings) as refusal:
        read(file, text, environ)
    for part in parts:
        assert part in str(refusal.value)


def test_unknown_flags_and_missing_files_are_refused(tmp_path):
    with pytest.raises(BadSettings, match=r"flag: server.lissten is unknown, did you mean server.listen"):
        load(environ={}, flags={"server.lissten": 1})
    with pytest.raises(BadSettings, match="there is no configuration file"):
        load(file=tmp_path / "nowhere.toml", environ={})


def test_a_model_s_policy_is_written_the_way_people_write(file):
    text = """
        [models.churn]
        horizon = "24h"
        targets = {accuracy = 0.8}
        [models.churn.trial]
        shadow = 0
        canary = ["1%", 0.5]
        [models."b.c"]
        horizon = 5
        [models."b.c".retrain]
        trainer = "shop.training:train"
    """
    found = read(file, text).models
    assert found["churn"].horizon == 86400
    assert found["churn"].trial.canary == (0.01, 0.5)
    assert found["churn"].targets == {"accuracy": 0.8}
    assert found["b.c"] == Policy(model="b.c", horizon=5.0, retrain=found["b.c"].retrain)


def test_the_server_is_not_opened_to_other_machines_without_a_token(file):
    with pytest.raises(BadSettings, match="no token"):
        read(file, "[server]\nhost = '0.0.0.0'")
    with pytest.raises(BadSettings, match="no token"):
        read(file, "[server]\nhost = '::'")
    assert read(file, "[server]\nhost = '::1'").server.token is None
    assert read(file, "[server]\nhost = '0.0.0.0'\ntoken = 'env:TOKEN'").server.token is not None


@pytest.mark.row("SEC-09")
def test_secrets_are_referred_to_and_never_shown(file, tmp_path):
    (tmp_path / "token").write_text("sesame-from-file\n")
    text = (
        "[server]\ntoken = 'file:token'\n[alerts.channels.ops]\nkind = 'webhook'\nurl = 'https://hooks.test/T0/hush'\n"
    )
    found = read(file, text)
    assert found.server.token is not None
    assert found.server.token.reveal() == "sesame-from-file"
    shown = {line.key: line.value for line in listing(found)}
    assert "sesame" not in repr(found) + json.dumps(shown)
    assert shown["alerts.channels.ops.url"] == f"https://hooks.test/{MASK}"
    assert "hush" not in repr(found)


def test_a_secret_in_its_own_variable_stays_there(file):
    environ = {"MODELKEEP_SERVER_TOKEN": "sesame", "MODELKEEP_OPS": "https://hooks.test/x"}
    found = read(file, "[alerts.channels.ops]\nkind = 'webhook'\nurl = 'env:MODELKEEP_OPS'", environ)
    assert found.server.token == Secret(reference="env:MODELKEEP_SERVER_TOKEN", key="server.token")
    assert found.server.token.reveal(environ) == "sesame"
    with pytest.raises(BadSettings, match="set the environment variable MODELKEEP_SERVER_TOKEN"):
        found.server.token.reveal({})


def test_a_secret_written_out_is_refused_without_repeating_it(file):
    with pytest.raises(BadSettings) as refusal:
        read(file, "[server]\ntoken = 'sesame'")
    assert "sesame" not in str(refusal.value)
    with pytest.raises(BadSettings):
        load(environ={}, flags={"server.token": "sesame"})


def test_relative_folders_are_relative_to_where_they_are_written(file, tmp_path, monkeypatch):
    assert read(file, "folder = 'data'").folder == tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    file.write_text("[jobs]\nworkers = 7")
    assert load(environ={}).jobs.workers == 7
    assert load(environ={}).folder == tmp_path / "modelkeep-data"
    data = tmp_path / "elsewhere"
    data.mkdir()
    (data / "modelkeep.toml").write_text("[jobs]\nworkers = 8")
    assert load(environ={"MODELKEEP_FOLDER": str(data)}).jobs.workers == 8
    assert load(environ={}, flags={"folder": str(data)}).folder == data
    assert load(environ={"MODELKEEP_CONFIG": str(file)}, flags={"folder": str(data)}).jobs.workers == 7


def test_defaults_are_good_and_shown():
    found = load(environ={})
    assert found.server.listen == (8000,)
    assert not found.server.exposed
    assert {line.source for line in listing(Settings())} == {"default"}


def test_every_setting_is_documented():
    text = DOCS.read_text()
    missing = [".".join(path) for path, _ in leaves(Settings) if f"`{'.'.join(path)}`" not in text]
    tables = {"models": Settings().models, "schedules": Settings().schedules}
    assert not [name for name in tables if f"[{name}.NAME]" not in text]
    assert missing == [], f"docs/settings.md lacks {missing}"
    for variable, key in variables().items():
        assert variable in text, f"docs/settings.md lacks {variable} ({key})"
    for shown in listing(Settings()):
        if shown.key != "folder" and shown.value not in {"", "{}"}:
            line = next(line for line in text.splitlines() if f"`{shown.key}`" in line)
            assert f"`{shown.value}`" in line, (
                f"docs/settings.md says another default of {shown.key} than {shown.value}"
            )


def test_the_fields_of_named_sections_are_documented():
    from modelkeep.jobs.schedule import Schedule
    from modelkeep.settings import ChannelSettings

    text = DOCS.read_text()
    for section in (Policy, Schedule, ChannelSettings):
        missing = [".".join(path) for path, _ in leaves(section) if f"`{'.'.join(path)}`" not in text]
        assert missing == [], f"docs/settings.md lacks {missing} of {section.__name__}"
