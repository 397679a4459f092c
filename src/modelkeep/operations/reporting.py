"""Reports: how everything did over a day, a week or a month; made, listed and shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.claims import address
from modelkeep.errors import NotFound
from modelkeep.jobs import reports
from modelkeep.jobs.reports.parts import Kind, Report
from modelkeep.operations.act import Operation

if TYPE_CHECKING:
    from modelkeep.app import App


class MakeReport(Struct, frozen=True, kw_only=True):
    """Which report: ``daily``, ``weekly``, ``monthly``, or ``performance`` of any number of ``days``.

    Without ``days`` it is 1, 7, 30 and 7 days. ``quiet`` tells nobody of it.
    """

    kind: Annotated[Kind, Meta(description="daily, weekly, monthly or performance")]
    days: Annotated[int, Meta(description="Of so many days up to now", ge=0, le=reports.LONGEST)] = 0
    quiet: Annotated[bool, Meta(description="Write it, and tell nobody")] = False


class ListReports(Struct, frozen=True, kw_only=True):
    """Nothing to say: every report that is kept."""


class OneReport(Struct, frozen=True, kw_only=True):
    """Which report."""

    id: Annotated[str, Meta(description="Id of the report", min_length=1, max_length=200)]


class ReportEntry(Struct, frozen=True, kw_only=True):
    """A report that is kept, with its files in the data folder."""

    id: str
    kind: str
    start: datetime
    end: datetime
    made: datetime
    insights: int
    recommendations: int
    files: tuple[str, ...]


class ReportList(Struct, frozen=True, kw_only=True):
    """Reports, newest first."""

    reports: tuple[ReportEntry, ...]


def make_report(app: App, request: MakeReport) -> Report:
    """Make a report: models, system, users, business, insights, recommendations, and where it was delivered.

    It is written as HTML, Markdown and JSON into ``reports`` of the data folder, and the channels are told of it. Each
    number has what it stands on, its change from as long a time before, and the query that it comes from; what is
    unknown says why. Insights are only those changes whose interval leaves out 0.
    """
    wanted = reports.Wanted(kind=request.kind, days=request.days, tell=not request.quiet)
    return reports.make(app.rooms, wanted, base=address(app.rooms.folder))


def list_reports(app: App, _: ListReports) -> ReportList:
    """List the reports that are kept, newest first."""
    found = reports.kept(app.rooms)
    return ReportList(
        reports=tuple(
            ReportEntry(
                id=one.id,
                kind=one.kind,
                start=one.start,
                end=one.end,
                made=one.made,
                insights=len(one.insights),
                recommendations=len(one.recommendations),
                files=one.delivery.files,
            )
            for one in found
        )
    )


def show_report(app: App, request: OneReport) -> Report:
    """Show a report as it was made.

    Raises NotFound naming near ones.
    """
    found = {one.id: one for one in reports.kept(app.rooms)}
    if request.id not in found:
        raise NotFound("report", request.id, known=found)
    return found[request.id]


OPERATIONS = (
    Operation(
        name="report", method="POST", path="/v1/reports", request=MakeReport, result=Report, run=make_report,
        words=("report",), plain=("kind",), status=201,
    ),
    Operation(
        name="reports", method="GET", path="/v1/reports", request=ListReports, result=ReportList, run=list_reports,
        words=("reports", "list"),
    ),
    Operation(
        name="report_shown", method="GET", path="/v1/reports/{id}", request=OneReport, result=Report, run=show_report,
        words=("reports", "show"), plain=("id",),
    ),
)  # fmt: skip
