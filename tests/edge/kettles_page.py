"""The workload that docs/workloads/writing-your-own.md writes, taken from there."""

import importlib
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "workloads" / "writing-your-own.md"
NAME = "kettles:WORKLOAD"


def written(folder: Path) -> Path:
    """The page's code as a module in ``folder``, where Python finds it."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    (folder / "kettles.py").write_text(code, encoding="utf-8")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sys.modules.pop("kettles", None)
    importlib.invalidate_caches()
    return folder
