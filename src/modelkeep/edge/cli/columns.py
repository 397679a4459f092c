"""What is shown of each list, how fields that are numbers are meant, and the colours of words."""

LISTS = {
    "models": "models", "versions": "versions", "releases": "releases", "rollouts": "rollouts",
    "predictions": "predictions", "readings": "readings", "reading_series": "readings", "alerts": "alerts",
    "rules": "rules", "jobs": "jobs", "history": "jobs", "tasks": "tasks", "timeline": "events", "acts": "acts",
    "saved": "backups", "check": "findings", "archive_files": "files", "archive": "models",
    "backups": "backups", "accesses": "accesses", "review": "predictions", "configuration": "settings",
    "recipes": "recipes", "reports": "reports", "loaded": "models", "statements": "statements",
    "answers": "answers",
}  # fmt: skip
"""For each act that lists something: the field with the rows."""

REPORTS = frozenset({"report", "report_shown"})
"""Acts whose result is a whole report."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "models": (
        "model", "state", "champion", "challenger", "share", "ms=average_processing_time_ms", "errors=error_rate",
        "predictions", "outcomes", "last=last_prediction", "~detail",
    ),
    "loaded": ("model", "since", "used", "predictions", "versions"),
    "versions": ("name", "role", "runtime", "runner=runner.name", "size", "created", "below", "~metrics", "~note"),
    "releases": ("id=job.id", "model", "number", "state=job.state", "step=job.steps.-1.name", "created=job.created"),
    "rollouts": (
        "model", "champion", "challenger", "mode", "share", "previous", "policy", "disabled", "since",
    ),
    "predictions": (
        "id=prediction_id", "at", "version", "role", "key", "prediction", "truth", "off_by", "ms=latency_ms", "~error",
        "~flag",
    ),
    "review": (
        "id=prediction_id", "at", "version", "key", "prediction", "truth", "off_by", "~features", "~error",
    ),
    "answers": (
        "row", "id", "prediction_id", "key", "prediction", "score", "low", "high", "~error",
    ),
    "points": ("start", "n", "metrics", "intervals", "mature"),
    "worst": ("rating", "at", "prediction_id", "model", "by", "~comment"),
    "problems": ("line", "row", "code", "~message"),
    "readings": ("name", "subject", "value", "level", "n", "at", "~detail"),
    "reading_series": ("at", "value", "level", "n", "detail"),
    "alerts": ("id", "severity", "state", "since=timestamp", "subject", "~message", "~command"),
    "rules": ("name", "reading", "condition", "severity", "holds", "cooldown", "actions"),
    "jobs": ("id", "state", "due", "took=seconds", "attempts", "~error"),
    "history": ("id", "state", "due", "finished", "took=seconds", "attempts", "~error", "result"),
    "tasks": ("name", "when", "state=last_state", "took=last_seconds", "next_run", "last_run", "running"),
    "timeline": ("at", "what", "subject", "who", "~detail"),
    "acts": ("number", "at", "who", "what", "subject", "~why"),
    "recipes": ("name", "simulated", "~summary", "~columns"),
    "contributions": ("input", "value", "contribution"),
    "findings": ("kind", "subject", "mended", "harmless", "~detail", "~remedy"),
    "check": ("kind", "subject", "mended", "harmless", "~detail", "~remedy"),
    "saved": ("name", "at", "bytes", "rows", "release", "whole", "~error"),
    "archive": ("model", "before", "waiting", "oldest", "archived", "dropped", "bared"),
    "archive_files": ("model", "period", "start", "end", "rows", "labelled", "thawed", "features", "bytes", "~sha256"),
    "files": ("model", "period", "start", "end", "rows", "labelled", "thawed", "bytes", "sha256"),
    "backups": ("id", "model", "version", "at", "size", "sha256"),
    "reports": ("id", "kind", "start", "end", "insights", "recommendations", "~files"),
    "accesses": ("at", "who", "act", "records", "person", "~detail"),
    "configuration": ("key", "source", "value"),
    "statements": ("calls", "took=seconds", "worst", "~statement", "~plan"),
    "steps": ("name", "at", "took=seconds", "~detail"),
    "deliveries": ("channel", "event", "state", "attempts", "due", "~error"),
}  # fmt: skip
"""For each list, and each field that holds one: what is shown of it. See ``show.table`` for how columns are written."""

MOMENTS = frozenset({"since", "start", "end", "opened", "at", "began", "until"})
"""Fields that are seconds since 1970 where they are numbers."""
SPANS = frozenset({
    "shadow", "stage", "last", "seconds_to_proof", "horizon", "tolerance", "limit", "window", "look", "seconds",
    "last_seconds", "holds", "cooldown",
})  # fmt: skip
"""Fields that are seconds."""
TONES = {
    "head": "1", "quiet": "2", "ok": "32", "ready": "32", "done": "32", "resolved": "32", "promoted": "32",
    "critical": "1;31", "high": "31", "error": "31", "failed": "31", "unhealthy": "1;31", "warning": "33",
    "medium": "33", "slow": "33", "disabled": "33", "unknown": "35", "checksum_mismatch": "1;31", "running": "36",
    "open": "33", "rolled_back": "33", "rejected": "31",
}  # fmt: skip
"""ANSI colours by word."""
