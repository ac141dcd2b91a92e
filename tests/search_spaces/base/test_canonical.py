import pytest

from search_spaces.base.canonical import canonical_json, digest


def test_key_order_does_not_matter() -> None:
    assert canonical_json({"b": [1, {"y": 2, "x": 1}], "a": 0.1}) == '{"a":0.1,"b":[1,{"x":1,"y":2}]}'


def test_an_unset_option_leaves_no_trace() -> None:
    assert digest({"a": 1, "new": None}) == digest({"a": 1})


def test_digest_is_the_sha256_of_the_text() -> None:
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_has_no_canonical_text(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": number})
