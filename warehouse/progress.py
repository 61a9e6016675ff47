"""How long work shows itself: bars in a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

PLAIN_SECONDS = 5.0


class ProgressDisplay:
    """Called with a phase, what it works on, rows done, and rows in all or None."""

    def __init__(self, console: Console) -> None:
        """Show on `console`."""
        self._console = console
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._last_line = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} rows"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "ProgressDisplay":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, phase: str, what: str, done: int, total: int | None) -> None:
        """Show that `done` rows of `what` are through `phase`."""
        if self._console.is_terminal:
            # A tick goes by in a moment: one bar for all of its tables.
            key = (phase, what if total else "")
            if key not in self._bars:
                self._bars[key] = self._progress.add_task(phase)
            self._progress.update(
                self._bars[key], description=f"{phase} {what}", completed=done, total=total
            )
            return
        is_done = total is not None and done >= total
        if is_done or time.monotonic() - self._last_line > PLAIN_SECONDS:
            self._last_line = time.monotonic()
            of_all = f" of {total:,}" if total else ""
            self._console.print(f"{phase} {what}: {done:,}{of_all} rows", soft_wrap=True)
