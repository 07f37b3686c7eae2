"""Model files that are downloaded from the Hugging Face Hub, once."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from gemma_tools.engines.progress import download_bar
from gemma_tools.errors import InvalidRequest, MissingDependency, ModelNotFound
from gemma_tools.log import logger


def check_name(model: str | Path, param: str = "model") -> tuple[str, str] | None:
    """The repository and the file of "hf:owner/repo/file"; None for the path of a file.

    Raises:
        InvalidRequest: the name has another form.
        MissingDependency: huggingface_hub is not installed.
    """
    if not (isinstance(model, str) and model.startswith("hf:")):
        return None
    owner, _, rest = model.removeprefix("hf:").partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise InvalidRequest(f"{model!r} must have the form hf:owner/repo/file", param=param)
    if find_spec("huggingface_hub") is None:
        raise MissingDependency("huggingface_hub", "hub", f"fetching {model}")
    return f"{owner}/{repo}", file


def located(model: str | Path, engine: str, param: str = "model") -> Path:
    """The file `model`; "hf:owner/repo/file" is downloaded if necessary, for the option `param` of `engine`.

    A progress bar on a terminal, and elsewhere the log, shows the download.

    Raises:
        InvalidRequest: the name has another form.
        MissingDependency: huggingface_hub is not installed.
        ModelNotFound: it cannot be downloaded.
    """
    place = check_name(model, param)
    if place is None:
        return Path(model).expanduser()
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    name, file = place
    kept = try_to_load_from_cache(name, file)
    if isinstance(kept, str):
        return Path(kept)
    try:
        _check_reachable()
        logger.warning("downloading %s from the Hugging Face Hub", model)
        return Path(hf_hub_download(name, file, tqdm_class=download_bar()))
    except Exception as error:  # its errors, those of its HTTP client, and of the file system
        raise ModelNotFound(f"{model} cannot be downloaded: {_reason(error, name, file)}", engine=engine) from None


_PATIENCE = 10
"""Seconds to wait for a Hub that does not answer."""


def _check_reachable() -> None:
    """Check that the Hub is reachable, because its own client retries for half a minute."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ConnectionError
    try:
        httpx.head(constants.ENDPOINT, timeout=_PATIENCE)
    except httpx.TransportError:
        raise ConnectionError from None


def _reason(error: Exception, name: str, file: str) -> str:
    """The reason, and what to do about it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return f"accept the terms at https://huggingface.co/{name}, then log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{name} does not exist, or it is private: log in with `hf auth login`"
    if isinstance(error, ConnectionError | errors.LocalEntryNotFoundError):
        asked = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else ""
        return f"the Hub cannot be reached{asked}, and the file is not downloaded yet"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{name} does not contain the file {file}"
    return " ".join(str(error).split())
