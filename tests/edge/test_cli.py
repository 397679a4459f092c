"""The command line as people run it: in a process of its own, without a server and with one."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cyclopts import App
from waiting import until

from modelkeep.edge import cli
from modelkeep.edge.cli import GROUPS, acts, starting, tree
from modelkeep.edge.cli.options import USUAL
from modelkeep.edge.cli.usage import pairs, scalar
from modelkeep.errors import BadInput
from modelkeep.operations import OPERATIONS

PROGRAM = Path(sys.executable).with_name("modelkeep")
DOCS = Path(__file__).parent.parent.parent / "docs"
MODEL = "def predict(row):\n    return 2.0 * row['x']\n"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")}


def run(*words, folder=None, env=None):
    place = ["-C", str(folder)] if folder else []
    return subprocess.run(
        [str(PROGRAM), *words, *place], capture_output=True, text=True, timeout=60, env=CLEAN | (env or {}), check=False
    )


def inside(capsys, *words, folder=None):
    """The same in this process, for what needs no process of its own."""
    place = ["-C", str(folder)] if folder else []
    code = cli.main([*words, *place])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data folder with the model ``doubler``, made by the commands of the README."""
    folder = tmp_path_factory.mktemp("cli")
    first = run("init", folder=folder / "data")
    assert first.returncode == 0, first.stderr
    (folder / "double.py").write_text(MODEL)
    rows = "".join(f"{i},{2 * i + i % 3}.5\n" for i in range(60))
    (folder / "sample.csv").write_text(f"x,y\n{rows}")
    words = ["register", "doubler", str(folder / "double.py"), "--trust", "--json"]
    done = run(*words, "--sample", str(folder / "sample.csv"), "--output", "y", folder=folder / "data")
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)
    assert (version["number"], version["role"]) == (1, "candidate")
    assert len(version["artifact"]) == 64
    assert version["metrics"]["mae"] > 0
    return folder / "data"


@pytest.mark.row("REG-01")
def test_a_registered_version_is_listed_and_verified(made, capsys):
    code, out, _ = inside(capsys, "versions", "doubler", folder=made)
    assert code == 0
    assert "doubler@1" in out
    assert "mae" in out
    assert inside(capsys, "verify", "doubler@1", folder=made)[0] == 0


def test_a_changed_file_is_a_finding(made, capsys):
    version = json.loads(inside(capsys, "version", "doubler@1", "--json", folder=made)[1])
    file = made / "files" / version["artifact"][:2] / version["artifact"]
    kept = file.read_bytes()
    file.write_bytes(b"?" + kept[1:])
    code, _, err = inside(capsys, "verify", "doubler@1", folder=made)
    file.write_bytes(kept)
    assert code == 1
    assert err.startswith("error: checksum_mismatch")


