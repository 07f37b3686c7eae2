"""`get_system_info`: a tool that reports how busy this machine is. Needs psutil (the extra `tools`)."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gemma_tools.errors import MissingDependency
from gemma_tools.tools.functions import tool

try:
    import psutil  # type: ignore[import-untyped]
except ImportError:
    raise MissingDependency("psutil", "tools", "get_system_info") from None

_CPU_SECONDS = 0.1


@tool
def get_system_info(
    info_type: Annotated[Literal["cpu", "memory", "disk", "all"], Field(description="What to report, or all")] = "all",
) -> dict[str, Any]:
    """Gets the current use of this computer's processor, memory and disk. Sizes are in bytes."""
    readers = {"cpu": _cpu, "memory": _memory, "disk": _disk}
    if info_type != "all":
        return {info_type: readers[info_type]()}
    return {"system": platform.system(), **{name: read() for name, read in readers.items()}}


def _cpu() -> dict[str, Any]:
    return {
        "percent": psutil.cpu_percent(interval=_CPU_SECONDS),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
    }


def _memory() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {"percent": memory.percent, "total": memory.total, "available": memory.available}


def _disk() -> dict[str, Any]:
    disk = psutil.disk_usage(Path.cwd().anchor)
    return {"percent": disk.percent, "total": disk.total, "free": disk.free}
