import errno
import os
import threading
from pathlib import Path

import pytest

from workers.store.backends import LocalStore, Store, StoreError, open_store


def test_what_is_put_is_got(store: Store) -> None:
    assert store.get("a/b") is None
    assert store.put_if_absent("a/b", b"first")
    assert store.get("a/b") == b"first"


def test_the_first_commit_wins(store: Store) -> None:
    store.put_if_absent("a/b", b"first")
    assert not store.put_if_absent("a/b", b"second")
    assert store.get("a/b") == b"first"


def test_only_one_of_many_writers_wins(store: Store) -> None:
    wins: list[int] = []
    start = threading.Barrier(8)

    def write(writer: int) -> None:
        start.wait()
        if store.put_if_absent("contested", bytes([writer]) * 100_000):
            wins.append(writer)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.get("contested") == bytes(wins) * 100_000


def test_list_names_all_below_a_folder(store: Store) -> None:
    for name in ("a/1", "a/b/2", "c/3"):
        store.put_if_absent(name, b"")
    assert sorted(store.list("a")) == ["a/1", "a/b/2"]
    assert list(store.list("none")) == []


def test_delete_removes_and_does_not_mind_absence(store: Store) -> None:
    store.put_if_absent("a", b"")
    store.delete("a")
    store.delete("a")
    assert store.get("a") is None


def test_nothing_half_written_is_left_behind(store: Store, tmp_path: Path) -> None:
    store.put_if_absent("a", b"x")
    store.put_if_absent("a", b"y")
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["a"]


def test_opening_writes_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_path_and_a_file_uri_are_the_same_store(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    open_store(str(folder)).put_if_absent("a", b"x")
    assert open_store(folder.as_uri()).get("a") == b"x"


@pytest.mark.parametrize("uri", ["ftp://host/x", "file://elsewhere/x"])
def test_a_store_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="not a store that tombola can open"):
        open_store(uri)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        open_store(str(tmp_path / "file"))


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "objects").touch()  # a file where a folder is needed: unwritable for root too
    with pytest.raises(StoreError, match="cannot write objects/a"):
        open_store(str(tmp_path)).put_if_absent("objects/a", b"")


def test_a_write_that_fails_halfway_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            store.put_if_absent("a/b", b"x" * 1000)
    assert store.get("a/b") is None
    assert store.put_if_absent("a/b", b"y")


@pytest.mark.parametrize("old", [None, b"old"])
def test_what_has_not_changed_is_replaced(store: Store, old: bytes | None) -> None:
    if old is not None:
        store.put_if_absent("a/b", old)
    assert not store.replace("a/b", b"new", if_unchanged=b"another")
    assert store.get("a/b") == old
    assert store.replace("a/b", b"new", if_unchanged=old)
    assert store.get("a/b") == b"new"
    assert store.replace("a/b", None, if_unchanged=b"new")
    assert list(store.list("a")) == []


ODD = {
    "too long": "/" + "x" * 300,
    "a path that is too long": "/x" * 3000,
    "a NUL": "/a\0b",
    "a NUL in a URI": "file:///a%00b",
    "half a character": "/a\ud800",
    "nobody's home": "~nobody-of-this-name/x",
    "no name": "",
    "no path": "file://",
    "half an address": "file://[/x",
}


@pytest.mark.parametrize("uri", ODD.values(), ids=ODD)
def test_a_store_that_cannot_be_is_refused(uri: str) -> None:
    with pytest.raises(StoreError, match="--store"):
        open_store(uri).put_if_absent("a", b"")


def test_a_path_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write a: Not a directory"):
        open_store(str(tmp_path / "file" / "store")).put_if_absent("a", b"")


@pytest.fixture
def damaged(store: Store) -> Store:
    """A store with a folder, a link to nothing and a link to itself where files and folders belong."""
    assert isinstance(store, LocalStore)
    store.put_if_absent("a/folder/x", b"")
    (store.root / "a" / "nowhere").symlink_to("no-such-file")
    (store.root / "loop").symlink_to("loop")
    return store


@pytest.mark.parametrize("name", ["a/folder", "loop", "loop/x", "a\0b", "a/" + "x" * 300])
def test_what_is_no_file_is_not_read(damaged: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        damaged.get(name)


@pytest.mark.parametrize("name", ["a/nowhere", "loop/x", "a\0b", "a/" + "x" * 300, "a/folder/x/y"])
def test_what_can_be_no_file_is_not_written(damaged: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        damaged.put_if_absent(name, b"")


@pytest.mark.parametrize("name", ["a/folder", "loop/x", "a\0b"])
def test_what_is_no_file_is_not_deleted(damaged: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot delete"):
        damaged.delete(name)


@pytest.mark.parametrize("folder", ["loop", "a/folder/x", "a\0b"])
def test_what_is_no_folder_is_not_listed_as_empty(damaged: Store, folder: str) -> None:
    with pytest.raises(StoreError, match="cannot list"):
        list(damaged.list(folder))


def test_a_file_system_without_hard_links_is_told_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*paths: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError, match="hard links, which a store needs"):
        store.put_if_absent("a", b"")
    assert list(store.list("tmp")) == []


def test_whoever_waits_for_the_lock_does_not_wait_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(store, LocalStore)
    monkeypatch.setattr("workers.store.backends._PATIENCE", 0.05)
    with store._lock(), pytest.raises(StoreError, match=r"another process has held .* for 0 s"):
        store.replace("a", b"", None)
