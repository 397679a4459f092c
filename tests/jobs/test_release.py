import re

import msgspec
import pytest
from trialling import HOUR, START, Site

from modelkeep.errors import Conflict
from modelkeep.jobs.backup import backups
from modelkeep.jobs.release import Released
from modelkeep.jobs.rolling_back import roll_back_now
from modelkeep.nouns import Trial
from modelkeep.rollout.verdict import Verdict

SHORT = Trial(shadow=0.0, canary=(0.5,), stage=HOUR, last=8 * HOUR, look=60.0)


@pytest.fixture
def site(tmp_path):
    found = Site(tmp_path)
    yield found
    found.close()


def result(site, job):
    return msgspec.json.decode(site.job(job).result, type=Released)


@pytest.mark.row("DEP-01")
def test_the_first_version_answers_at_once(site):
    site.version(1)
    job = site.release(1)
    assert site.steps(job) == ["validating", "promoted"]
    assert site.rollout().champion == 1


@pytest.mark.row("DEP-01", "DEP-08", "DEP-17", "DEP-03")
def test_a_good_version_walks_to_promotion_and_says_so_once(site):
    site.policy(trial=msgspec.structs.replace(SHORT, stage=3.5 * HOUR, last=20 * HOUR))
    site.released()
    site.version(2)
    job = site.release(2)
    assert site.steps(job) == ["validating", "backed_up", "canary"]
    began = site.job(job).steps[-1].at
    site.hours(4, per_hour=600, labelled=True)
    assert site.steps(job) == ["validating", "backed_up", "canary", "judging", "promoted"], (
        site.job(job).steps[3].detail
    )
    rollout = site.rollout()
    assert (rollout.champion, rollout.challenger, rollout.previous) == (2, None, 1)
    told = [a for a in site.alerts() if a.subject == "weight@2"]
    assert [(a.message, a.severity, a.kind) for a in told] == [
        ("Model weight successfully updated to version 2", "info", "deployment")
    ]
    assert result(site, job).alerts == (told[0].id,)
    kept = next(b for b in backups(site.rooms) if b.version == 1)
    assert kept.at <= began
    with site.rooms.store.read() as ledger:
        assert kept.sha256 == ledger.versions.get("weight", 1).artifact
    said = msgspec.json.decode(site.job(job).steps[-1].evidence, type=Verdict)
    assert {e.metric for e in said.evidence} >= {
        "error_rate",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "mean_error",
    }
    assert all(
        e.n > 0 and e.interval and e.method and e.promote >= 100 for e in said.evidence if e.metric != "disagreement"
    )


@pytest.mark.row("DEP-06", "DEP-09", "DEP-07")
def test_three_points_more_errors_are_rolled_back_and_explained(site):
    site.policy(trial=Trial(shadow=0.0, canary=(0.5,), stage=24 * HOUR, last=48 * HOUR, look=60.0))
    site.released()
    site.version(2)
    job = site.release(2)
    while site.rollout().challenger is not None and site.clock.now() < START + 24 * HOUR:
        site.hours(1, per_hour=1800, errors=(0.01, 0.04), step=HOUR / 2, exact=True)
    said = msgspec.json.decode(site.job(job).steps[-1].evidence, type=Verdict)
    assert site.steps(job)[-2:] == ["judging", "rolled_back"]
    assert said.decision == "roll_back"
    (reason,) = said.reasons
    assert re.fullmatch(r"error_rate \+[\d.]+ pts > 2\.0", reason)
    assert float(reason.split()[1]) == pytest.approx(3.0, abs=0.3)
    assert site.rollout().champion == 1
    assert site.rollout().challenger is None
    assert all(site.rooms.router.rollouts["weight"].pick(f"user {i}") == (1, "champion") for i in range(1000))
    alert = next(a for a in site.alerts() if a.severity == "error")
    assert alert.advice == ("Investigate canary performance issues", "Contact ML team")


