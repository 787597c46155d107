"""JSONata's functions as the reference engine has them, where the port to Python answers otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from jsonata.functions import Functions
from jsonata.jexception import JException
from jsonata.utils import Utils

from dropforge_local.glue.workflow.expressions.numbers import as_double, serialized
from dropforge_local.glue.workflow.expressions.patterns import Pattern, expanded

# jsonata 2.0.6's own: $number and $toMillis take these and nothing else.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?")
_BASED = re.compile(r"0([xX][0-9A-Fa-f]+|[oO][0-7]+|[bB][01]+)")
_ISO_8601 = re.compile(
    r"[0-9]{4}(-[01][0-9])*(-[0-3][0-9])*(T[0-2][0-9]:[0-5][0-9]:[0-5][0-9])*(\.[0-9]+)?([+-][0-2][0-9]:?[0-5][0-9]|Z)?"
)
# https://tc39.es/ecma262/#sec-decodeuri-encodeduri leaves these escaped.
_RESERVED = re.compile(r"%(2[346BCFbcf]|3[ABDFabdf]|40)")
_LARGEST_WRITTEN_OUT = 1e21


def differs(message: str) -> JException:
    """The error for what the local host would answer otherwise than AWS does, and so doesn't answer."""
    return JException(f"The local host doesn't evaluate this: {message}", -1)


