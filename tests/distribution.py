"""Check that the files in `dist/` are fit to be published: what is in them, and that they work where nothing else is installed.

    python tests/distribution.py

`nox -s build` makes the files and runs this. The README's Python is run in three new environments: with the wheel alone, with
its extra `local`, and with `standard`.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
WITHOUT_ENGINE = "MissingDependency: running a model in this process needs xllamacpp: pip install 'gemma-tools[local]'"
WITHOUT_COMMAND = "the gemma-tools command needs typer: pip install 'gemma-tools[cli]'"
ANSWER = 'get_weather {"city": "Lisbon"}'
LEFT_OUT = {".ci", ".gitignore"}
"""What the repository has at its top, and the sdist need not have."""


def tracked() -> set[str]:
    """The files of the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(listed.splitlines())


def check_wheel(wheel: Path) -> None:
    """The wheel has every file of the package, types and data included, and no other; its metadata is that of the changelog."""
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
        [metadata] = [file.read(name) for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        licences = [name for name in file.namelist() if ".dist-info/licenses/" in name]
    package = {name.removeprefix("src/") for name in tracked() if name.startswith("src/")}
    assert names == package, names ^ package
    assert {"gemma_tools/py.typed", "gemma_tools/data/tiny.gguf"} <= names
    assert licences, "the licence is missing"
    told = email.message_from_bytes(metadata)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(told['Version'])}\b", changelog, re.MULTILINE), "the changelog has no such version"
    extras = ", ".join(told.get_all("Provides-Extra", []))
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB, extras {extras}")


def check_sdist(sdist: Path) -> None:
    """The sdist has every file of the repository, but for a few, and nothing that was built or cached."""
    with tarfile.open(sdist) as file:
        names = {str(PurePosixPath(*PurePosixPath(one.name).parts[1:])) for one in file.getmembers() if one.isfile()}
    expected = {name for name in tracked() if name.split("/")[0] not in LEFT_OUT}
    assert names - {"PKG-INFO", ".gitignore"} == expected, (names - {"PKG-INFO", ".gitignore"}) ^ expected
    print(f"{sdist.name}: {len(names)} files, {sdist.stat().st_size / 1e6:.1f} MB")


class Environment:
    """A new virtual environment with what pip makes of `requirement`."""

    def __init__(self, folder: Path, requirement: str) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.home = folder
        self.run("python", "-m", "pip", "install", "--quiet", requirement)

    def run(self, command: str, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """What a command of the environment printed; it is run where the checkout cannot be imported."""
        alone = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        done = subprocess.run(
            [str(self.bin / command), *arguments], cwd=self.home, env=alone, capture_output=True, text=True, check=False
        )
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done


def check_installed(wheel: Path, folder: Path) -> None:
    """The README's Python runs, or says in one line what to install."""
    tools, block, format_alone = PYTHON[0].partition("with create_model")[0], PYTHON[0], PYTHON[1]
    core = Environment(folder / "core", str(wheel))
    told = core.run("python", "-c", block, fails=True).stderr
    assert told.splitlines()[-1] == f"gemma_tools.errors.{WITHOUT_ENGINE}"
    assert told.count("Traceback") == 1
    assert core.run("gemma-tools", fails=True).stderr.strip() == WITHOUT_COMMAND
    assert core.run("python", "-c", tools + format_alone).stdout.endswith("get_weather {'city': 'Lisbon'}\n")
    print("alone: the format works; a model and the command say what they need")
    local = Environment(folder / "local", f"{wheel}[local]")
    assert local.run("python", "-c", block).stdout.strip() == ANSWER
    print("with local: the README's Python runs")
    standard = Environment(folder / "standard", f"{wheel}[standard]")
    assert standard.run("python", "-c", "\n".join(PYTHON)).stdout.startswith(ANSWER)
    assert '"get_weather"' in standard.run("gemma-tools", "complete", str(ROOT / "examples" / "weather.json")).stdout
    print("with standard: the README's Python and its first command run")


def main() -> None:
    """Check the one wheel and the one sdist that there are."""
    [wheel], [sdist] = (ROOT / "dist").glob("*.whl"), (ROOT / "dist").glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    with tempfile.TemporaryDirectory() as folder:
        check_installed(wheel, Path(folder))


if __name__ == "__main__":
    main()
