import numpy as np
import pytest

from modelkeep.nouns import Prediction
from modelkeep.profile import SCORE, Slice
from modelkeep.serving.binning import Binning, fold
from modelkeep.watch import confidence


def scored(build, scores, hour):
    predictions = [
        Prediction(
            id=f"1-{i}", model="m", version=2, role="champion", features={}, output="yes", at=build.start + hour * 3600,
            target=0.0, seconds=0.01, score=score,
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip
    (folded,) = fold(predictions, lambda *_: Binning())
    return Slice(start=folded.hour, profile=folded.profile)


@pytest.mark.row("QUA-03")
def test_the_mean_confidence_of_each_day_is_shown_and_below_seventy_per_cent_it_warns(build):
    slices = [scored(build, [0.9, 0.8] * 10, 1), scored(build, [0.69, 0.69, 0.5, 0.89] * 5, 30)]
    (reading,) = confidence(build.window(slices))
    assert reading.value == pytest.approx(0.6925)
    assert reading.level == "warning"
    assert reading.facts["low"] == pytest.approx(0.25)
    days = {name: value for name, value in reading.facts.items() if name.startswith("20")}
    assert list(days.values()) == [pytest.approx(0.85), pytest.approx(0.6925)]
    (fine,) = confidence(build.window(slices[:1]))
    assert (fine.level, fine.n) == ("ok", 20)


def test_a_model_without_scores_is_unknown(build):
    assert confidence(build.window([build.slice(0, n=20)]))[0].level == "unknown"
    assert confidence(build.window([scored(build, [0.2] * 3, 0)]))[0].level == "unknown"


def test_scores_add_up_like_every_column(build):
    one, other = scored(build, [0.1, 1.0], 0).profile, scored(build, [0.0, 0.6], 0).profile
    both = (one + other).columns[SCORE]
    assert both.n == 4
    assert np.isclose(both.sums.sum(), 1.7)
