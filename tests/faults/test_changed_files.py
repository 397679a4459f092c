"""A registered file changes on disk: found, never loaded, and what was good before goes on answering, marked so."""

import signal

import pytest
from live_server import file_of, flip, store_of
from populating import FEATURES, MODEL, answer_of, answers, keep, opened
from waiting import until

SETTINGS = "[watch]\nevery = '500ms'"


def version(folder, number, model="weight"):
    with store_of(folder) as ledger:
        return ledger.versions.get(model, number)


@pytest.mark.row("REG-04")
def test_a_flipped_byte_is_found_and_the_version_is_never_released(folder, up):
    live = up(folder, settings=SETTINGS)
    digest = version(folder, 2).artifact
    assert live.run("verify", "weight@2").returncode == 0
    flip(file_of(folder, digest), 40)
    found = live.run("verify", "weight@2")
    assert found.returncode == 1
    assert found.stderr.startswith("error: checksum_mismatch")
    assert digest in found.stderr

    job = live.post("/v1/models/weight/releases", {"number": 2}).json["job"]

    def ended():
        seen = live.get(f"/v1/releases/{job}").json["job"]
        return seen["state"] in {"done", "failed"} and seen

    result = until(ended, what="the release has ended")["result"]
    assert result["state"] == "rejected"
    assert digest in result["reasons"][0]
    answer = live.predict(3.0).json
    assert (answer["version"], answer["role"], answer["prediction"]) == (1, "champion", answer_of(1, 3.0))


def cut(path, _):
    path.write_bytes(path.read_bytes()[:-10])


def gone(path, _):
    path.unlink()


def swapped(path, other):
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


HARMS = {"flipped": lambda path, _: flip(path, 40), "cut": cut, "gone": gone, "swapped": swapped, "features": None}


def harm(folder, model, how):
    """Do something to the file of the champion, version 2; its digest."""
    mine = version(folder, 2, model)
    if how == "features":
        flip(file_of(folder, mine.features), 40)
        return mine.features
    HARMS[how](file_of(folder, mine.artifact), file_of(folder, version(folder, 3, model).artifact))
    return mine.artifact


@pytest.mark.row("REG-04")
@pytest.mark.prove
def test_after_a_start_with_a_changed_champion_the_one_before_answers_and_someone_is_told(folder, up):
    with opened(folder) as app:
        for model in HARMS:
            for number in (1, 2, 3):
                # no two versions share a file, so that harm to one is harm to one
                source = MODEL.format(number=number) + f"# {model}\n"
                keep(app, model, source, features=FEATURES.format(number=number) + f"# {model}\n")
                if number < 3:
                    answers(app, model, number)
        keep(app, "alone", "def predict(row):\n    return row['x']\n")
        answers(app, "alone", 1)
    live = up(folder, settings=SETTINGS)
    assert live.predict(3.0, model="flipped").json["prediction"] == answer_of(2, 3.0)
    digests = {model: harm(folder, model, model) for model in HARMS}
    alone = version(folder, 1, "alone").artifact
    flip(file_of(folder, alone), 40)
    assert live.predict(3.0, model="flipped").json["version"] == 2, "what is loaded answers on"
    assert live.stop(signal.SIGTERM)[0] == 0

    live = up(folder, settings=SETTINGS)
    for model, digest in digests.items():
        reply = live.predict(3.0, model=model)
        assert reply.status == 200, reply.content
        answer = reply.json
        assert answer["prediction"] == answer_of(1, 3.0)
        assert (answer["version"], answer["role"], answer["fallback"]) == (2, "fallback", f"{model}@1")
        assert digest in answer["fallback_reason"]
    nobody = live.predict(3.0, model="alone")
    assert (nobody.status, nobody.error["code"]) == (503, "unavailable")
    assert alone in nobody.error["message"]
    assert live.predict(3.0).json["prediction"] == answer_of(1, 3.0), "a neighbour was harmed"

    def told():
        found = {alert["subject"]: alert for alert in live.alerts("modelFailure")}
        return digests.keys() <= found.keys() and found

    alerts = until(told, what="an alert for each model")
    for model, digest in digests.items():
        assert alerts[model]["severity"] == "critical"
        assert digest in alerts[model]["message"]
        assert alerts[model]["command"] == f"modelkeep rollback {model}"
    assert live.run("rollback", "flipped").returncode == 0, "what the alert advises"
    answer = live.predict(3.0, model="flipped").json
    assert (answer["version"], answer["role"], answer["prediction"]) == (1, "champion", answer_of(1, 3.0))

    def calm():
        (reading,) = live.get("/v1/readings?name=artifact&subject=flipped").json["readings"]
        return reading["level"] == "ok"

    until(calm, what="the reading is well again")
