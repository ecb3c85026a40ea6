"""Patterns without backtracking match the same text on every Python: Debian 12's 3.11.2 misreads a possessive group.

`(?:...)*+` on a group matches wrongly there (python/cpython#106052); the atomic form `(?>(?:...)*)` does not.
"""

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # no public names
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.message import header, mailboxes, misreadings, plain, tokens

_ONE_CHARACTER = (_constants.LITERAL, _constants.NOT_LITERAL, _constants.ANY, _constants.IN)


def _operations(tree: Any) -> list[tuple[Any, Any]]:
    """All operations in a parsed pattern, however deep."""
    found: list[tuple[Any, Any]] = []
    for operation, argument in tree:
        found.append((operation, argument))
        for part in _subpatterns(argument):
            found += _operations(part)
    return found


def _subpatterns(argument: Any) -> list[Any]:
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    parts = argument if isinstance(argument, (tuple, list)) else ()
    return [found for part in parts for found in _subpatterns(part)]


def _has_possessive_group(pattern: str | bytes, flags: int = 0) -> bool:
    repeats = [arg for op, arg in _operations(_parser.parse(pattern, flags)) if op is _constants.POSSESSIVE_REPEAT]
    return any(len(item) != 1 or item[0][0] not in _ONE_CHARACTER for _, _, item in repeats)


