"""An MLflow model registry, read through MLflow's own client (the extra ``mlflow``).

Supported flavors are those whose file this product runs itself: ``sklearn`` (skops, else pickle with explicit trust)
and ``lightgbm`` (its own text). A registry in a SQLite file is copied first, because MLflow's client upgrades the
schema of what it opens.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.logging_utils import disable_logging

from modelkeep.errors import BadArtifact, Unavailable
from modelkeep.nouns import Field, Kind, Lineage, Signature
from modelkeep.runtimes.formats import inspect
from modelkeep.runtimes.registries import Entry, Fetched, finite

FLAVORS = {"sklearn": "pickled_model", "lightgbm": "data"}
"""The flavors that can be taken over, and the key of their file in ``MLmodel``."""
_KINDS: dict[str, Kind] = {
    "double": "number", "float": "number", "long": "integer", "integer": "integer", "boolean": "boolean",
    "string": "category",
}  # fmt: skip


class MlflowRegistry:
    """The registry at a tracking address: ``http://...``, ``sqlite:///...``, or a ``.db`` file."""

    def __init__(self, place: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="registry-")
        self._uri = self._copied(place)
        self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def entries(self) -> list[Entry]:
        """Every registered version, by name and then oldest first. Raises Unavailable."""
        try:
            found = sorted(self._client.search_model_versions(), key=lambda v: (v.name, int(v.version)))
        except MlflowException as cause:
            raise Unavailable(f"the MLflow registry cannot be read: {_said(cause)}") from None
        newest = {version.name: version.version for version in found}
        return [self._entry(version, newest=newest[version.name] == version.version) for version in found]

    def fetch(self, entry: Entry, folder: Path) -> Fetched:
        """Download one version and find its model file, whatever its problems. Raises BadArtifact."""
        if entry.absent:
            raise BadArtifact(f"{entry.name}@{entry.version}: {entry.absent}", remedy="choose another version")
        try:
            version = self._client.get_model_version(entry.name, entry.version)
            here = Path(
                download_artifacts(
                    self._client.get_model_version_download_uri(entry.name, entry.version),
                    dst_path=str(folder),
                    tracking_uri=self._uri,
                    registry_uri=self._uri,
                )
            )
            described = Model.load(str(here))
        except (MlflowException, OSError) as cause:
            raise BadArtifact(f"{entry.name}@{entry.version} cannot be had: {_said(cause)}") from None
        flavor = next((name for name in FLAVORS if name in described.flavors), None)
        if flavor is None:
            known = ", ".join(sorted(set(described.flavors) - {"python_function"})) or "python_function"
            raise BadArtifact(
                f"{entry.name}@{entry.version} is of the flavor {known}, which is not run here",
                remedy=f"log it as one of {', '.join(FLAVORS)}",
            )
        path = here / str(described.flavors[flavor][FLAVORS[flavor]])
        return Fetched(
            entry=entry,
            path=path,
            signature=_signature(described, path),
            lineage=Lineage(source=f"MLflow {entry.name} version {entry.version}", code=f"run {version.run_id}"),
            note=str(version.description or ""),
        )

    def _entry(self, version: ModelVersion, *, newest: bool) -> Entry:
        metrics, problems = finite(self._metrics(version))
        remarks = () if version.current_stage not in {None, "None"} or version.aliases else ("no stage and no alias",)
        return Entry(
            name=version.name,
            version=str(version.version),
            newest=newest,
            metrics=metrics,
            absent=self._absent(version),
            problems=problems,
            remarks=remarks,
        )

    def _metrics(self, version: ModelVersion) -> dict[str, float]:
        """The metrics of the run that made the version; none when the run is gone."""
        run = version.run_id
        found: dict[str, float] = (
            _asked(lambda: dict(self._client.get_run(run).data.metrics), otherwise={}) if run else {}
        )
        return found

    def _absent(self, version: ModelVersion) -> str:
        """Why the version's files cannot be there, as far as its address tells."""
        uri = _asked(lambda: self._client.get_model_version_download_uri(version.name, version.version), otherwise="")
        if not uri:
            return "its registry does not say where its files are"
        address = urlsplit(uri)
        local = address.scheme in {"", "file"} and not Path(unquote(address.path)).exists()
        return f"its files are gone: {uri}" if local else ""

    def _copied(self, place: str) -> str:
        file = place.removeprefix("sqlite:///") if place.startswith("sqlite:///") else place
        if file.startswith(("http://", "https://")):
            return file
        if not Path(file).is_file():
            raise Unavailable(f"there is no registry {file!r}", remedy="check the path")
        copy = Path(self._scratch.name) / "registry.db"
        shutil.copyfile(file, copy)
        return f"sqlite:///{copy}"


def _asked(question: Callable[[], Any], *, otherwise: Any) -> Any:
    try:
        return question()
    except MlflowException:
        return otherwise


def _signature(described: Model, path: Path) -> Signature | None:
    """The signature as far as MLflow knows it: named columns; the output is a class when the file says so."""
    inputs = described.get_input_schema()
    if inputs is None or not inputs.has_input_names():
        return None
    fields = tuple(_fields(json.loads(json.dumps(inputs.to_dict()))))
    if len(fields) != len(inputs.input_names()):
        return None
    classifies = bool(inspect(path, trust=True).classifies)  # looked at only; running it is the register's decision
    kind: Kind = "category" if classifies else "number"
    return Signature(inputs=fields, output=Field(name="prediction", kind=kind))


def _fields(columns: Iterable[dict[str, Any]]) -> Iterable[Field]:
    for column in columns:
        kind = _KINDS.get(str(column.get("type")))
        if kind is not None:
            yield Field(name=str(column["name"]), kind=kind, nullable=not column.get("required", True))


def _said(cause: Exception) -> str:
    return str(cause).partition("\n")[0][:300]


disable_logging()  # its client would write notes of its own to the terminal
