import hashlib
import logging
from collections.abc import Callable

import pytest

from workers.store.backends import Store
from workers.store.objects import Objects, seal, unseal

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:-1],
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "bit flipped in payload": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "bit flipped in header": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "padded": lambda data: data + b"\0",
    "foreign": lambda data: b"hello\nworld",
    "of another name": lambda data: seal("y", b"payload"),
}


def test_sealing_is_undone() -> None:
    assert unseal("x", seal("x", b"line\nline")) == b"line\nline"
    assert unseal("x", seal("x", b"")) == b""


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_object_is_reported_removed_and_made_again(
    store: Store, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    store.put_if_absent("x", damage(seal("x", b"payload")))
    objects = Objects(store)
    with caplog.at_level(logging.WARNING):
        assert objects.read("x") is None
    assert "x is damaged" in caplog.text
    assert objects.commit("x", b"payload")
    assert objects.read("x") == b"payload"


@pytest.mark.parametrize(
    "error", [MemoryError("none left"), OSError(12, "cannot allocate memory"), RuntimeError("no room")]
)
def test_what_a_machine_has_no_room_for_is_not_damaged(store: Store, error: Exception) -> None:
    def parse(payload: bytes) -> None:
        raise error

    objects = Objects(store)
    objects.commit("x", b"payload")
    with pytest.raises(type(error)):
        objects.parsed("x", parse)
    assert objects.read("x") == b"payload"


def test_facts_are_json(store: Store) -> None:
    objects = Objects(store)
    objects.commit_fact("x", {"a": [1, 2.5, None]})
    assert objects.read_fact("x", dict[str, list[float | None]]) == {"a": [1, 2.5, None]}
    assert objects.read_fact("y", dict[str, str]) is None


@pytest.mark.parametrize("payload", [b"null", b"[]", b"3", b'{"a": 3}', b"{", b"[" * 100_000, b"\xff"])
def test_a_fact_of_another_form_is_damaged(store: Store, payload: bytes) -> None:
    objects = Objects(store)
    objects.commit("x", payload)
    assert objects.read_fact("x", dict[str, str]) is None
    assert store.get("x") is None


def test_what_was_sealed_without_its_name_is_read(store: Store) -> None:
    store.put_if_absent("x", b"tombola1 " + hashlib.sha256(b"payload").hexdigest().encode() + b"\npayload")
    assert Objects(store).read("x") == b"payload"
