"""A Hugging Face Hub on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.servers.loopback import JsonHandler, serving

FAULTS = {"/owner/gated/": (403, "GatedRepo"), "/owner/repo/": (404, "EntryNotFound"), "/": (404, "RepoNotFound")}
"""What is answered for other paths that begin so: a status, and the Hub's word for it."""


@contextlib.contextmanager
def hub(file: Path) -> Iterator[str]:
    """Serve `file` as folder/x.gguf of owner/repo, beside a repository that is gated; yields the address."""

    class Hub(JsonHandler):
        def do_HEAD(self) -> None:
            self.answer_head()

        def do_GET(self) -> None:
            if self.answer_head():
                with file.open("rb") as content:
                    while piece := content.read(1 << 20):
                        self.wfile.write(piece)

        def answer_head(self) -> bool:
            found = self.path == "/owner/repo/resolve/main/folder/x.gguf"
            status, code = (200, "") if found else next(FAULTS[place] for place in FAULTS if self.path.startswith(place))
            self.send_response(status)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", '"e"')
            self.send_header("Content-Length", str(file.stat().st_size if found else 0))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            return found

    with serving(Hub) as url:
        yield url
