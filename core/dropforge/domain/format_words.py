"""How the values of a column are written, in a person's words."""

from __future__ import annotations

from dropforge.domain.values import CODE, EPOCH_UNITS, NumberFormat

_PLAIN = {
    "number": "numbers",
    "integer": "whole numbers",
    "boolean": "true or false",
    "category": "categories",
    "text": "texts",
    "timestamp": "dates",
}


def format_in_words(kind: str, sample: str | None) -> str:
    """Say what a column of this type and format holds; a format of None is the plain way.

    Example:
        >>> format_in_words("number", "$1,234.5")
        'amounts in $ with a thousands separator, like $1,234.5'
        >>> format_in_words("number", "1234.5%")
        'percentages, like 12.5%'
        >>> format_in_words("timestamp", "dd/mm/yyyy")
        'dates written as dd/mm/yyyy'
        >>> format_in_words("category", None)
        'categories'
    """
    if sample is None:
        return _PLAIN.get(kind, kind)
    if kind in ("number", "integer"):
        return (
            f"{_numbers_in_words(sample)}, like {sample.replace('1234', '12') if '%' in sample else sample}"
        )
    if kind == "timestamp":
        return f"times in {sample}" if sample in EPOCH_UNITS else f"dates written as {sample}"
    return "codes with leading zeros" if sample == CODE else f"codes of {len(sample)} digits"


def _numbers_in_words(sample: str) -> str:
    written = NumberFormat.of(sample)
    if written.unit == "%":
        what = "percentages"
    else:
        what = f"amounts in {written.unit}" if written.unit else "numbers"
    marks = ["a thousands separator"] if written.group else []
    if written.point == ",":
        marks.append("a decimal comma")
    return f"{what} with {' and '.join(marks)}" if marks else what