def same(left: Any, right: Any) -> bool:
    """Deep equality, in which ``true`` is not 1."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    equal: bool = Utils.is_deep_equal(left, right)
    return equal


class ReferenceFunctions:
    """Implementations by name; what is undefined comes and goes as None."""

    @staticmethod
    def sum(numbers: Sequence[float] | None) -> float | None:
        """Left to right: Python's own sum compensates for what doubles lose."""
        if numbers is None:
            return None
        total = 0.0
        for number in numbers:
            total += number
        return total

    @staticmethod
    def count(values: Any) -> int:
        """The length of an array; anything else is one, null as well, and what is undefined none."""
        if isinstance(values, list):
            return len(values)
        return 0 if values is None else 1

    @staticmethod
    def average(numbers: Sequence[float] | None) -> float | None:
        """The sum over the count."""
        total = ReferenceFunctions.sum(numbers)
        return total / len(numbers) if numbers and total is not None else None

    @staticmethod
    def string(value: Any, prettify: bool | None) -> str | None:
        """JSON with numbers of 15 digits, in whatever depth; a text as it is."""
        if isinstance(value, Utils.JList) and value.outer_wrapper:
            value = value[0]
        if value is None or isinstance(value, str):
            return value
        if value is not Utils.NULL_VALUE and not isinstance(value, bool | int | float | list | dict):
            return ""  # a function
        return serialized(Utils.convert_nulls(value), "  " if prettify else "")

    @staticmethod
    def lowercase(string: str | None) -> str | None:
        """Not folded: a ß stays one letter."""
        return None if string is None else string.lower()

    @staticmethod
    def number(value: Any) -> float | None:
        """A text has to be a number of JSON, or one of base 16, 8 or 2."""
        if not isinstance(value, str):
            number: float | None = Functions.number(value)
            return number
        if _DECIMAL.fullmatch(value) and abs(float(value)) != float("inf"):
            return as_double(float(value))
        if _BASED.fullmatch(value):
            return int(value, 0)
        raise JException("D3030", -1, value)

    @staticmethod
    def round(number: float | None, precision: int | None) -> float | None:
        """Half to even: the decimal digits are shifted, the whole number rounded, and shifted back."""
        if number is None:
            return None
        digits = int(precision or 0)
        shifted = float(Decimal(repr(float(number))).scaleb(digits))
        return as_double(float(Decimal(repr(float(round(shifted)))).scaleb(-digits)))

    @staticmethod
    def format_number(number: float | None, picture: str, options: dict[str, str] | None) -> str | None:
        """As the library does it, of a number that is already rounded as the reference rounds: half to even.

        Raises:
            JException: a picture whose result is known to differ.
        """
        if number is None:
            return None
        names = {"decimal-separator": ".", "percent": "%", "per-mille": "‰", "zero-digit": "0", "digit": "#"}
        names |= {"pattern-separator": ";", "exponent-separator": "e", **(options or {})}
        sub_pictures = picture.split(names["pattern-separator"])
        chosen = sub_pictures[-1 if number < 0 else 0]
        digits = "".join(chr(ord(names["zero-digit"]) + digit) for digit in range(10))
        if re.search(rf"[{digits}]{re.escape(names['exponent-separator'])}[{digits}]", chosen):
            raise differs(f"$formatNumber with the exponent of {picture!r}")
        whole, _, fraction = chosen.partition(names["decimal-separator"])
        places = sum(character in digits or character == names["digit"] for character in fraction)
        if places and not set(whole + fraction) & set(digits):
            raise differs(f"$formatNumber with {picture!r}, which has to have a {names['zero-digit']!r}")
        scale = 100 if names["percent"] in chosen else 1000 if names["per-mille"] in chosen else 1
        rounded = ReferenceFunctions.round(number * scale, places) or 0
        if abs(rounded) >= _LARGEST_WRITTEN_OUT:
            raise differs("$formatNumber from 1e21 on")
        if number < 0 and not rounded:  # the library would take the picture of zero
            minus = "" if len(sub_pictures) > 1 else (options or {}).get("minus-sign", "-")
            return f"{minus}{Functions.format_number(0.0, chosen, options)}"
        exact = Decimal(float(rounded)) / scale
        formatted: str = Functions.format_number(exact, picture, options)
        return formatted

    @staticmethod
    def distinct(values: Any) -> Any:
        """Each value once; true is not 1, and one that is left of an array stays in an array."""
        if not isinstance(values, list) or len(values) <= 1:
            return values
        results = Utils.create_sequence() if Utils.is_sequence(values) else Utils.JList()
        for value in values:
            if not any(same(value, known) for known in results):
                results.append(value)
        return results

    @staticmethod
    def replace(string: str | None, pattern: Any, replacement: Any, limit: float | None) -> str | None:
        """Dollars mean groups for a regular expression only."""
        if string is None:
            return None
        if pattern == "":
            raise JException("D3010", -1, pattern)
        if limit is not None and limit < 0:
            raise JException("D3011", -1, limit)
        count = -1 if limit is None else -int(-limit // 1)
        if count == 0:
            return string
        if not isinstance(pattern, Pattern):
            if not isinstance(replacement, str):
                raise differs("$replace of a text by a function")
            return string.replace(pattern, replacement, count)

        def one(match: re.Match[str]) -> str:
            if isinstance(replacement, str):
                return expanded(replacement, match)
            found = {
                "match": match.group(),
                "start": match.start(),
                "end": match.end(),
                "groups": list(match.groups()),
            }
            text = Functions.func_apply(replacement, [found])
            if not isinstance(text, str):
                raise JException("D3012", -1, text)
            return text

        return pattern.sub(one, string, max(count, 0))

    @staticmethod
    def base64encode(string: str | None) -> str | None:
        """Of ASCII: of the rest the reference takes one byte a letter, which others can't read."""
        if string is not None and not string.isascii():
            raise differs("$base64encode beyond ASCII")
        encoded: str | None = Functions.base64encode(string)
        return encoded

    @staticmethod
    def base64decode(string: str | None) -> str | None:
        """Of ASCII, as ``base64encode``."""
        decoded: str | None = Functions.base64decode(string)
        if decoded is not None and not decoded.isascii():
            raise differs("$base64decode beyond ASCII")
        return decoded

    @staticmethod
    def decode_url(url: str | None) -> str | None:
        """Without the escapes, but for those of characters that would part a URL."""
        return None if url is None else _unquoted(_RESERVED.sub(r"%25\1", url), url)

    @staticmethod
    def decode_url_component(text: str | None) -> str | None:
        """Without any escape."""
        return None if text is None else _unquoted(text, text)

    @staticmethod
    def datetime_to_millis(timestamp: str | None, picture: str | None) -> int | None:
        """A text without a picture has to be ISO 8601, with seconds where it has a time."""
        if timestamp is None:
            return None
        if picture is None and not _ISO_8601.fullmatch(timestamp):
            raise JException("D3110", -1, timestamp)
        try:
            milliseconds: int | None = Functions.datetime_to_millis(timestamp, picture)
        except ValueError as error:
            raise JException("D3110", -1, timestamp) from error
        return milliseconds


def _unquoted(text: str, given: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise JException("D3140", -1, given)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise JException("D3140", -1, given) from error


# By name in expressions: the signature of the reference, and the implementation's name here.
REPLACED = {
    "sum": ("<a<n>:n>", "sum"),
    "count": ("<x:n>", "count"),
    "average": ("<a<n>:n>", "average"),
    "string": ("<x-b?:s>", "string"),
    "lowercase": ("<s-:s>", "lowercase"),
    "number": ("<(nsb)-:n>", "number"),
    "round": ("<n-n?:n>", "round"),
    "formatNumber": ("<n-so?:s>", "format_number"),
    "distinct": ("<x:x>", "distinct"),
    "replace": ("<s-(sf)(sf)n?:s>", "replace"),
    "base64encode": ("<s-:s>", "base64encode"),
    "base64decode": ("<s-:s>", "base64decode"),
    "decodeUrl": ("<s-:s>", "decode_url"),
    "decodeUrlComponent": ("<s-:s>", "decode_url_component"),
    "toMillis": ("<s-s?:n>", "datetime_to_millis"),
}
