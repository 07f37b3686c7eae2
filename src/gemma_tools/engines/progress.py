"""What a terminal shows while a model is downloaded or loaded. Nothing is shown anywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

_LARGE = 50_000_000
"""The size from which a file takes long enough to load to be shown, in bytes."""


def on_terminal() -> bool:
    """Whether there is a terminal, and HF_HUB_DISABLE_PROGRESS_BARS does not turn the display off."""
    off = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in ("1", "ON", "YES", "TRUE")
    return sys.stderr is not None and sys.stderr.isatty() and not off


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Show that a large file is loading, and then how long it took.

    It is one line and not a bar: while llama.cpp loads, no other Python code runs.
    """
    size = path.stat().st_size
    if size < _LARGE or not on_terminal():
        yield
        return
    what, start = f"{path.name}, {size / 1e9:.2f} GB", monotonic()
    print(f"loading {what} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        print(file=sys.stderr)
        raise
    print(f"\r\x1b[Kloaded {what}, in {monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def download_bar() -> type[Any] | None:
    """The bar for `hf_hub_download`: the file, its bytes and the time. Without rich None, and the Hub's client uses its own."""
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        return None
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Bar(tqdm):
        """A bar with the interface that the Hub's client expects, drawn by rich; one per file, however it is transferred."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options, gui=True)  # type: ignore[no-untyped-call]
            if self.disable:
                return
            self._drawn = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(stderr=True),
            )
            # Releases of the Hub's client name the file here, or its path, or its address shortened from the left.
            file = self.desc.rpartition("/")[2].partition(":")[0]
            self._task = self._drawn.add_task(file, total=self.total, completed=self.n)
            self._drawn.start()

        def display(self, *_: object, **__: object) -> None:
            if not self.disable:
                self._drawn.update(self._task, completed=self.n, total=self.total)

        def clear(self, *_: object, **__: object) -> None:
            """Leave the drawing to rich."""

        def close(self) -> None:
            if not self.disable:
                self.display()
                self._drawn.stop()
            super().close()

        def update_transfer(self, _: int) -> None:
            """Draw no second bar for network traffic, as the Hub's client does without this."""

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
            """Likewise."""

    return Bar
