"""Makes the virtual environment and installs a hashed requirements file and this checkout into it.

Usage: python3 tools/bootstrap.py .venv requirements.txt

uv does the installing (it is 5 to 10 times faster than pip) and is itself installed by pip inside the environment. It
trusts the certificates of the machine, as pip does, so that it works behind a company's proxy; where it fails, pip does
its work.
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
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = environment / "bin" / "uv"
    if not uv.exists():
        run([*pip, "uv"])
    print(f"installing {requirements}", flush=True)
    fast = [str(uv), "pip", "install", "--quiet", "--system-certs", "--python", str(python)]
    for what in (
        ["--require-hashes", "--requirement", str(requirements)],
        ["--no-deps", "--no-build-isolation", "--editable", "."],
    ):
        if run([*fast, *what], must=False):
            print("uv could not install; trying with pip", flush=True)
            run([*pip, *what])


def run(command: list[str], *, must: bool = True) -> int:
    """Run a command and give its exit code; when it must succeed and fails, stop with that code."""
    code = subprocess.run(command, check=False).returncode
    if code and must:
        sys.exit(code)
    return code


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
