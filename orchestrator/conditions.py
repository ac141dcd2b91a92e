"""Conditions on the columns of a table, written as for pandas' `query`, and evaluated without running code."""

from __future__ import annotations

import ast
import difflib
import operator
import re
import warnings
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import pandas as pd

from search_spaces.errors import TombolaError, first_line

LONGEST, DEEPEST = 10_000, 100
"""Most characters of a condition, and most levels of nesting."""
_TOKEN = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|`\s*([\w.]+)\s*`|([&|])|([@#`])|(\s+)""")
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALCULATE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_MISSING = {"isna": True, "isnull": True, "notna": False, "notnull": False}
_KINDS = {
    "string": "text",
    "boolean": "truth",
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
}


class ConditionError(TombolaError):
    """Text that is not a valid condition on the columns of a table; the message says why."""


def matching(rows: pd.DataFrame, condition: str, said_by: str) -> pd.DataFrame:
    """Rows of a table that meet a condition on its columns, such as "sparsity > 0.5".

    A condition consists of columns, numbers, quoted texts, arithmetic (+ - * / // %), comparisons, `in` and `not in`
    with a list, `and`, `or`, `not` (& | ~), and tests for missing values (`of.isna()`). Names of columns may contain
    dots (`model.width`). A missing value is unequal to every value, even to itself, as in pandas. `said_by` is the
    option or field that has the condition; error messages name it.

    Raises:
        ConditionError: if the text is not a valid condition.
    """
    try:
        meets = _Reader(rows).read(condition)
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
        shown = repr(condition if len(condition) <= 100 else f"{condition[:100]}...")
        raise ConditionError(f"{said_by} {shown}: {first_line(error)[:300]}") from error
    return rows[meets]


class _Reader:
    """Evaluates conditions on one table."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows

    def read(self, condition: str) -> pd.Series:
        """Whether each row meets the condition."""
        if len(condition) > LONGEST:
            raise ConditionError(f"it has {len(condition):,} characters; it may have {LONGEST:,}")
        try:
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(_TOKEN.sub(_in_python, condition).strip(), mode="eval")
        except (SyntaxError, MemoryError, RecursionError) as error:
            raise ConditionError("it is no condition on columns, like 'sparsity > 0.5'") from error
        return self._truth(tree.body, 0)

    def _truth(self, node: ast.AST, depth: int) -> pd.Series:
        value = self._value(node, depth)
        if not isinstance(value, pd.Series) or _kind(value) not in ("truth", "nothing"):
            raise ConditionError(f"{_text(node)} is no condition on columns, like 'sparsity > 0.5'")
        return value.eq(True).fillna(False).astype(bool)

    def _value(self, node: ast.AST, depth: int) -> Any:
        """Value of an expression: one value for each row, or one for all rows."""
        if depth > DEEPEST:
            raise ConditionError(f"it has more than {DEEPEST} parts within parts")
        deeper = depth + 1
        match node:
            case ast.Constant(bool() | int() | float() | str() as value):
                return value
            case ast.Constant(None) | ast.Name("nan" | "NaN" | "NA" | "null"):
                raise ConditionError(f"{_text(node)} equals nothing; `of.isna()` finds where column `of` is missing")
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.BoolOp(connective, operands):
                together = operator.and_ if isinstance(connective, ast.And) else operator.or_
                return reduce(together, (self._truth(operand, deeper) for operand in operands))
            case ast.UnaryOp(ast.Not() | ast.Invert(), operand):
                return ~self._truth(operand, deeper)
            case ast.UnaryOp(ast.USub(), operand):
                return -self._number(operand, deeper)
            case ast.BinOp(left, sign, right) if type(sign) in _CALCULATE:
                return _CALCULATE[type(sign)](self._number(left, deeper), self._number(right, deeper))
            case ast.Compare(left, signs, rights):
                sides = pairwise((left, *rights))
                pairs = (self._compared(*two, sign, deeper) for two, sign in zip(sides, signs, strict=True))
                return reduce(operator.and_, pairs)
            case ast.Call(ast.Attribute(column, test), [], []) if test in _MISSING:
                return self._column(column).isna() == _MISSING[test]
        raise ConditionError(f"{_text(node)} cannot stand in a condition: it takes columns, values and comparisons")

    def _number(self, node: ast.AST, depth: int) -> Any:
        value = self._value(node, depth)
        if _kind(value) not in ("number", "nothing"):
            raise ConditionError(f"{_text(node)} is no number to calculate with")
        return value

    def _compared(self, left: ast.AST, right: ast.AST, sign: ast.cmpop, depth: int) -> Any:
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            return self._among(left, right, sign, depth)
        sides = self._value(left, depth), self._value(right, depth)
        if type(sign) not in _COMPARE:
            raise ConditionError(f"{_text(right)} is no list, such as `in [0.2, 0.36]`")
        return _COMPARE[type(sign)](*_comparable(*sides, f"{_text(left)} and {_text(right)}"))

    def _among(self, left: ast.AST, right: ast.List | ast.Tuple | ast.Set, sign: ast.cmpop, depth: int) -> pd.Series:
        """Whether each value of a column is in a list. As in pandas, `==` with a list means `in`."""
        column, values = self._value(left, depth), [self._value(each, depth) for each in right.elts]
        alone = [each for each in values if not isinstance(each, pd.Series)]
        if not isinstance(column, pd.Series) or len(alone) < len(values) or isinstance(sign, ast.Is | ast.IsNot):
            raise ConditionError(f"{_text(left)} and {_text(right)}: a column is looked for in a list of values")
        if not isinstance(sign, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
            raise ConditionError(f"{_text(left)} and {_text(right)} cannot be put in order")
        found = column.isin([_comparable(column, value, f"{_text(left)} and {value!r}")[1] for value in values])
        return found if isinstance(sign, ast.In | ast.Eq) else ~found

    def _column(self, node: ast.AST) -> pd.Series:
        name = ast.unparse(node)
        if name in self._rows:
            return self._rows[name]
        columns = [str(column) for column in self._rows.columns]
        near = [each for each in columns if each.endswith(f".{name}")] or difflib.get_close_matches(name, columns)
        hint = f"; did you mean {' or '.join(near[:3])}?" if near else f"; it has {', '.join(columns[:5])} and more"
        raise ConditionError(f"there is no column {name[:60]!r}{hint}")


def _in_python(token: re.Match[str]) -> str:
    """Python's spelling of a token that pandas spells differently."""
    text, quoted, connective, strange, _ = token.groups()
    if strange:
        raise ConditionError(f"{strange} cannot stand in a condition: it takes columns, values and comparisons")
    return text or quoted or ({"&": " and ", "|": " or "}[connective] if connective else " ")


def _comparable(left: Any, right: Any, both: str) -> tuple[Any, Any]:
    """Two values in a form that can be compared. A text is read as a time if the other value is one; its default is
    UTC.
    """
    kinds = _kind(left), _kind(right)
    if kinds == ("time", "text") and isinstance(right, str):
        return left, _time(right)
    if kinds == ("text", "time") and isinstance(left, str):
        return _time(left), right
    if len(set(kinds) - {"nothing", "mixed"}) > 1:
        raise ConditionError(f"{both} cannot be compared: {kinds[0]} and {kinds[1]}")
    return left, right


def _time(text: str) -> pd.Timestamp:
    time = pd.Timestamp(text)
    return time if time.tzinfo else time.tz_localize("UTC")


def _kind(value: Any) -> str:
    """Type of the values that are not missing: number, text, truth, time, nothing or mixed."""
    if not isinstance(value, pd.Series):
        return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"
    if value.isna().all():
        return "nothing"
    if isinstance(value.dtype, pd.DatetimeTZDtype) or value.dtype.kind == "M":
        return "time"
    return _KINDS.get(pd.api.types.infer_dtype(value, skipna=True), "mixed")


def _text(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:60]}..."
