"""Broken versions of valid inputs, made with a random generator: the same seed gives the same input everywhere."""

from __future__ import annotations

import base64
import binascii
import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

#: Values at which sizes, counts and rates overflow.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 62, 1 << 63)
_HEADER = 600  #: bytes of a container's header; most mutations go there

#: Values that text parsers trip over.
_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e308, float("inf"), float("nan"), 2**63, -(2**70), 10**400, "", " ", "0", "-1", "1e999",
    "9" * 5000, "\ud800", "\x00", "\r\n", "\u202e", "é" * 600, "../../etc/passwd", "%00", "[red]", "a\x1b]0;b\x07",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "NaN", "Infinity", [], {}, [[]], {"": ""}, ["a"] * 50,
)  # fmt: skip


def mutated_bytes(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, with one to eight mutations."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        rng.choice(_BYTE_MUTATIONS)(rng, content, seeds)
    return bytes(content)


def _place(rng: random.Random, content: bytearray) -> int:
    reach = min(len(content), _HEADER) if rng.random() < 0.7 else len(content)
    return rng.randrange(reach + 1)


def _flip(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, content)
    if at < len(content):
        content[at] ^= 1 << rng.randrange(8)


def _noise(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(rng, content), rng.choice((1, 1, 2, 4, 16, 200))
    content[at : at + size] = rng.randbytes(len(content[at : at + size]))


def _number(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(rng, content), rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % (1 << 8 * size)
    if at + size <= len(content):
        content[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _delete(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, content)
    del content[at : at + rng.choice((1, 2, 4, 30, 500, 5000))]


def _cut(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _insert(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, content)
    content[at:at] = rng.randbytes(rng.choice((1, 2, 4, 30, 500)))


def _repeat(rng: random.Random, content: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(rng, content), rng.choice((1, 4, 8, 64, 1000))
    content[at:at] = content[at : at + size] * rng.choice((1, 1, 2, 30))


def _splice(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    at = _place(rng, content)
    content[at : at + rng.choice((0, 100, 1 << 20))] = other[start : start + rng.choice((8, 100, 1 << 20))]


_BYTE_MUTATIONS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _flip, _noise, _number, _number, _number, _delete, _cut, _insert, _repeat, _splice,
)  # fmt: skip


def mutated_json(rng: random.Random, seeds: Sequence[Any]) -> bytes:
    """One of the seeds as JSON, with one to four values replaced, renamed or deleted; or with broken text.

    Base64-encoded JSON, as in a push request, is decoded first and mutated too.
    """
    value = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            break
        _change(rng, *rng.choice(places))
    text = json.dumps(_closed(value)).encode()
    if rng.random() < 0.2:
        text = mutated_bytes(rng, [text])
    elif rng.random() < 0.02:
        text = text.replace(b"{", b'{"a":' * 30_000 + b"{", 1)
    return text


class _Opened(dict[str, Any]):
    """JSON that was base64-encoded."""


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container, with every key or index in it."""
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


def _change(rng: random.Random, container: Any, key: Any) -> None:
    kind = rng.random()
    if kind < 0.15:
        del container[key]
    elif kind < 0.25 and isinstance(container, dict):
        container[str(rng.choice(_ODD))[:40]] = container.pop(key)
    elif kind < 0.4 and isinstance(container[key], str) and not isinstance(container[key], _Opened):
        text = mutated_bytes(rng, [container[key].encode(errors="surrogatepass")])
        container[key] = text.decode(errors="surrogateescape" if kind < 0.3 else "replace")
    else:
        container[key] = copy.deepcopy(rng.choice(_ODD))
