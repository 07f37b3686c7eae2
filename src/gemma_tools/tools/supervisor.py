"""A script of its own: runs a program within limits, and ends it with everything that it started.

    python -I -S supervisor.py LIMITS PROGRAM [ARGUMENT...]

LIMITS is a JSON object from names in `resource` (such as RLIMIT_AS) to numbers. Standard input is a socket: if it closes, also
because the caller dies, the program is ended. One byte is sent on it when nothing is left. This process exits like the program.

On Linux this process is the subreaper of everything that the program starts: a process that leaves its group, its session and
its environment becomes a child of this process when its parent ends, and is ended here. On other systems only the program's
group is ended.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress

LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 24, 36
LOOKING_CAPABILITIES = (19, 21, 38)
"""CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON: with one of them, root may inspect protected processes."""
OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def control(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2)), if the system supports it."""
    if LINUX:
        ctypes.CDLL(None).prctl(*map(ctypes.c_ulong, (option, value, 0, 0, 0)))


def become(limits: dict[str, int], command: list[str]) -> None:
    """Turn this process, a child, into the program."""
    os.setsid()
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    for capability in LOOKING_CAPABILITIES:
        control(PR_CAPBSET_DROP, capability)
    for name, most in limits.items():
        # A system that does not support a limit, or already has a lower one, keeps its own.
        with suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
        os._exit(127)


def ended(program: int) -> int | None:
    """The status of the program, if it has ended. Other processes that have ended are ignored."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == program:
                return found[1]
    return None


def children() -> list[int]:
    """The children of this process (Linux)."""
    me, found = str(os.getpid()), []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # a few imports less
            if file.read().rpartition(b")")[2].split()[1].decode() == me:
                found.append(int(name))
    return found


def end(program: int) -> int | None:
    """Kill the program and what it started until nothing is left; return the program's status, if it was not known."""
    status = None
    while True:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(program, signal.SIGKILL)
        for child in children() if LINUX else [program]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            found, how = os.waitpid(-1, 0)  # the children of killed processes are children of this process now
        except ChildProcessError:
            return status
        status = how if found == program else status


def main() -> None:
    """Run the program until it ends, or the caller does."""
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    control(PR_SET_CHILD_SUBREAPER, 1)
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    program = os.fork()
    if program == 0:
        for number in (*OURS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        become(json.loads(sys.argv[1]), sys.argv[2:])
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # only the program uses the pipes
        os.dup2(nowhere, stream)
    status = None
    while status is None and 0 not in select.select([0, waking], [], [])[0]:
        os.read(waking, 512)
        status = ended(program)
    left = end(program)
    status = left if status is None else status
    with suppress(OSError):
        socket.socket(fileno=0).send(b".")
    if status is not None and os.WIFSIGNALED(status):
        with suppress(OSError, ValueError):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(0 if status is None else os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
