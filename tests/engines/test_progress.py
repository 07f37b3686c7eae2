"""What is shown while a model is fetched and loaded: on a terminal alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_tools.data import tiny_path
from support.servers.hub import hub

pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")

FETCH = "from gemma_tools.engines import create_engine; create_engine('hf:owner/repo/folder/x.gguf', threads=1).close()"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """That of a program whose Hub has a file large enough to be told of."""
    file = tmp_path / "x.gguf"
    with file.open("wb") as large:
        large.write(tiny_path().read_bytes())
        large.truncate(60_000_000)
    with hub(file) as url:
        yield {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "kept"), "TERM": "xterm"}


def on_a_terminal(code: str, environment: dict[str, str]) -> str:
    """What a program writes to a terminal as its standard error."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment):
        os.close(theirs)
        written = b""
        try:
            while some := os.read(ours, 65536):
                written += some
        except OSError:  # so the end is told on Linux
            pass
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())


def test_a_terminal_shows_the_file_its_bytes_and_the_time(environment: dict[str, str]) -> None:
    written = on_a_terminal(FETCH, environment)
    assert re.search(r"x\.gguf +━+ +60\.0/60\.0 MB +[0-9.]+ [MG]B/s +[0-9:]+\r?\n", written), written
    assert "loading x.gguf, 0.06 GB ..." in written
    assert re.search(r"loaded x\.gguf, 0\.06 GB, in [0-9.]+ s\r\n\Z", written), written


def test_nothing_is_shown_where_it_is_not_wanted(environment: dict[str, str]) -> None:
    assert on_a_terminal(FETCH, {**environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}) == ""


def test_nothing_is_shown_elsewhere(environment: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", FETCH], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_rich_the_hub_draws_its_own_bar(environment: dict[str, str]) -> None:
    written = on_a_terminal(f"import sys; sys.modules['rich'] = None; {FETCH}", environment)
    assert re.search(r"x\.gguf: 100%.*60\.0M", written), written


def test_a_file_in_chunks_has_one_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the Hub's client fetches what is stored in chunks: it tells what it has received, and what of the file is there."""
    from gemma_tools.engines.progress import download_bar

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = download_bar()
    assert bar is not None
    with bar(desc="y.gguf: reconstructing file", total=2_000_000, unit="B", unit_scale=True, disable=None) as drawn:
        drawn.update_transfer(500_000)
        drawn.set_transfer_postfix_str("1 MB/s", refresh=False)
        drawn.total = 4_000_000
        drawn.update(4_000_000)
    written = capsys.readouterr().err
    assert "4.0/4.0 MB" in written
    assert "reconstructing" not in written
    assert written.count("\n") == 1
