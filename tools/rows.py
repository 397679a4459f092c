"""Prints which rows of the acceptance checklist a passing test claims, from the last `make test` (or `make prove`).

Usage: python3 tools/rows.py [CHECKLIST.md]
"""

import json
import re
import sys
from pathlib import Path

RESULTS = Path("build/rows.json")


def main(checklist: Path | None) -> None:
    """Print claimed and, when the checklist is at hand, unclaimed rows."""
    if not RESULTS.exists():
        sys.exit(f"{RESULTS} is missing: run `make test` first")
    rows: dict[str, dict[str, str]] = json.loads(RESULTS.read_text())
    for row in sorted(rows):
        bad = [test for test, outcome in rows[row].items() if outcome != "passed"]
        state = f"FAILING {' '.join(bad)}" if bad else f"{len(rows[row])} passing"
        print(f"{row:7} {state}")
    if checklist and checklist.exists():
        wanted = re.findall(r"^\| ([A-Z]+\d?-\d\d) \|", checklist.read_text(), flags=re.MULTILINE)
        missing = [row for row in wanted if row not in rows]
        print(f"\n{len(wanted) - len(missing)} of {len(wanted)} rows have a test; without one:\n{' '.join(missing)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
