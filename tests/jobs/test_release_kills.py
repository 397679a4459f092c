"""The release is killed at every point at which something becomes durable, and resumed by another process."""

import os
import shutil

import msgspec
import pytest
from trialling import HOUR, START, Site

from modelkeep.jobs.backup import backups
from modelkeep.jobs.failpoints import KILLED
from modelkeep.jobs.release import Release, Released, enqueue
from modelkeep.jobs.rolling_back import roll_back_now
from modelkeep.nouns import Trial

CANARY = Trial(shadow=0.0, canary=(0.5,), stage=3 * HOUR, last=20 * HOUR, look=60.0)


def killed_at(folder, point, *, at, act=lambda site: site.runner.run_due()):
    """Another process does its work and is killed at ``point``; the moment at which its lease has run out."""
    child = os.fork()
    if child == 0:
        os.environ["MODELKEEP_FAILPOINT"] = point
        act(Site(folder, at))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == KILLED, f"{point} was not reached"
    return at + 200.0


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A release that was asked for and has not begun."""
    site = Site(tmp_path_factory.mktemp("asked"))
    site.policy(trial=CANARY)
    site.released()
    site.version(2)
    with site.rooms.store.write() as ledger:
        enqueue(ledger, Release(model="weight", number=2, by="tester"), at=START)
    site.close()
    return site.folder


@pytest.fixture(scope="module")
def proven(asked, tmp_path_factory):
    """A canary that has earned its promotion, a moment before its stage may end."""
    folder = tmp_path_factory.mktemp("proven") / "site"
    shutil.copytree(asked, folder)
    site = Site(folder)
    site.runner.run_due()
    site.hours(2.9, per_hour=600, labelled=True, step=0.29 * HOUR)
    site.close()
    return folder


@pytest.fixture
def resumed(tmp_path):
    """Copies a prepared site, has it killed at a point, and resumes it in this process."""
    sites = []

    def run(prepared, point, *, at, before=lambda site: None, **act):
        folder = tmp_path / "site"
        shutil.copytree(prepared, folder)
        site = Site(folder, at)
        before(site)
        site.close()
        after = killed_at(folder, point, at=at, **act)
        sites.append(Site(folder, after))
        sites[-1].runner.run_due()
        return sites[-1]

    yield run
    for site in sites:
        site.close()


def only_job(site):
    with site.rooms.store.read() as ledger:
        return next(j for j in ledger.jobs.all(task="release") if b'"number":2' in bytes(j.arguments))


def ended(site):
    return msgspec.json.decode(only_job(site).result, type=Released)


def acts(site, what):
    with site.rooms.store.read() as ledger:
        return [a for a in ledger.acts.all() if a.what.startswith(what)]


def consistent(site, champion, challenger):
    """The database names exactly one champion, and what is served is what it names."""
    found = site.rollout()
    assert (found.champion, found.challenger) == (champion, challenger)
    assert site.rooms.router.rollouts["weight"] == found
    with site.rooms.store.read() as ledger:
        assert ledger.acts.verify() is None


@pytest.mark.parametrize(
    "point",
    ["release.validated", "release.backed_up", "release.begin_before_commit", "release.begin_after_commit"],
)
def test_before_the_trial_it_goes_on_where_it_was(asked, resumed, point):
    site = resumed(asked, point, at=START)
    assert site.steps(only_job(site).id) == ["validating", "backed_up", "canary"]
    assert len(acts(site, "release.canary")) == 1
    assert len([b for b in backups(site.rooms) if b.version == 1]) == 1
    consistent(site, 1, 2)


@pytest.mark.row("DEP-10")
@pytest.mark.parametrize("point", ["release.decided", "release.promote_before_commit"])
def test_in_the_middle_of_a_promotion_the_proven_version_stays_and_someone_is_called(proven, resumed, point):
    site = resumed(proven, point, at=START + 3.1 * HOUR)
    consistent(site, 1, None)
    assert ended(site).state == "rolled_back"
    (alert,) = [a for a in site.alerts() if a.severity == "critical"]
    assert alert.advice == ("Immediate rollback", "Emergency contact ML team")
    assert "in the middle of the promotion" in alert.message
    assert not [a for a in site.alerts() if "weight successfully updated to version 2" in a.message]


@pytest.mark.row("DEP-10", "DEP-08")
def test_after_the_promotion_it_is_told_once(proven, resumed):
    site = resumed(proven, "release.promote_after_commit", at=START + 3.1 * HOUR)
    consistent(site, 2, None)
    assert ended(site).state == "promoted"
    told = [a for a in site.alerts() if a.message == "Model weight successfully updated to version 2"]
    assert len(told) == 1


@pytest.mark.row("DEP-09")
@pytest.mark.parametrize("point", ["release.fall_before_commit", "release.fall_after_commit"])
def test_a_rollback_happens_once(asked, resumed, point):
    def failing(site):
        site.runner.run_due()
        site.traffic(200, errors=(0.0, 0.6))

    site = resumed(asked, point, at=START, before=failing, act=look_later)
    consistent(site, 1, None)
    assert ended(site).state == "rolled_back"
    assert len(acts(site, "release.rollback")) == 1
    assert len([a for a in site.alerts() if a.severity == "error"]) == 1


@pytest.mark.parametrize("point", ["release.widen_before_commit", "release.widen_after_commit"])
def test_a_share_is_widened_once(asked, resumed, point):
    def two_stages(site):
        with site.rooms.store.write() as ledger:
            trial = msgspec.structs.replace(CANARY, canary=(0.3, 0.6), stage=60.0)
            ledger.versions.add_policy(msgspec.structs.replace(ledger.versions.policy("weight"), number=2, trial=trial))
        site.runner.run_due()
        site.traffic(300, errors=(0.0, 0.0))

    site = resumed(asked, point, at=START, before=two_stages, act=look_later)
    consistent(site, 1, 2)
    assert site.rollout().share == 0.6
    assert len(acts(site, "release.canary")) == 2


def look_later(site):
    site.clock.advance(61.0)
    site.runner.run_due()


@pytest.mark.row("DEP-11")
@pytest.mark.parametrize(("point", "challenger"), [("rollback.before_commit", 2), ("rollback.after_commit", None)])
def test_a_rollback_by_hand_is_done_or_undone(asked, resumed, point, challenger):
    site = resumed(
        asked,
        point,
        at=START,
        before=lambda s: s.runner.run_due(),
        act=lambda s: roll_back_now(s.rooms, "weight", by="a"),
    )
    consistent(site, 1, challenger)


@pytest.mark.row("DEP-05")
def test_killed_and_down_beyond_the_last_day_it_says_so_once_and_promotes_nothing(asked, resumed, tmp_path):
    site = resumed(asked, "release.begin_after_commit", at=START)
    site.close()
    again = Site(site.folder, START + 24 * HOUR)
    again.runner.run_due()
    assert again.steps(only_job(again).id) == ["validating", "backed_up", "canary", "inconclusive"]
    consistent(again, 1, 2)
    again.close()
