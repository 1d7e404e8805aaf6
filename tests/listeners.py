"""The addresses that processes listen on, read from Linux's /proc."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

LISTEN = "0A"  # https://docs.kernel.org/networking/proc_net_tcp.html


def groups(leaders: Iterable[int]) -> set[int]:
    """The processes in these process groups."""
    wanted, found = set(leaders), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) in wanted:
                    found.add(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def listeners(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Address and port of every TCP socket that one of these processes listens on."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                address, port = local.split(":")
                found.add((_address(address), int(port, 16)))
    return found


def is_loopback(address: str) -> bool:
    """Whether an IPv4 or IPv6 address can be reached from this machine only."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _sockets(pid: int) -> set[str]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # the process has exited
        return set()
    found = set()
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:  # closed in the meantime; the others still count
            continue
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            found.add(match[1])
    return found


def _address(text: str) -> str:
    words = [int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
