"""Every setting there is, with its default and its range. ``docs/settings.md`` tells what each is for."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from modelkeep.errors import BadSettings
from modelkeep.extending import BUILT_IN
from modelkeep.jobs.schedule import Schedule
from modelkeep.nouns import Caching, Guards, Policy, Retention, Retrain, Severity, Trial
from modelkeep.quantities import DAY
from modelkeep.settings.secrets import Secret

Duration = Annotated[float, Meta(ge=0, extra={"written": "duration"})]
Share = Annotated[float, Meta(gt=0, le=1, extra={"written": "share"})]
Size = Annotated[int, Meta(ge=0, extra={"written": "size"})]
Address = Annotated[Secret, Meta(extra={"written": "address"})]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]

POLICY: Mapping[tuple[type[Struct], str], object] = {
    (Policy, "horizon"): Duration,
    (Policy, "tolerance"): Duration,
    (Policy, "limit"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Policy, "window"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Policy, "drift"): Annotated[float, Meta(gt=0)],
    (Policy, "lighter"): Annotated[int, Meta(ge=0)],
    (Policy, "memory"): Annotated[int, Meta(ge=64 * 1024 * 1024, extra={"written": "size"})],
    (Caching, "entries"): Annotated[int, Meta(ge=1, le=1_000_000)],
    (Caching, "ttl"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Retention, "hot"): Duration,
    (Retention, "features"): Duration,
    (Retention, "predictions"): Duration,
    (Guards, "error"): Annotated[float, Meta(gt=0, lt=1)],
    (Guards, "grain"): Duration,
    (Guards, "loss"): Annotated[float, Meta(gt=0, lt=1)],
    (Guards, "alpha"): Annotated[float, Meta(gt=0, lt=1)],
    (Guards, "beta"): Annotated[float, Meta(gt=0, lt=1)],
    (Trial, "shadow"): Duration,
    (Trial, "canary"): tuple[Share, ...],
    (Trial, "stage"): Duration,
    (Trial, "last"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Trial, "look"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Retrain, "window"): Annotated[float, Meta(gt=0, extra={"written": "duration"})],
    (Retrain, "least"): Count,
    (Retrain, "per_day"): Annotated[int, Meta(ge=0)],
}
"""How the fields of a model's policy are written and bounded; the noun itself only knows floats."""

OWNED: Mapping[type[Struct], frozenset[str]] = {Policy: frozenset({"model", "number", "since"})}
"""Fields that the product fills in, so that nobody may set them."""


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Where the server listens; all ``listen`` ports answer the same (0 = any free port).

    ``trust`` lets every caller vouch for code, not only commands of the folder's owner. ``patience`` is how long a
    request may take to arrive; a longer body has a second more for each KB. ``workers`` are the processes that
    answer predictions on the same ports. ``grpc`` is the port of the Open Inference Protocol over gRPC (0 = any free
    port; None: not spoken), with TLS when ``grpc_certificate`` and ``grpc_key`` name PEM files (relative to the data
    folder), and then only for callers whose certificate one of ``grpc_clients`` has signed, when it names a file.
    ``names`` are those by which browsers may ask beside ``localhost`` (``*``: any).
    """

    host: str = "127.0.0.1"
    listen: Annotated[tuple[Port, ...], Meta(min_length=1, max_length=16)] = (8000,)
    body: Annotated[int, Meta(ge=1024, extra={"written": "size"})] = 16 * 1024 * 1024
    token: Secret | None = None
    trust: bool = False
    patience: Annotated[float, Meta(ge=1, extra={"written": "duration"})] = 30.0
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    grpc: Port | None = None
    grpc_certificate: str = ""
    grpc_key: str = ""
    grpc_clients: str = ""
    names: tuple[str, ...] = ()

    @property
    def halved(self) -> tuple[str, str]:
        """A setting of TLS that is given, and the one that it lacks; two empty texts when none does."""
        if self.grpc_certificate and not self.grpc_key:
            return "grpc_certificate", "grpc_key"
        given = "grpc_key" if self.grpc_key else "grpc_clients" if self.grpc_clients else ""
        return (given, "grpc_certificate") if given and not self.grpc_certificate else ("", "")

    @property
    def exposed(self) -> bool:
        """True when another machine could reach it."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"


class StoreSettings(Struct, frozen=True, kw_only=True):
    """The database: PostgreSQL at ``url``, or without one SQLite; a relative ``path`` is inside the data folder.

    ``busy`` is how long to wait for its lock. Of PostgreSQL, ``pool_size`` connections stay open and ``max_overflow``
    more are opened when needed; ``pre_ping`` tries one before it is used.
    """

    url: Address | None = None
    path: str = "modelkeep.db"
    busy: Duration = 5.0
    pool_size: Annotated[int, Meta(ge=2, le=1000)] = 10
    max_overflow: Annotated[int, Meta(ge=0, le=1000)] = 20
    pre_ping: bool = True