@pytest.mark.row("CFG-06")
def test_the_configuration_is_checked(made, capsys, monkeypatch):
    code, out, _ = inside(capsys, "config", "check", folder=made)
    assert code == 0
    assert "configuration loaded successfully" in out
    assert str(made / "files") in out
    monkeypatch.setenv("MODELKEEP_WATCH_EVRY", "3")
    code, _, err = inside(capsys, "config", "check", folder=made)
    assert code == 1
    assert "did you mean MODELKEEP_WATCH_EVERY" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["models"], 0, ""),
        (["alerts"], 0, ""),
        (["jobs"], 0, ""),
        (["readings"], 0, ""),
        (["releases"], 0, ""),
        (["backups"], 0, ""),
        (["timeline"], 0, ""),
        (["acts"], 0, ""),
        (["rollouts"], 0, ""),
        (["models", "show", "doubler"], 0, ""),
        (["models", "show", "dubler"], 1, "known: doubler"),
        (["status"], 0, ""),
        (["config", "show"], 0, ""),
        (["alerts", "rules"], 0, ""),
        (["jobs", "tasks"], 0, ""),
        (["policy", "doubler"], 0, ""),
        (["accuracy", "doubler"], 1, "insufficient_data: have 0, need 10"),
        (["verify", "dubler@1"], 1, "known: doubler"),
        (["version", "doubler"], 2, "write doubler@2"),
        (["release", "doubler@9"], 1, "no version"),
        (["release", "doubler@1", "--share", "200%"], 1, "share"),
        (["rollback", "doubler"], 1, "has no released version"),
        (["predict", "doubler", "x=1"], 1, "no released version"),
        (["predict", "doubler", "x"], 1, "expected name=value"),
        (["outcome"], 2, "outcome PREDICTION VALUE"),
        (["alerts", "show", "none"], 1, "no alert"),
        (["jobs", "run", "bakup"], 1, "known: backup"),
        (["alerts", "list", "--model", "dubler"], 1, "known: doubler"),
        (["releases", "list", "--model", "dubler"], 1, "known: doubler"),
        (["timeline", "--model", "dubler"], 1, "known: doubler"),
        (["readings", "list", "dubler"], 1, "known: doubler"),
        (["readings", "list", "doubler@1"], 0, ""),
        (["outcome", "--file", "none.jsonl"], 1, "no file 'none.jsonl'"),
        (["register", "doubler", __file__, "--trust", "--sample", "none.csv"], 1, "error: "),
        (["accuracy", "doubler", "--version", "9"], 1, "no version"),
        (["policy", "show", "dubler"], 1, "known: doubler"),
        (["policy", "set", "doubler", "--targets.mae", "5", "--drift", "0.3"], 0, ""),
        (["policy", "set", "doubler", "--targets.mae", "five"], 2, "--targets.mae"),
        (["policy", "set", "doubler", "--trial", "{"], 2, "--trial is no JSON"),
        (["nonsense"], 2, "error: "),
        (["versions"], 2, ""),
        (["models", "--wrong"], 2, "error: Unknown option: --wrong"),
        (["models", "--server", "http://127.0.0.1:9"], 3, "modelkeep up"),
        (["models", "--server", "nowhere"], 2, "http://HOST:PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_command_ends_with_its_code(made, capsys, words, code, said):
    found, out, err = inside(capsys, *words, folder=made)
    assert found == code, (out, err)
    assert said in err
    assert "Traceback" not in out + err
    if code == 0:
        as_json = inside(capsys, *words, "--json", folder=made)
        assert as_json[0] == 0
        assert isinstance(json.loads(as_json[1]), dict)


def test_a_misspelt_folder_is_not_all_well(tmp_path, capsys):
    code, _, err = inside(capsys, "status", folder=tmp_path / "mispelt")
    assert code == 1
    assert "no data folder" in err
    assert not (tmp_path / "mispelt").exists()


def test_every_command_of_the_issue_is_there():
    needed = (
        "init up demo register release rollback predict outcome status models alerts jobs readings releases backups "
        "config timeline accuracy"
    )
    app = tree.build()
    for word in needed.split():
        assert app[word] is not None


def test_the_written_list_is_that_of_the_operations():
    listed = {name: summary for group in GROUPS.values() for name, (module, summary) in group.items()}
    for operation in OPERATIONS:
        if len(operation.words) == 1:
            assert listed[operation.words[0]] == operation.summary
        elif operation.words:
            assert operation.words[1] in listed[operation.words[0]]
        if operation.also:
            assert operation.also[1] in listed[operation.also[0]]
    named = {o.name: o.summary for o in OPERATIONS}
    assert listed["register"] == named["register"]
    assert listed["predict"] == named["predict"]
    assert listed["outcome"] == named["outcomes"]


def test_every_command_is_documented():
    text = (DOCS / "cli.md").read_text()
    for group in GROUPS.values():
        for name in group:
            assert f"`modelkeep {name}" in text, name
    for name, made in acts.COMMANDS.items():
        if isinstance(made, App):
            for second in made:
                assert second.startswith("-") or f"`modelkeep {name} {second}" in text, (name, second)


@pytest.mark.parametrize("shell", ["bash", *(pytest.param(one, marks=pytest.mark.prove) for one in ("zsh", "fish"))])
def test_completion_knows_the_commands(capsys, shell):
    code, out, _ = inside(capsys, "completion", shell)
    assert code == 0
    assert "rollback" in out


def test_help_comes_quickly():
    def cpu():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "Roll a model back" in done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    cpu()
    assert min(cpu() for _ in range(5)) <= 0.25


def test_help_imports_nothing_of_weight():
    heavy = "numpy sqlalchemy starlette uvicorn httpx duckdb msgspec cyclopts rich"
    code = (
        "import sys, modelkeep.edge.cli as cli\ncli.main(['--help'])\n"
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=CLEAN, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


BROUGHT = """
import sys
from modelkeep.edge import server
from modelkeep.edge.cli import starting
from modelkeep.extending import BUILT_IN, find_all
find_all(BUILT_IN)
print(len(sys.modules), *sorted({*sys.argv[1:]} & set(sys.modules)))
"""


def test_a_server_starts_without_what_a_first_prediction_does_not_need():
    """Every library and every module here is waited for by whoever starts a server: bring it in behind the start."""
    later = "cyclopts rich structlog httpx jinja2 prometheus_client sqlalchemy.dialects.postgresql alembic duckdb"
    never = "sklearn scipy pandas lightgbm onnxruntime skops PIL grpc psycopg"
    done = subprocess.run(
        [sys.executable, "-c", BROUGHT, *later.split(), *never.split()],
        capture_output=True,
        text=True,
        env=CLEAN,
        check=True,
    )
    count, *heavy = done.stdout.split()
    assert heavy == []
    assert int(count) <= 1000  # 970 of them in November 2026; 1160 before cyclopts and the others above waited


UP = [
    (["-p", "1"], {"ports": (1,)}),
    (["--port", "8000", "-p", "8001", "--host", "::1", "-C", "here"], {"ports": (8000, 8001), "host": "::1"}),
    (["--port=0", "--folder=here"], {"ports": (0,)}),
    ([], {}),
]
"""Words of ``up`` that are read without cyclopts, and what they ask for."""


@pytest.mark.parametrize(("words", "wanted"), UP, ids=str)
def test_plain_words_of_up_are_read_as_cyclopts_reads_them(words, wanted):
    found = starting.plain(words)
    place = Path("here") if "here" in " ".join(words) else None
    assert found == starting.Wanted(**wanted, folder=place)
    _, bound, _ = tree.build().parse_args(["up", *words], exit_on_error=False, print_error=False)
    common = bound.arguments.get("common", USUAL)
    read = {"ports": bound.arguments.get("port", ()), "host": bound.arguments.get("host"), "folder": common.folder}
    assert found == starting.Wanted(**read)


@pytest.mark.parametrize(
    "words",
    ["--help", "-h", "-p", "-p x", "-p -1", "--port=", "--prot 1", "8000", "--host a --host b", "--json", "-p=1"],
)
def test_whatever_else_is_said_after_up_is_left_to_cyclopts(words):
    assert starting.plain(words.split()) is None


def test_a_mistake_after_up_is_told_like_any_other(capsys):
    code, _, said = inside(capsys, "up", "--prot", "8000")
    assert code == 2
    assert "--port" in said
    assert "modelkeep COMMAND --help" in said


def test_words_of_people_become_values():
    assert [scalar(text) for text in ("3", "-2.5", "true", "null", "gold", '"3"')] == [3, -2.5, True, None, "gold", "3"]
    assert pairs(("a=1", "b=x=y"), "feature") == {"a": 1, "b": "x=y"}
    with pytest.raises(BadInput, match="expected name=value"):
        pairs(("a",), "feature")


@pytest.mark.row("CFG-08", "DEP-11", "MNT-33")
def test_a_stranger_gets_from_nothing_to_a_prediction_and_back(made, tmp_path, capsys):
    """init, up, release, predict, outcome, release again, rollback: the server is found by its folder."""
    server = subprocess.Popen(
        [str(PROGRAM), "up", "--port", "0", "-C", str(made)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=CLEAN,
    )  # fmt: skip
    try:
        url = server.stdout.readline().removeprefix("listening on ").strip()
        assert url.startswith("http://127.0.0.1:"), server.stderr.read()

        def say(*words, code=0):
            found, out, err = inside(capsys, *words, "--json", folder=made)
            assert found == code, err
            return json.loads(out) if out else err

        until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        plan = say("release", "doubler@1")
        until(lambda: say("jobs", "show", plan["job"])["state"] == "done", every=0.05)
        answer = say("predict", "doubler", "x=3", "--key", "me")["prediction"]
        assert answer == 6.0
        told = say("predict", "doubler", "--features", '{"x": 4}')
        assert told["prediction"] == 8.0
        until(
            lambda: "prediction_id" in say_any(capsys, "predictions", "show", told["prediction_id"], folder=made),
            every=0.05,
        )
        assert say("outcome", told["prediction_id"], "9")["outcomes"][0]["state"] == "joined"
        (tmp_path / "triple.py").write_text(MODEL.replace("2.0", "3.0"))
        signature = tmp_path / "signature.json"
        signature.write_text(json.dumps(say("version", "doubler@1")["signature"]))
        register = ["register", "doubler", str(tmp_path / "triple.py"), "--trust", "--signature", str(signature)]
        elsewhere = [*register, "--metric", "mae=1.5", "--force", "--server", url]
        assert "may not vouch" in say(*elsewhere, code=1)
        assert say(*register, "--metric", "mae=1.5", "--force")["number"] == 2
        assert say("release", "doubler@2", "--dry-run")["job"] == ""
        assert say("jobs", "run", "backup")["task"] == "backup"
        assert say("jobs", "history", "backup")["jobs"]
        assert run("up", "--port", "0", folder=made).returncode == 1
    finally:
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=30)
    assert server.returncode == 0, err
    assert "Traceback" not in err
    assert not (made / "server.json").exists()


def say_any(capsys, *words, folder):
    _, out, _ = inside(capsys, *words, "--json", folder=folder)
    return json.loads(out) if out else {}
