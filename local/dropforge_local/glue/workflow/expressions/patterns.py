"""Regular expressions as JavaScript reads them, where Python's would match something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from jsonata.jexception import JException

# https://tc39.es/ecma262/#sec-compileatom and #sec-characterclassescape: what `.` leaves out, `\s` takes in.
_LINE_ENDS = r"\n\r\u2028\u2029"
_SPACES = r"\s\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# What stands for itself behind a backslash, and for something else in Python.
_PLAIN = "/aeghijlmopqyzACEFGHIJKLMNOPQRTUVXYZ"
_PART = re.compile(r"\\[\s\S]|\(\?<(?![=!])|\[\^?|[\].$]")


class Pattern:
    """A compiled expression of a JSONata literal.

    Matching fails with D1004 where nothing at all matches: JSONata would look at that place for ever.
    """

    def __init__(self, text: str, flags: Any) -> None:
        """
        Raises:
            JException: Python has no such expression (S0302).
        """
        options = re.ASCII
        if flags.case_insensitive:
            options |= re.IGNORECASE
        if flags.multiline:
            options |= re.MULTILINE
        try:
            self._compiled = re.compile(_translated(text, flags.multiline), options)
        except re.error as error:
            raise JException("S0302", -1, f"{error}: /{text}/") from error

    def finditer(self, string: str) -> Iterator[re.Match[str]]:
        """Every match, from the left."""
        for match in self._compiled.finditer(string):
            if match.start() > 0 and match.start() >= len(string):
                return
            if not match.group():
                raise JException("D1004", -1, self._compiled.pattern)
            yield match

    def search(self, string: str) -> re.Match[str] | None:
        """The first match."""
        return next(self.finditer(string), None)

    def split(self, string: str, maxsplit: int = 0) -> list[str]:
        """What is between the matches; groups are no parts."""
        del maxsplit
        parts, position = [], 0
        for match in self.finditer(string):
            parts.append(string[position : match.start()])
            position = match.end()
        return [*parts, string[position:]]

    def sub(self, replacement: Callable[[re.Match[str]], str], string: str, count: int = 0) -> str:
        """The string with the first ``count`` matches replaced, 0 meaning all."""
        text, position = "", 0
        for number, match in enumerate(self.finditer(string)):
            if count and number >= count:
                break
            text += string[position : match.start()] + replacement(match)
            position = match.end()
        return text + string[position:]


def _translated(text: str, multiline: bool) -> str:
    parts, position, is_class = [], 0, False
    for found in _PART.finditer(text):
        parts.append(text[position : found.start()])
        position, part = found.end(), found.group()
        if part == r"\s":
            part = _SPACES if is_class else f"[{_SPACES}]"
        elif part == r"\S" and not is_class:
            part = f"[^{_SPACES}]"
        elif part[0] == "\\" and part[1] in _PLAIN:
            part = part[1]
        elif part[0] == "[":
            part = part if not is_class else rf"\{part}"
            is_class = True
        elif part == "]":
            is_class = False
        elif not is_class and part == "(?<":
            part = "(?P<"
        elif not is_class and part == ".":
            part = f"[^{_LINE_ENDS}]"
        elif not is_class and part == "$" and not multiline:
            part = r"\Z"
        parts.append(part)
    return "".join([*parts, text[position:]])


def expanded(replacement: str, match: re.Match[str]) -> str:
    """The text that stands for a match: ``$0`` the match, ``$1`` a group, ``$$`` a dollar.

    A number beyond the groups stands for nothing, unless its first digits are a group's.
    """
    groups = match.groups()
    most_digits = len(str(len(groups))) if groups else 1

    def value(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        if found.group(1)[0] == "0":
            return match.group() + found.group(1)[1:]
        digits = found.group(1)[:most_digits]
        if most_digits > 1 and int(digits) > len(groups):
            digits = digits[:-1]
        number = int(digits)
        text = groups[number - 1] or "" if 0 < number <= len(groups) else ""
        return text + found.group(1)[len(str(number)) :]

    return re.sub(r"\$\$|\$([0-9]+)", value, replacement)
