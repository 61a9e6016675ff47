"""Name and Portuguese definition of each KPI, from their one place: the dbt docs blocks."""

import re
from dataclasses import dataclass
from functools import cache

from warehouse.errors import MiranteError
from warehouse.settings import PROJECT_ROOT

PATH = PROJECT_ROOT / "models" / "marts" / "_kpis.md"
_BLOCK = re.compile(r"{%-?\s*docs\s+(\w+)\s*-?%}(.*?){%-?\s*enddocs\s*-?%}", re.DOTALL)
_LINE = re.compile(r"^(label|pt):[ \t]*(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """A KPI as the pages call and explain it."""

    label: str
    text: str


@cache
def _definitions() -> dict[str, Definition]:
    found = {}
    for name, block in _BLOCK.findall(PATH.read_text(encoding="utf-8")):
        lines = dict(_LINE.findall(block))
        if {"label", "pt"} <= lines.keys():
            found[name] = Definition(lines["label"].strip(), lines["pt"].strip())
    return found


def definition(name: str) -> Definition:
    """Docs block `name`. Raises MiranteError when it is not there or has no `label:` and `pt:`."""
    try:
        return _definitions()[name]
    except KeyError:
        raise MiranteError(f"{PATH.name} has no block {name} with label: and pt:") from None
