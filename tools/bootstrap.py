"""Makes the virtual environment and installs a hashed requirements file and this checkout into it.

Usage: python3 tools/bootstrap.py .venv requirements.txt

uv does the installing (it is 5 to 10 times faster than pip) and is itself installed by pip inside the environment.
"""

import subprocess
import sys
from pathlib import Path

LEAST = (3, 11)


def main(environment: Path, requirements: Path) -> None:
    """Make or update ``environment`` so that it holds exactly what ``requirements`` names, and this checkout."""
    if sys.version_info < LEAST:
        sys.exit(f"Python {'.'.join(map(str, LEAST))} or newer is needed, this is {sys.version.split()[0]}")
    python = environment / "bin" / "python"
    if not python.exists():
        print(f"creating {environment}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False, capture_output=True)
        if made.returncode:
            sys.exit("this Python cannot make virtual environments; on Debian: apt-get install python3-venv")
    uv = environment / "bin" / "uv"
    if not uv.exists():
        run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
    print(f"installing {requirements}", flush=True)
    install = [str(uv), "pip", "install", "--quiet", "--python", str(python)]
    run([*install, "--require-hashes", "--requirement", str(requirements)])
    run([*install, "--no-deps", "--no-build-isolation", "--editable", "."])


def run(command: list[str]) -> None:
    """Run a command and stop with its exit code when it fails."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
