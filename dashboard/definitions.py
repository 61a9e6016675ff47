"""The Portuguese definition of each KPI, from the one place that has it: the dbt docs blocks."""

import re
from functools import cache

from warehouse.settings import PROJECT_ROOT

PATH = PROJECT_ROOT / "models" / "marts" / "_kpis.md"
_BLOCK = re.compile(r"{%-?\s*docs\s+(\w+)\s*-?%}(.*?){%-?\s*enddocs\s*-?%}", re.DOTALL)
_PORTUGUESE = re.compile(r"^pt:\s*(.+)$", re.MULTILINE)


@cache
def _definitions() -> dict[str, str]:
    if not PATH.exists():
        return {}
    return {
        name: found[1].strip()
        for name, text in _BLOCK.findall(PATH.read_text(encoding="utf-8"))
        if (found := _PORTUGUESE.search(text))
    }


def definition(name: str) -> str | None:
    """The `pt:` line of docs block `name`; None when there is none."""
    return _definitions().get(name)
