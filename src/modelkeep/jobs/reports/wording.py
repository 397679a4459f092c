"""A report as Markdown, and as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from modelkeep.jobs.reports.parts import Figure, Report

_TITLES = {"daily": "Daily", "weekly": "Weekly", "monthly": "Monthly", "performance": "Performance"}
_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #8884}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;vertical-align:top;border-bottom:1px solid #8882}
.quiet{opacity:.7}.worse{color:#c62828}code{font-size:.9em}
@media(prefers-color-scheme:dark){.worse{color:#ff8a80}}
"""
HEADS = ("what", "of", "value", "before", "change", "n", "remark")


def title(report: Report) -> str:
    """The heading: which report, of which time."""
    days = f"{report.start:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} UTC"
    return f"{_TITLES[report.kind]} report, {days}"


def markdown(report: Report, *, base: str = "") -> str:
    """The seven parts as Markdown; every value links to its query at ``base``."""
    lines = [f"# {title(report)}", ""]
    for head, figures, notes in parts(report):
        lines += [f"## {head}", ""]
        if figures:
            lines += [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
            lines += ["| " + " | ".join(_cells(one, base=base)) + " |" for one in figures] + [""]
        lines += [f"- {_flat(each)}" for each in notes] + ([""] if notes else [])
    return "\n".join(lines)


def page(report: Report, *, base: str = "") -> str:
    """The seven parts as one HTML page without script; every value links to its query at ``base``."""
    body = []
    for head, figures, notes in parts(report):
        body.append(f"<h2>{escape(head)}</h2>")
        if figures:
            heads = "".join(f"<th>{one}</th>" for one in HEADS)
            rows = "".join(_row(one, base=base) for one in figures)
            body.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
        if notes:
            body.append("<ul>" + "".join(f"<li>{_coded(each)}</li>" for each in notes) + "</ul>")
    head = escape(title(report))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{head}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{head}</h1>{''.join(body)}</body></html>\n"
    )


def parts(report: Report) -> Iterable[tuple[str, Sequence[Figure], list[str]]]:
    """Each part: its heading, its figures, its sentences. A command stands in backquotes."""
    models, system, users = report.model_metrics, report.system_metrics, report.user_metrics
    yield "Models", [f for m in models for f in _of_model(m)], _of_weights(report)
    states = [f"{name}: {state}" for name, state in system.services.items()]
    states += [f"error of {one.model} at {one.at:%Y-%m-%d %H:%M:%S}: {one.error}" for one in system.last_errors]
    times = ", ".join(f"{one:g}" for one in system.last_processing_times_ms)
    states += [f"last processing times: {times} ms" if times else "no prediction was timed yet"]
    counts = ", ".join(f"{n} {severity}" for severity, n in system.alerts.items())
    states += [f"alerts that opened: {counts or 'none'}"]
    machine = [system.average_memory_usage, system.cpu_utilization, system.network_usage, system.error_rate]
    yield "System", machine, states
    counts = ", ".join(f"{n} times {rating}" for rating, n in users.ratings.items())
    asked = [users.predictions, users.feedback, users.average_rating, users.user_alerts]
    yield "Users", asked, [f"ratings: {counts or 'none were given'}"]
    business = report.business_metrics
    yield "Business", business.figures, [business.note] if business.note else []
    yield "Insights", [], [*(one.text for one in report.insights), report.insights_note]
    advised = [f"{one.text}: `{one.command}` ({one.why})" for one in report.recommendations]
    yield "Recommendations", [], advised or [report.recommendations_note]
    delivery = report.delivery
    told = f"told as alert {delivery.alert} to {', '.join(delivery.channels)}" if delivery.alert else "told to nobody"
    yield "Delivery", [], [f"files: {', '.join(delivery.files)}", told]


def _of_model(one: object) -> list[Figure]:
    found = [getattr(one, name) for name in ("average_inference_time", "model_accuracy", "model_availability")]
    return [figure for figure in found if isinstance(figure, Figure)]


def _of_weights(report: Report) -> list[str]:
    lines = [] if report.model_metrics else ["no model answers here"]
    for model in report.model_metrics:
        for one in model.ensemble_weight_adjustments:
            shares = ", ".join(f"{name} {weight:.3g}" for name, weight in one.weights.items()) or "not readable"
            lines.append(f"weights of {one.version} since {one.at:%Y-%m-%d %H:%M}: {shares}")
        lines += [model.note] if model.note else []
    return lines


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}{unit}" if abs(value) >= 10_000 else f"{value:.4g}{unit}"


def texts(one: Figure) -> tuple[str, ...]:
    """A figure in words, one for each of ``HEADS``."""
    unit = f" {one.unit}" if one.unit else ""
    change = "unknown" if one.change is None else f"{one.change:+.3g}"
    if one.change_interval is not None:
        change += f" ({one.change_interval[0]:+.3g} to {one.change_interval[1]:+.3g})"
    elif one.change is not None:
        change += " (not testable)"
    value, before = _number(one.value, unit), _number(one.before, unit)
    return one.name, one.subject, value, before, change, f"{one.n} / {one.n_before}", one.detail


def _cells(one: Figure, *, base: str) -> list[str]:
    cells = [_flat(text).replace("|", "\\|") for text in texts(one)]
    if one.query:
        cells[2] = f"[{cells[2]}]({base}{one.query})"
    return cells


def _row(one: Figure, *, base: str) -> str:
    name, subject, value, *rest = map(escape, texts(one))
    if one.query:
        value = f'<a href="{escape(base + one.query)}" title="{escape(one.command)}">{value}</a>'
    tone = ' class="worse"' if one.worse else ""
    cells = "".join(f"<td>{text}</td>" for text in (name, subject, value, *rest[:-1]))
    return f'<tr{tone}>{cells}<td class="quiet">{rest[-1]}</td></tr>'


def _flat(text: str) -> str:
    return " ".join(text.split())


def _coded(text: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    parts = escape(_flat(text)).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
