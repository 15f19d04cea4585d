"""A DNS for the names of services: each stands for the addresses that the API server lists for it at that moment.

Kubernetes' own, CoreDNS, answers so for headless services. Other services have an address of their own, behind which kube-proxy
chooses; here there is no kube-proxy, and their names stand for their pods, too.
"""

from __future__ import annotations

import ipaddress
import json
import socketserver
import ssl
import struct
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.cluster.api import SERVER, TOKEN
from tests.support.cluster.machines import SWITCH_ADDRESS

DOMAIN = "svc.cluster.local"
A, INTERNET = 1, 1
TTL = 1
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _AUTHORITATIVE, _RECURSION, _NO_SUCH_NAME = 0x8000, 0x0400, 0x0180, 3


def question_of(message: bytes) -> tuple[str, int, int]:
    """The name that a query asks for, the kind of record, and where the question ends. Raises ValueError for what is none."""
    labels, place = [], _HEADER.size
    while True:
        if place >= len(message):
            raise ValueError("the question is cut short")
        length = message[place]
        place += 1
        if length == 0:
            break
        if length > 63:
            raise ValueError("the name is compressed, or a label is too long")
        labels.append(message[place : place + length])
        place += length
    if place + 4 > len(message):
        raise ValueError("the question is cut short")
    (kind,) = struct.unpack_from("!H", message, place)
    return b".".join(labels).decode("ascii").lower(), kind, place + 4


def answer(message: bytes, names: Mapping[str, Sequence[str]]) -> bytes:
    """What a resolver gets for a query. Raises ValueError for what is none."""
    name, kind, end = question_of(message)
    addresses = names.get(name, ()) if kind == A else ()
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION | (0 if name in names else _NO_SUCH_NAME)
    (number,) = struct.unpack_from("!H", message)
    header = _HEADER.pack(number, flags, 1, len(addresses), 0, 0)
    records = [
        struct.pack("!HHHIH", 0xC000 | _HEADER.size, A, INTERNET, TTL, 4) + ipaddress.IPv4Address(address).packed
        for address in addresses
    ]
    return header + message[_HEADER.size : end] + b"".join(records)


def name_and_addresses(endpoints: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Of one object of the API server's."""
    about = endpoints["metadata"]
    subsets = endpoints.get("subsets") or []
    addresses = [address["ip"] for subset in subsets for address in subset.get("addresses") or []]
    return f"{about['name']}.{about['namespace']}.{DOMAIN}", addresses


class Names(dict[str, list[str]]):
    """Kept up to date by a thread that the API server tells of each change."""

    def follow(self) -> None:
        while True:
            try:
                self._follow()
            except (OSError, ValueError) as error:  # it ends each watch after some minutes
                print(f"the watch ended: {error}", flush=True)
            time.sleep(0.2)

    def _follow(self) -> None:
        request = urllib.request.Request(f"{SERVER}/api/v1/endpoints?watch=1", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as changes:
            for line in changes:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    raise ValueError(change["object"].get("message"))
                name, addresses = name_and_addresses(change["object"])
                if change["type"] == "DELETED":
                    self.pop(name, None)
                else:
                    self[name] = addresses


def main() -> None:
    names = Names()

    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            message, socket = self.request
            try:
                socket.sendto(answer(message, names), self.client_address)
            except ValueError as error:
                print(f"no query: {error}", flush=True)

    threading.Thread(target=names.follow, daemon=True).start()
    socketserver.ThreadingUDPServer((SWITCH_ADDRESS, 53), Answering).serve_forever()


if __name__ == "__main__":
    main()
