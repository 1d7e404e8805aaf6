"""Broken versions of good inputs, made from a random generator alone: the same seed gives the same input anywhere."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Where sizes, counts and rates overflow.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 62, 1 << 63)
_HEADER = 600  #: bytes in which a container says what it is; most mutations go there

#: What parsers of text trip over.
_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, float("inf"), float("nan"), 2**63, -(2**70), 10**400, "", " ", "0", "-1", "1e999",
    "9" * 5000, "\ud800", "\x00", "\r\n", "\u202e", "é" * 600, "../../etc/passwd", "%00", "[red]", "a\x1b]0;b\x07",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "NaN", "Infinity", [], {}, [[]], {"": ""}, ["a"] * 50,
)  # fmt: skip


def mutated_bytes(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with one to eight things done to it."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        chance.choice(_BYTE_MUTATIONS)(chance, content, seeds)
    return bytes(content)


def _place(chance: random.Random, content: bytearray) -> int:
    reach = min(len(content), _HEADER) if chance.random() < 0.7 else len(content)
    return chance.randrange(reach + 1)


def _flip(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(chance, content)
    if at < len(content):
        content[at] ^= 1 << chance.randrange(8)


def _noise(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(chance, content), chance.choice((1, 1, 2, 4, 16, 200))
    content[at : at + size] = chance.randbytes(len(content[at : at + size]))


def _number(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(chance, content), chance.choice((1, 2, 4, 8))
    number = chance.choice(_NUMBERS) % (1 << 8 * size)
    if at + size <= len(content):
        content[at : at + size] = number.to_bytes(size, chance.choice(("little", "big")))


def _delete(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(chance, content)
    del content[at : at + chance.choice((1, 2, 4, 30, 500, 5000))]


def _cut(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    del content[chance.randrange(len(content) + 1) :]


def _insert(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(chance, content)
    content[at:at] = chance.randbytes(chance.choice((1, 2, 4, 30, 500)))


def _repeat(chance: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(chance, content), chance.choice((1, 4, 8, 64, 1000))
    content[at:at] = content[at : at + size] * chance.choice((1, 1, 2, 30))


def _splice(chance: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    other = chance.choice(seeds)
    start = chance.randrange(len(other) + 1)
    at = _place(chance, content)
    content[at : at + chance.choice((0, 100, 1 << 20))] = other[start : start + chance.choice((8, 100, 1 << 20))]


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _flip, _noise, _number, _number, _number, _delete, _cut, _insert, _repeat, _splice,
)  # fmt: skip


def mutated_json(chance: random.Random, seeds: Sequence[Any]) -> bytes:
    """One of the seeds, values of JSON, with one to four values in it replaced, renamed or gone; or its text broken.

    Text that is base64 of JSON, as in a push request, is opened first.
    """
    value = copy.deepcopy(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            break
        _change(chance, *chance.choice(places))
    text = json.dumps(_closed(value)).encode()
    if chance.random() < 0.2:
        text = mutated_bytes(chance, [text])
    elif chance.random() < 0.02:
        text = text.replace(b"{", b'{"a":' * 30_000 + b"{", 1)
    return text


class _Opened(dict[str, Any]):
    """JSON that stood in base64."""


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    if isinstance(value, dict):
        for key in list(value):
            if isinstance(value[key], str) and key == "data":
                value[key] = _open(value[key])
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for index in range(len(value)):
            yield value, index
            yield from _places(value[index])


def _open(text: str) -> Any:
    try:
        inner = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return text
    return _Opened(inner) if isinstance(inner, dict) else text


def _closed(value: Any) -> Any:
    if isinstance(value, _Opened):
        return base64.b64encode(json.dumps(_closed(dict(value))).encode()).decode()
    if isinstance(value, dict):
        return {key: _closed(inner) for key, inner in value.items()}
    return [_closed(inner) for inner in value] if isinstance(value, list) else value


def _change(chance: random.Random, container: Any, key: Any) -> None:
    kind = chance.random()
    if kind < 0.15:
        del container[key]
    elif kind < 0.25 and isinstance(container, dict):
        container[str(chance.choice(_ODD))[:40]] = container.pop(key)
    elif kind < 0.4 and isinstance(container[key], str) and not isinstance(container[key], _Opened):
        text = mutated_bytes(chance, [container[key].encode(errors="surrogatepass")])
        container[key] = text.decode(errors="surrogateescape" if kind < 0.3 else "replace")
    else:
        container[key] = copy.deepcopy(chance.choice(_ODD))
