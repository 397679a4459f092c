"""Writes the hashed requirements files anew from pyproject.toml, without naming any registry.

Usage: make lock
"""

import subprocess
import sys
from pathlib import Path

EXTRAS = [
    "arrow", "compiled", "data", "demo", "grpc", "mlflow", "onnx", "postgres", "privacy", "redis", "restaurants",
    "weight", "xgboost",
]  # fmt: skip
FILES = {"requirements.txt": ["demo"], "requirements-dev.txt": [*EXTRAS, "dev"]}


def main() -> None:
    """Resolve the newest versions for every Python that the product supports."""
    uv = Path(sys.executable).parent / "uv"
    for name, extras in FILES.items():
        chosen = [word for extra in extras for word in ("--extra", extra)]
        command = [str(uv), "pip", "compile", "pyproject.toml", "tools/build.in", "--universal", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--upgrade", "--quiet"]
        subprocess.run([*command, *chosen, "--output-file", name], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