class RecorderSettings(Struct, frozen=True, kw_only=True):
    """How predictions and outcomes become durable, and how many may wait in memory while the store is away.

    ``batch`` records make a group at once, without waiting for its window.
    """

    durability: Literal["async", "sync"] = "async"
    held: Count = 20_000
    spool: Size = 256 * 1024 * 1024
    batch: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class LoadingSettings(Struct, frozen=True, kw_only=True):
    """Which models are loaded before anybody asks (``all``, ``none``, ``top10``: of the last 7 days), and which stay.

    At most ``limit`` stay in memory (0 = all), and those that were asked within ``idle`` (0 = ever). ``threads`` bounds
    those of numeric libraries (0 = the process's share of the cores, at most 2). With ``collect`` what a large batch
    has left behind goes back to the system. With ``isolate`` versions that bring code run in processes of their own,
    as their policies say, and the server tries every file apart that is registered, ``trial`` seconds a step; without
    it none does.
    """

    preload: Annotated[str, Meta(pattern=r"^(all|none|top[1-9]\d{0,5})$")] = "all"
    limit: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    idle: Duration = 0.0
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    collect: bool = False
    isolate: bool = True
    trial: Annotated[float, Meta(gt=0, le=86_400, extra={"written": "duration"})] = 60.0


class WatchSettings(Struct, frozen=True, kw_only=True):
    """How often models are measured and rules evaluated; 0 switches watching off."""

    every: Duration = 60.0


class JobsSettings(Struct, frozen=True, kw_only=True):
    """Workers in this process, the longest pause between looks at the queue, leases and attempts."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 2
    poll: Annotated[float, Meta(gt=0, le=60, extra={"written": "duration"})] = 0.5
    lease: Annotated[float, Meta(ge=1, extra={"written": "duration"})] = 30.0
    attempts: Annotated[int, Meta(ge=4, le=100)] = 5


class ChannelSettings(Struct, frozen=True, kw_only=True):
    """One way to tell people, and which alerts it is told of: those of ``types`` (all when empty), from ``least`` on.

    ``log`` writes to the log; ``webhook`` posts JSON to ``url``, with ``secret`` in its ``header``; ``slack`` posts to
    an incoming webhook ``url``; ``pagerduty`` enqueues events with the routing key ``secret``; ``email`` sends mail
    from ``sender`` to each address of ``to`` over ``host`` and ``port``, logged in as ``username`` with ``secret``.
    """

    kind: Literal["log", "webhook", "email", "slack", "pagerduty"]
    enabled: bool = True
    types: tuple[str, ...] = ()
    least: Severity | None = None
    product: str = "Modelkeep"
    timeout: Annotated[float, Meta(gt=0, le=60, extra={"written": "duration"})] = 5.0
    url: Address | None = None
    header: str = "Authorization"
    secret: Secret | None = None
    host: str = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    authority: str = ""
    username: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()

    @property
    def lacks(self) -> tuple[str, ...]:
        """The fields that its kind needs and that are not given."""
        return tuple(field for field in _NEEDED[self.kind] if not getattr(self, field))


_NEEDED: Mapping[str, tuple[str, ...]] = {
    "log": (),
    "webhook": ("url",),
    "slack": ("url",),
    "pagerduty": ("secret",),
    "email": ("host", "sender", "to"),
}


class AlertsSettings(Struct, frozen=True, kw_only=True):
    """Rules beside the built-in ones (a TOML file), and the channels by name; without any, alerts go to the log."""

    rules: str = ""
    channels: dict[str, ChannelSettings] = {}


class PrivacySettings(Struct, frozen=True, kw_only=True):
    """What protects people: with ``encrypt``, records are sealed under ``key`` (``previous`` still opens old ones).

    Both refer to a secret of at least 32 characters. ``accesses`` is how long it is kept who read records.
    """

    encrypt: bool = False
    key: Secret | None = None
    previous: Secret | None = None
    accesses: Duration = 365 * DAY


class ServicesSettings(Struct, frozen=True, kw_only=True):
    """Services beside the product whose health it watches: a Redis server, an MLflow server."""

    redis: Address | None = None
    mlflow: Address | None = None


class CallerSettings(Struct, frozen=True, kw_only=True):
    """What one caller may: requests a second and at once, and the most urgent priority that it can ask for."""

    rate: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    priority: Literal["", "critical", "normal", "batch"] = ""


class OverloadSettings(Struct, frozen=True, kw_only=True):
    """What happens when more is asked for than can be answered.

    ``rate`` and ``burst`` hold for each caller, known by the header ``caller`` or by its address. An overload ends
    ``calm`` after demand fits again, and everything is as before ``settle`` later. ``webhook`` is told once when one
    begins, and not again within ``every``. While it lasts, ``share`` of what could be answered is let in beside the
    critical.
    """

    rate: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    share: Annotated[float, Meta(ge=0.05, le=1)] = 1.0
    caller: str = ""
    callers: dict[str, CallerSettings] = {}
    calm: Annotated[float, Meta(ge=0.5, le=600, extra={"written": "duration"})] = 3.0
    settle: Annotated[float, Meta(ge=0.5, le=600, extra={"written": "duration"})] = 4.0
    webhook: Address | None = None
    every: Annotated[float, Meta(ge=1, extra={"written": "duration"})] = 600.0


class ArchiveSettings(Struct, frozen=True, kw_only=True):
    """When predictions go from the database to the archive's files: at the age ``after`` (0 = never)."""

    after: Duration = 90 * 86400.0


