"""Conditions mean what pandas' `query` makes of them, and run nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.conditions import ConditionError, matching

ROWS = pd.DataFrame(
    {
        "model": ["vae", "vae", "dcgan", "dcgan", "vae"],
        "of": [None, "imp", None, "snip", None],
        "sparsity": [0.0, 0.2, 0.36, 0.488, 0.9],
        "seed_init": [0, 1, 0, 2**63 - 1, 2**53 + 1],
        "elbo": [1.5, np.nan, np.nan, -2.0, 0.0],
        "last": [True, False, True, False, True],
        "finished": pd.to_datetime([f"2026-01-0{day}T12:00:00" for day in range(1, 6)], utc=True),
        "model.width": [8, 8, 16, 16, 4],
        "method.scope": ['{"components":["decoder"]}', None, None, None, None],
    }
)


@pytest.mark.parametrize(
    "condition",
    [
        "sparsity > 0.3",
        "0.1 < sparsity <= 0.488",
        "model == 'vae' and sparsity > 0.1 or last",
        "model == 'vae' & sparsity > 0.1 | last",
        "(model == 'vae') & ~(sparsity > 0.1)",
        'not (model != "vae" or last)',
        "sparsity in [0.2, 0.9]",
        "model not in ('dcgan',)",
        "seed_init == [0, 1]",
        "seed_init != [0, 1]",
        "elbo == elbo",
        "elbo != elbo",
        "of == of",
        "of != 'imp'",
        "of == 'imp'",
        "not of == 'imp'",
        "of not in ['imp']",
        "elbo < 0 or elbo > -5",
        "elbo != 0",
        "of.isna()",
        "of.notna() and elbo.isnull()",
        "sparsity * 100 // 10 % 2 == 0",
        "(1 - sparsity) / sparsity > 3",
        "-sparsity < -0.3",
        "seed_init == 9223372036854775807",
        "seed_init == 9007199254740993",
        "last == True",
        "`model.width` > 4 and `model.width` * 2 == 32",
        "model < 'e'",
        "elbo > sparsity",
        "model == 'a & b | `c` # d @ e'",
    ],
)
def test_a_condition_means_what_pandas_makes_of_it(condition: str) -> None:
    pd.testing.assert_frame_equal(matching(ROWS, condition, "--where"), ROWS.query(condition, engine="python"))


@pytest.mark.parametrize("condition", ["model.width > 4", "`model.width`>4", "sparsity > 0\n  and model.width\n> 4"])
def test_columns_with_dots_need_no_quotes(condition: str) -> None:
    assert matching(ROWS, condition, "--where")["sparsity"].tolist()[-2:] == [0.36, 0.488]


@pytest.mark.parametrize("condition", ["finished > '2026-01-03'", "'2026-01-03T12:00:00Z' <= finished"])
def test_times_are_compared_with_texts(condition: str) -> None:
    assert matching(ROWS, condition, "--where")["sparsity"].tolist() == [0.36, 0.488, 0.9]


VALUES = st.one_of(st.sampled_from(["sparsity", "seed_init", "elbo"]), st.integers(-3, 3).map(str), st.just("0.36"))
SUMS = st.tuples(VALUES, st.sampled_from("+-*/"), st.sampled_from(["sparsity", "elbo"])).map(" ".join)
NUMBERS = st.one_of(st.sampled_from(["sparsity", "elbo"]), SUMS.map("({})".format))
SIGNS = st.sampled_from(["<", "<=", "==", "!=", ">", ">="])
COMPARISONS = st.tuples(NUMBERS, SIGNS, st.one_of(VALUES, NUMBERS)).map(" ".join)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not ({})".format),
        inner.map("({})".format),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(CONDITIONS)
def test_any_condition_means_what_pandas_makes_of_it(condition: str) -> None:
    assert list(matching(ROWS, condition, "--where").index) == list(ROWS.query(condition, engine="python").index)


@pytest.mark.parametrize(
    "attack",
    [
        "@__import__('os').system('touch {ran}')",
        "__import__('os').system('touch {ran}') or last",
        "@pd.io.common.os.system('touch {ran}')",
        "model.str.len().__class__ == 1",
        "model.map(open('{ran}', 'w').write)",
        "sparsity.to_csv('{ran}') or last",
        "[open('{ran}', 'w') for _ in [1]] == last",
        "(lambda: open('{ran}', 'w'))()",
        "f\"{{open('{ran}', 'w')}}\" == model",
        "(last := open('{ran}', 'w'))",
        "last if open('{ran}', 'w') else last",
        "last.isna(open('{ran}', 'w'))",
        "`__import__('os').system('touch {ran}')`",
        "().__class__.__base__.__subclasses__()[0] == 1",
        "index == 1",
    ],
)
def test_no_condition_runs_anything(attack: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(ConditionError, match=r"^--where .*: .*"):
        matching(ROWS, attack.format(ran=ran), "--where")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("sparsty > 1", "there is no column 'sparsty'; did you mean sparsity?"),
        ("width > 1", "there is no column 'width'; did you mean model.width?"),
        ("of == None", "None equals nothing; `of.isna()` finds where column `of` is missing"),
        ("of is None", "None equals nothing; `of.isna()`"),
        ("elbo == nan", "nan equals nothing; `of.isna()`"),
        ("sparsity > '0.3'", "sparsity and '0.3' cannot be compared: number and text"),
        ("model > 3", "model and 3 cannot be compared: text and number"),
        ("model == 3", "model and 3 cannot be compared: text and number"),
        ("sparsity in [0.2, 'x']", "sparsity and 'x' cannot be compared: number and text"),
        ("sparsity in 0.2", "0.2 is no list, such as `in [0.2, 0.36]`"),
        ("sparsity > [0.2]", "sparsity and [0.2] cannot be put in order"),
        ("sparsity", "sparsity is no condition on columns, like 'sparsity > 0.5'"),
        ("1 < 2", "1 < 2 is no condition on columns"),
        ("model and last", "model is no condition on columns"),
        ("model + 'x' == 'vaex'", "model is no number to calculate with"),
        ("sparsity > 1 / 0", "division by zero"),
        ("sparsity ** 2 > 1", "sparsity ** 2 cannot stand in a condition"),
        ("finished > 'soon'", "soon"),
        ("sparsity > 0.5 # all", "# cannot stand in a condition"),
        ("sparsity >", "it is no condition on columns, like 'sparsity > 0.5'"),
        ("", "it is no condition"),
        ("\0", "it is no condition"),
        ("sparsity > " + "9" * 5000, "it is no condition"),
    ],
)
def test_what_is_no_condition_is_told_in_one_sentence(condition: str, problem: str) -> None:
    with pytest.raises(ConditionError) as told:
        matching(ROWS, condition, "--where")
    assert problem in str(told.value)
    assert len(str(told.value)) < 600
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "condition",
    [
        "sparsity > 0.5 or " * 6000 + "last",
        "(" * 5000 + "last" + ")" * 4999,
        "not " * 2000 + "last",
        "~" * 9000 + "last",
        "-" * 9000 + "sparsity > 0",
        "a" + ".a" * 4900,
        "sparsity > 0" + " + 1" * 2000,
        "sparsity > " + " * ".join(["9" * 4000] * 2) + " * sparsity",
    ],
)
def test_absurd_conditions_are_refused_at_once(condition: str) -> None:
    with pytest.raises(ConditionError) as told:
        matching(ROWS, condition, "--where")
    assert len(str(told.value)) < 600