def _compiled() -> dict[str, re.Pattern[Any]]:
    names = [module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.") if ".migrations" not in module.name]
    found = [(name, vars(importlib.import_module(name))) for name in names]
    return {f"{name}.{key}": value for name, own in found for key, value in own.items() if isinstance(value, re.Pattern)}


_PATTERNS = _compiled()


@pytest.mark.parametrize("name", sorted(_PATTERNS))
def test_a_pattern_has_no_possessive_group(name: str) -> None:
    pattern = _PATTERNS[name]
    assert not _has_possessive_group(pattern.pattern, pattern.flags & ~re.UNICODE)


@pytest.mark.parametrize("pattern", [r"(?:ab)*+", r"(a)?+", r"(?:a|bc)++x", r"x(?:(?:ab){1,2}+)", rb"(?=(?:ab)++)"])
def test_a_possessive_group_is_found(pattern: str | bytes) -> None:
    assert _has_possessive_group(pattern)


@pytest.mark.parametrize("pattern", [r"a*+", r"[ab]++", r"(?>(?:ab)*)", r".?+", r"[^x]{0,4}+", r"(?:ab)*[+]", r"\)*+"])
def test_what_is_no_possessive_group_is_not_found(pattern: str) -> None:
    assert not _has_possessive_group(pattern)


def test_every_pattern_in_the_source_is_checked_or_harmless() -> None:
    """Those that stand in functions, or in parts, as text."""
    texts = [
        node.value
        for path in Path(gateway.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
    ]
    suspect = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+")
    assert [text for text in texts if suspect.search(text if isinstance(text, str) else text.decode("latin-1"))] == []


def _greedy(pattern: re.Pattern[Any]) -> re.Pattern[Any]:
    """The same pattern with plain repeats and groups: it may be slow, and is read right by every Python."""

    def plainly(tree: Any) -> Any:
        for at, (operation, argument) in enumerate(tree):
            for part in _subpatterns(argument):
                plainly(part)
            if operation is _constants.POSSESSIVE_REPEAT:
                tree[at] = (_constants.MAX_REPEAT, argument)
            elif operation is _constants.ATOMIC_GROUP:
                tree[at] = (_constants.SUBPATTERN, (None, 0, 0, argument))
        return tree

    flags = pattern.flags & ~re.UNICODE
    return _compiler.compile(plainly(_parser.parse(pattern.pattern, flags)), flags)  # type: ignore[no-any-return]


# What each pattern is used on: pieces from which texts are made that come close to a match
_HEADER = [b"From", b"a", b":", b" ", b"\t", b"\r\n", b"\r\n ", b"\r\n\t", b"\r", b"\n", b"\xff", b"a:b\r\n"]
_ADDRESSES = [b"a", b"A-b", b"--", b"-", b".", b"@", b"x.example", b"<", b">", b",", b" ", b"\t", b'"', b"J D", b"\r\n", b"+_"]
_TOKENS = ["a", '"', "\\", '\\"', "\\\\", "(", ")", "[", "]", "<", ">", ",", ":", ";", " ", "\t", "@", ".", "é", "\u2028"]
_HOPS = ["@", "a", "a-b", ".", "-", "é", " ", "@a.b", ","]
_REACH = ["@", ".", " ", "\t", "a", "é", ",", "..", ". ."]
_ENCODED = ["=?", "?=", "?", "utf-8", "q", "B", "a", "=41", " ", "\t", '"', "<", ">", "@", ":", "=?u?q?a?="]


def _texts(pieces: list[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(pieces), max_size=12).map(pieces[0][:0].join)


def _spans(pattern: re.Pattern[Any], text: Any) -> list[Any]:
    return [(found.span(), found.groups()) for found in pattern.finditer(text)]


_CASES = [
    pytest.param(header._FIELD, _texts(_HEADER).map(lambda text: text + b"\r\n"), id="field"),  # a block ends with CRLF
    pytest.param(plain._ONE, _texts(_ADDRESSES), id="one"),
    pytest.param(plain._NEXT, _texts(_ADDRESSES), id="next"),
    pytest.param(tokens._TOKEN, _texts(_TOKENS), id="token"),
    pytest.param(mailboxes._HOP, _texts(_HOPS), id="hop"),
    pytest.param(mailboxes._PERHAPS_ENCODED, _texts(_ENCODED), id="perhaps_encoded"),
    pytest.param(misreadings._REACHABLE, _texts(_REACH), id="reachable"),
    pytest.param(misreadings.ENCODED_WORD, _texts(_ENCODED), id="encoded_word"),
    pytest.param(misreadings._ANGLE, _texts(_ENCODED), id="angle"),
]


@pytest.mark.parametrize(("pattern", "texts"), _CASES)
@given(data=st.data())
def test_a_pattern_matches_what_its_plain_form_does(pattern: re.Pattern[Any], texts: Any, data: st.DataObject) -> None:
    text = data.draw(texts)
    assert _spans(pattern, text) == _spans(_greedy(pattern), text)


_TABLE: list[tuple[re.Pattern[Any], Any, bool]] = [
    (header._FIELD, b"From: a@x.example\r\n", True),
    (header._FIELD, b"To: a,\r\n b\r\n", True),
    (header._FIELD, b"Subject: a\rb\r\n", True),
    (plain._ONE, b"jane@x.example", True),
    (plain._ONE, b"Jane <jane@x-y.example>", True),
    (plain._ONE, b"a.b.c@d.e.f", True),
    (plain._ONE, b"a.b.@d", False),
    (plain._ONE, b"Jane <jane@x.example", False),
    (plain._ONE, b"jane@x.example>", False),
    (plain._ONE, b"a@b-c--d.e", True),
    (tokens._TOKEN, r'"a\"b"', True),
    (tokens._TOKEN, '"a b"', True),
    (tokens._TOKEN, r'"a\"', False),
    (mailboxes._HOP, "@a.b-c.d", True),
    (mailboxes._HOP, "@a..b", False),
    (misreadings._REACHABLE, "@ (c) y. e", True),
    (misreadings._REACHABLE, "@y . .  .e", True),
    (misreadings._REACHABLE, "@y.", False),
]


@pytest.mark.parametrize(("pattern", "text", "whole"), _TABLE)
def test_a_known_text_matches_as_it_should(pattern: re.Pattern[Any], text: Any, whole: bool) -> None:
    assert (pattern.fullmatch(text) is not None) is whole