class KeepingSettings(Struct, frozen=True, kw_only=True):
    """How long what was measured is kept: ``readings`` one by one, after that by the day; ``backups`` by number."""

    readings: Duration = 7 * 86400.0
    backups: Annotated[int, Meta(ge=1, le=1000)] = 7


class LogsSettings(Struct, frozen=True, kw_only=True):
    """Log level, console, file (relative to the folder's ``logs``; empty = no file), its rotation.

    Files of the folder that nobody wrote to for ``age`` are deleted (0 = never); the open one stays.
    """

    console: bool = True
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: str = "modelkeep.log"
    size: Annotated[int, Meta(ge=10_000, extra={"written": "size"})] = 20 * 1024 * 1024
    keep: Annotated[int, Meta(ge=1, le=1000)] = 5
    age: Duration = 30 * 86400.0


SHORT: Mapping[type[Struct], str] = {StoreSettings: "url"}
"""Sections that may be one line: ``store = "postgresql://..."`` is ``store.url``."""


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration, read once by ``settings.load`` and never changed after.

    ``shared`` is the folder of what several servers on one store share, relative to the data folder; empty: the data
    folder itself.

    ``workloads`` are the kinds of model that come along: built-in ones by name, one's own as ``module:ATTRIBUTE``.
    ``sources`` tells, for every key that is not at its default, where its value came from; ``file`` is the
    configuration file that was read, or None.
    """

    folder: Path = Path("modelkeep-data")
    shared: str = ""
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    recorder: RecorderSettings = RecorderSettings()
    loading: LoadingSettings = LoadingSettings()
    watch: WatchSettings = WatchSettings()
    jobs: JobsSettings = JobsSettings()
    alerts: AlertsSettings = AlertsSettings()
    privacy: PrivacySettings = PrivacySettings()
    services: ServicesSettings = ServicesSettings()
    overload: OverloadSettings = OverloadSettings()
    archive: ArchiveSettings = ArchiveSettings()
    keeping: KeepingSettings = KeepingSettings()
    logs: LogsSettings = LogsSettings()
    workloads: tuple[str, ...] = tuple(BUILT_IN)
    schedules: dict[str, Schedule] = {}
    models: dict[str, Policy] = {}
    sources: dict[str, str] = {}
    file: Path | None = None

    @property
    def common(self) -> Path:
        """The folder of what all servers on one store share: artifacts, archive, data sets, backups."""
        return self.folder / self.shared

    @property
    def database(self) -> Path:
        """Where the SQLite database is."""
        return self.folder / self.store.path

    def check(self) -> None:
        """Raise BadSettings when values that are fine alone do not go together."""
        if self.server.exposed and self.server.token is None:
            raise BadSettings(
                f"server.host = {self.server.host!r} ({self.source('server.host')}) lets other machines in, "
                "and there is no token",
                remedy='set server.token = "env:NAME" or "file:/path", or listen on 127.0.0.1',
            )
        given, lacks = self.server.halved
        if lacks:
            raise BadSettings(
                f"server.{given} is set ({self.source(f'server.{given}')}), and there is no server.{lacks}",
                remedy="TLS on the gRPC port takes both, server.grpc_certificate and server.grpc_key",
            )
        if self.privacy.encrypt and self.privacy.key is None:
            raise BadSettings(
                f"privacy.encrypt is on ({self.source('privacy.encrypt')}), and there is no key",
                remedy='make one: modelkeep privacy key FILE, then set privacy.key = "file:FILE"',
            )
        for name, channel in self.alerts.channels.items():
            if channel.enabled and channel.lacks:
                field = channel.lacks[0]
                raise BadSettings(f"alerts.channels.{name}: {channel.kind} without {field}", remedy=f"add its {field}")

    def source(self, key: str) -> str:
        """Where the value of a dotted key came from."""
        return self.sources.get(key, "default")
