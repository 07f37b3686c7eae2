"""Model files that are fetched from the Hugging Face Hub, once."""

from __future__ import annotations

from pathlib import Path

from gemma_tools.errors import InvalidRequest, MissingDependency, ModelNotFound


def located(model: str | Path, engine: str, param: str = "model") -> Path:
    """The file `model`; "hf:owner/repo/file" is fetched where it is not here yet, for the option `param` of `engine`.

    Raises:
        InvalidRequest: the name is of another form.
        MissingDependency: huggingface_hub is not installed.
        ModelNotFound: it cannot be fetched.
    """
    if not (isinstance(model, str) and model.startswith("hf:")):
        return Path(model).expanduser()
    owner, _, rest = model.removeprefix("hf:").partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise InvalidRequest(f"{model!r} is not of the form hf:owner/repo/file", param=param)
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise MissingDependency("huggingface_hub", "hub", f"fetching {model}") from None
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file))
    except Exception as error:  # its errors, those of its HTTP client, and of the file system
        raise ModelNotFound(f"{model} cannot be fetched: {error}", engine=engine) from error
