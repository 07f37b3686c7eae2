"""The Python of a page as whole programs: blocks that go on where others ended are joined with them."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page: Path) -> list[str]:
    """The programs of a page, with their lines where the page has them. A block that uses names of others belongs to them."""
    text = page.read_text(encoding="utf-8")
    found: list[str] = []
    for match in BLOCK.finditer(text):
        block = "\n" * text.count("\n", 0, match.start(1)) + match[1]
        if found and _borrows(match[1]):
            found[-1] += block[found[-1].count("\n") :]
        else:
            found.append(block)
    return found


def _borrows(code: str) -> bool:
    """Whether code reads a name that it never binds."""
    bound, read = set(dir(builtins)) | {"__name__", "__file__"}, set[str]()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=alias):
                bound.add(alias or name.partition(".")[0])
    return not read <= bound
