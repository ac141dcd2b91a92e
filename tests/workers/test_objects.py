import logging
from collections.abc import Callable

import pytest

from workers.objects import Objects, seal, unseal
from workers.store import Store

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[:-1],
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "bit flipped in payload": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "bit flipped in header": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "padded": lambda data: data + b"\0",
    "foreign": lambda data: b"hello\nworld",
}


def test_sealing_is_undone() -> None:
    assert unseal(seal(b"line\nline")) == b"line\nline"
    assert unseal(seal(b"")) == b""


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_object_is_reported_removed_and_made_again(
    store: Store, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    store.put_if_absent("x", damage(seal(b"payload")))
    objects = Objects(store)
    with caplog.at_level(logging.WARNING):
        assert objects.read("x") is None
    assert "x is damaged" in caplog.text
    assert objects.commit("x", b"payload")
    assert objects.read("x") == b"payload"


def test_facts_are_json(store: Store) -> None:
    objects = Objects(store)
    objects.commit_fact("x", {"a": [1, 2.5, None]})
    assert objects.read_fact("x") == {"a": [1, 2.5, None]}
    assert objects.read_fact("y") is None
