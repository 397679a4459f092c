"""Were the alerts worth it? What people said of them when they closed them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modelkeep.nouns import Alert, Facts, Reading
from modelkeep.quantities import DAY
from modelkeep.watch.intervals import wilson

LIMIT = 0.2
NEED = 5
SPAN = 30 * DAY


def false_alerts(alerts: Sequence[Alert], *, now: float) -> Reading:
    """Reading ``false_alerts`` of the server: the share of alerts marked false, of those resolved in 30 days.

    Notices (``info``) do not count. Level: critical above 20 %; unknown with fewer than five. Facts: ``rule`` (the one
    with most false alerts) and how many ``of_rule``.
    """
    held = [a for a in alerts if a.state == "resolved" and a.severity != "info" and (a.resolved or 0.0) >= now - SPAN]
    wrong = Counter(a.rule for a in held if a.false)
    n, false = len(held), wrong.total()
    if n < NEED:
        detail = f"{n} alerts were resolved in 30 days, {NEED} are needed"
        facts: Facts = {"reason": "insufficient_data", "have": n, "need": NEED}
        return Reading(
            name="false_alerts", subject="server", value=None, level="unknown", at=now, n=n, detail=detail, facts=facts
        )
    share = false / n
    worst = wrong.most_common(1)
    named = f", most of rule {worst[0][0]!r} ({worst[0][1]})" if worst else ""
    return Reading(
        name="false_alerts", subject="server", value=share, level="critical" if share > LIMIT else "ok", at=now, n=n,
        interval=wilson(false, n), detail=f"{false} of {n} alerts of 30 days were marked false: {share:.0%}{named} "
        f"(limit {LIMIT:.0%})",
        facts={"rule": worst[0][0], "of_rule": worst[0][1]} if worst else {},
    )  # fmt: skip
