"""A Ray that cannot start here is told of in one sentence."""

from pathlib import Path

import pytest
import ray

from orchestrator.cluster.machines import ClusterError, connected


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("folder", ["a folder of a scheduler with a long name " * 4, "file", "file/below"])
def test_a_folder_that_ray_cannot_use_is_named(
    variable: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / folder))
    with pytest.raises(ClusterError, match=r"cannot start Ray here: .*TMPDIR") as caught, connected(None):
        pass
    assert "\n" not in str(caught.value)
    assert str(tmp_path / folder) in str(caught.value)


def test_a_cluster_that_is_not_there_is_said_without_a_word_on_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match="cannot join a Ray cluster there") as caught, connected("auto"):
        pass
    assert "TMPDIR" not in str(caught.value)


@pytest.mark.parametrize("address", ["a..b:1", "my head:1", f"{'x' * 300}:1", "[::1:1", "127.0.0.1:99999", "\ud800:1"])
def test_an_odd_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="--address"), connected(address):
        pass
