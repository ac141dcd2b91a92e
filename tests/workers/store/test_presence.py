import json
import os
import threading
import time
from collections.abc import Callable

import pytest

from workers.store import names, presence
from workers.store.backends import LocalStore, Store, StoreError
from workers.store.presence import Sign

NAME = names.driver("toy")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def sign_of(store: Store, **changes: object) -> bytes:
    sign = json.dumps({"host": "elsewhere", "pid": 1, "time": time.time(), **changes}).encode()
    store.delete(NAME)
    store.put_if_absent(NAME, sign)
    return sign


def test_a_trial_is_present_while_its_block_lasts(store: Store) -> None:
    with Sign(store, names.running("abc")):
        wait_until(lambda: "abc" in presence.running(store))
    assert presence.running(store) == {}


def test_a_sign_that_grew_old_is_no_sign(store: Store) -> None:
    sign_of(store, time=time.time() - presence.SILENT_BEATS * presence.BEAT - 1)
    assert presence.alive(store, NAME) is None


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"{}", b'{"time": "soon"}', b"\xff", b"[" * 100_000, b'{"host": "x", "pid": 1}'),
        *(b'{"host": "x", "pid": 1, "time": NaN}', b'{"host": "x", "pid": 1, "time": 1e300}'),
        *(b'{"host": "x", "pid": 1, "time": %s}' % (b"9" * 400), b'{"host": 3, "pid": 1, "time": NOW}'),
    ],
)
def test_a_damaged_sign_is_no_sign(store: Store, data: bytes) -> None:
    data = data.replace(b"NOW", str(int(time.time())).encode())
    store.put_if_absent(names.running("abc"), data)
    assert presence.running(store) == {}
    store.put_if_absent(NAME, data)
    assert Sign(store, NAME).take()


def test_a_sign_is_there_without_a_gap_while_it_is_renewed(store: Store) -> None:
    mine, other = Sign(store, NAME, beat=0.001), Sign(store, NAME)
    assert mine.take()
    first = store.get(NAME)
    with mine:
        for _ in range(300):
            assert store.get(NAME) is not None
            assert not other.take()
        wait_until(lambda: store.get(NAME) != first)
    assert store.get(NAME) is None


def test_of_many_who_take_a_silent_sign_one_has_it(store: Store) -> None:
    for _ in range(10):
        sign_of(store, time=time.time() - 1000)
        start, taken = threading.Barrier(8), list[bool]()

        def take(start: threading.Barrier = start, taken: list[bool] = taken) -> None:
            sign = Sign(store, NAME)
            start.wait()
            taken.append(sign.take())

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == [False] * 7 + [True]


class Failing(LocalStore):
    broken = False

    def replace(self, name: str, data: bytes | None, if_unchanged: bytes | None) -> bool:
        if self.broken:
            raise StoreError("no space left on device")
        return super().replace(name, data, if_unchanged)


def test_a_sign_is_renewed_again_when_the_store_is_mended(store: Store) -> None:
    assert isinstance(store, LocalStore)
    failing = Failing(store.root)
    sign = Sign(failing, NAME, beat=0.01)
    assert sign.take()
    with sign:
        failing.broken = True
        time.sleep(0.1)
        silent = store.get(NAME)
        failing.broken = False
        wait_until(lambda: store.get(NAME) != silent)
        assert not sign.lost()


def test_who_was_silent_sees_that_another_has_taken_over_and_leaves_its_sign_alone(store: Store) -> None:
    sign = Sign(store, NAME, beat=0.01)
    assert sign.take()
    other = sign_of(store, time=time.time() + 60)
    with sign:
        wait_until(sign.lost)
    assert store.get(NAME) == other


def test_who_was_silent_sees_that_another_has_come_and_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = Sign(store, NAME)
    assert sign.take()
    later = time.time() + 10 * presence.BEAT
    monkeypatch.setattr(time, "time", lambda: later)
    other = Sign(store, NAME)
    assert other.take()
    with other:
        pass
    assert sign.lost()


def test_who_loses_a_sign_while_renewing_it_sees_so_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sign, other = Sign(store, NAME, beat=0.01), Sign(store, NAME, beat=0.01)
    assert sign.take()
    time.sleep(0.1)
    replace, taken = store.replace, []

    def overtaken(name: str, data: bytes, if_unchanged: bytes | None) -> bool:
        if not taken:
            taken.append(replace(name, other._sign(time.time()), if_unchanged))
        return replace(name, data, if_unchanged)

    monkeypatch.setattr(store, "replace", overtaken)
    assert sign.lost()
    assert taken == [True]


def test_who_was_silent_goes_on_if_nobody_took_over(store: Store) -> None:
    sign = Sign(store, NAME, beat=0.01)
    assert sign.take()
    time.sleep(0.1)
    assert not sign.lost()
    assert json.loads(store.get(NAME) or b"")["pid"] == os.getpid()