@pytest.mark.row("DEP-06")
def test_a_better_version_is_promoted(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    job = site.release(2)
    site.hours(4, per_hour=600, errors=(0.08, 0.02), labelled=True, wrong=(1.0, 0.94))
    assert site.steps(job)[-1] == "promoted"


@pytest.mark.row("DEP-06")
def test_twenty_samples_are_inconclusive_and_extended(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    job = site.release(2)
    site.traffic(40, errors=(0.0, 0.0), labelled=True)
    site.hours(30, per_hour=0, step=HOUR)
    assert site.steps(job)[:4] == ["validating", "backed_up", "canary", "judging"]
    assert set(site.steps(job)[4:]) == {"inconclusive"}
    assert site.rollout().challenger == 2
    assert site.job(job).state == "waiting"
    said = msgspec.json.decode(site.job(job).steps[-1].evidence, type=Verdict)
    assert said.decision == "inconclusive"
    assert any("needs about" in reason for reason in said.reasons)


def test_an_undecided_trial_ends_when_the_policy_says_so(site):
    site.policy(trial=msgspec.structs.replace(SHORT, undecided="roll_back"))
    site.released()
    site.version(2)
    job = site.release(2)
    site.hours(9, per_hour=0, step=HOUR)
    assert result(site, job).state == "inconclusive"
    assert site.rollout().challenger is None


@pytest.mark.row("DEP-05")
def test_a_canary_is_judged_after_its_time_whatever_restarts_in_between(site, tmp_path):
    site.policy()
    site.released()
    site.version(2)
    job = site.release(2)
    site.clock.advance_to(START + 12 * HOUR)
    site.runner.run_due()
    site.close()
    again = Site(tmp_path, START + 23 * HOUR + 59 * 60)
    again.runner.run_due()
    assert again.steps(job)[-1] == "canary"
    again.clock.advance_to(START + 24 * HOUR + 60)
    again.runner.run_due()
    assert again.steps(job)[-1] == "judging"
    assert again.job(job).steps[-1].at <= START + 24 * HOUR + 60
    again.close()


def test_a_machine_that_was_off_at_the_end_resumes_at_the_original_deadline(site, tmp_path):
    site.policy()
    site.released()
    site.version(2)
    job = site.release(2)
    site.close()
    again = Site(tmp_path, START + 72 * HOUR)
    again.runner.run_due()
    assert again.steps(job) == ["validating", "backed_up", "canary", "inconclusive"]
    assert again.rollout().challenger == 2
    memo = msgspec.json.decode(again.job(job).memo)
    assert memo["last"] == START + 96 * HOUR
    again.close()


@pytest.mark.row("DEP-02")
def test_a_version_that_cannot_be_loaded_is_rejected(site):
    site.released()
    bad = site.version(2)
    kept = site.rooms.files.path(bad.artifact)
    kept.chmod(0o644)
    kept.write_bytes(b"\x00" * 1024)
    job = site.release(2)
    found = result(site, job)
    assert found.state == "rejected"
    assert bad.artifact[:12] in found.reasons[0]
    assert site.steps(job) == ["validating", "rejected"]
    assert site.rollout().challenger is None


def test_a_version_below_its_policy_needs_force_and_a_reason(site):
    site.released()
    site.version(2, below=("recall 0.40 < 0.50",))
    assert "recall 0.40 < 0.50" in result(site, site.release(2)).reasons[0]
    site.clock.advance(1)
    assert "--why" in result(site, site.release(2, force=True)).reasons[0]
    site.clock.advance(1)
    assert site.steps(site.release(2, force=True, why="the old one is worse"))[-1] == "shadow"


def test_a_version_that_is_plainly_worse_on_newer_rows_is_rejected(site):
    site.version(1)
    site.release(1)
    site.version(2, "def predict(row):\n    return 5.0\n")
    site.clock.advance(60)
    site.traffic(100, errors=(0.0, 0.0), labelled=True)
    site.clock.advance(60)
    found = result(site, site.release(2))
    assert found.state == "rejected"
    assert "100 labelled rows that it was not trained on" in found.reasons[0]


def test_shadow_pairs_prove_a_stage_and_then_the_canary_begins(site):
    site.policy(trial=Trial(shadow=HOUR, canary=(0.2, 0.5), stage=HOUR, last=40 * HOUR, look=60.0))
    site.released()
    site.version(2)
    job = site.release(2)
    assert site.rollout().mode == "shadow"
    site.hours(1.5, per_hour=600, labelled=True)
    assert site.rollout().mode == "canary"
    assert site.rollout().share in {0.2, 0.5}
    site.hours(4, per_hour=1200, labelled=True)
    steps = site.steps(job)
    assert [s for s in steps if s != "judging"] == ["validating", "backed_up", "shadow", "canary", "canary", "promoted"]


def test_a_larger_mean_error_is_rolled_back_by_shadow_pairs(site):
    site.policy(trial=Trial(shadow=24 * HOUR, canary=(0.1,), stage=HOUR, last=48 * HOUR, look=60.0))
    site.released()
    site.traffic(200, errors=(0.0, 0.0), labelled=True)
    site.version(2)
    job = site.release(2)
    site.hours(6, per_hour=120, labelled=True, wrong=(1.0, 1.5))
    assert result(site, job).state == "rolled_back"
    assert result(site, job).reasons[0].startswith("mean_error +")


def test_an_answer_that_breaks_the_signature_ends_the_trial_at_once(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2, "def predict(row):\n    return row['x'] if row['x'] else float('nan')\n")
    job = site.release(2)
    text = "weight@2 failed: answered nan where a finite number is due"
    site.traffic(50, errors=(0.0, 0.5), text=text)
    site.clock.advance(60)
    site.runner.run_due()
    assert result(site, job).state == "rolled_back"
    assert "answered nan" in result(site, job).reasons[0]


def test_a_critical_incident_blocks_the_promotion(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    job = site.release(2)
    with site.rooms.store.write() as ledger:
        site.rooms.book.raise_event(
            ledger, rule="fire", subject="server", kind="system", severity="critical", message="fire"
        )
    site.hours(4, per_hour=600, labelled=True)
    assert site.steps(job)[-1] == "judging"
    assert "fire" in site.job(job).steps[-1].detail


@pytest.mark.row("DEP-11")
def test_a_rollback_swaps_version_and_policy_in_one_act_and_lists_what_was_answered(site):
    site.policy(trial=SHORT)
    site.released()
    with site.rooms.store.write() as ledger:
        ledger.versions.add_policy(msgspec.structs.replace(ledger.versions.policy("weight"), number=2, drift=0.5))
    site.version(2)
    site.release(2)
    site.hours(4, per_hour=600, labelled=True)
    assert (site.rollout().champion, site.rollout().policy) == (2, 2)
    site.traffic(50, errors=(0.0, 0.0))
    done = roll_back_now(site.rooms, "weight", why="complaints", by="anna")
    assert (done.champion, done.left, done.policy) == (1, 2, 1)
    assert len(done.ids) == 100
    assert site.rooms.router.rollouts["weight"].champion == 1
    with pytest.raises(Conflict, match="no version before"):
        roll_back_now(site.rooms, "weight")
    with site.rooms.store.read() as ledger:
        act = ledger.acts.all()[0]
    assert (act.what, act.who, act.why) == ("rollback", "anna", "complaints")


@pytest.mark.row("DEP-11")
def test_a_rollback_during_a_trial_ends_it_and_its_job(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    job = site.release(2)
    done = roll_back_now(site.rooms, "weight", by="anna")
    assert (done.champion, done.left, done.ended) == (1, 2, job)
    assert site.job(job).state == "cancelled"
    assert site.rollout().challenger is None


def test_a_second_release_of_a_model_is_refused_while_one_is_under_way(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    site.version(3)
    site.release(2)
    with pytest.raises(Conflict, match="under way"):
        site.release(3)
    with pytest.raises(Conflict, match="champion already"):
        site.release(1)


def test_a_fault_in_the_release_leaves_the_proven_version_and_calls_for_help(site):
    site.policy(trial=SHORT)
    site.released()
    site.version(2)
    job = site.release(2)
    with site.rooms.store.write() as ledger:
        taken = ledger.jobs.lease("breaker", now=START + HOUR, seconds=1.0)
        memo = msgspec.Raw(msgspec.json.encode(msgspec.json.decode(taken.memo) | {"judge": None}))
        ledger.jobs.save(msgspec.structs.replace(taken, memo=memo, state="waiting", due=START), taken.lease.token)
    site.clock.advance(2 * HOUR)
    site.runner.run_due()
    assert result(site, job).state == "rolled_back"
    assert site.rollout().challenger is None
    alert = next(a for a in site.alerts() if a.severity == "critical")
    assert alert.advice == ("Immediate rollback", "Emergency contact ML team")
