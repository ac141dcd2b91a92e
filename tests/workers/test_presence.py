import json
import time

import pytest

from workers import names, presence
from workers.store import Store


def test_a_trial_is_present_while_its_block_lasts(store: Store) -> None:
    with presence.present(store, names.running("abc")):
        deadline = time.monotonic() + 5
        while "abc" not in presence.running(store):
            assert time.monotonic() < deadline
    assert presence.running(store) == {}


def test_a_sign_that_grew_old_is_no_sign(store: Store) -> None:
    sign = {"host": "x", "pid": 1, "time": time.time() - presence.SILENT - 1}
    store.put_if_absent(names.running("abc"), json.dumps(sign).encode())
    assert presence.running(store) == {}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"time": "soon"}', b"\xff"])
def test_a_damaged_sign_is_no_sign(store: Store, data: bytes) -> None:
    store.put_if_absent(names.running("abc"), data)
    assert presence.running(store) == {}
