"""Credentials under watch: none may come back in an answer, a log line or a stored byte, in any form."""

import base64
import urllib.parse

PIECE = 12


class Canaries:
    """Knows every 12-byte piece of every encoding of the credentials given to it."""

    def __init__(self):
        self.pieces = {}

    def add(self, value, what):
        for form, text in forms(value):
            for start in range(len(text) - PIECE + 1):
                self.pieces.setdefault(text[start : start + PIECE], f"{what} ({form})")

    def find(self, data, allowed=()):
        """What of the watched is in `data`, or None. `allowed` names credentials that may be."""
        if not self.pieces:
            return None
        pieces = self.pieces
        for start in range(len(data) - PIECE + 1):
            hit = pieces.get(data[start : start + PIECE])
            if hit and not any(name in hit for name in allowed):
                return hit
        return None


def forms(value):
    raw = value.encode()
    yield "raw", raw
    yield "url-encoded", urllib.parse.quote(value, safe="").encode()
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    for shift in range(3):
        # In the middle of other base64 text the alignment is one of three; whole groups only.
        padded = b"\0" * shift + raw
        coded = base64.b64encode(padded)
        skip = 4 if shift else 0
        inner = coded[skip : len(padded) // 3 * 4]
        yield f"base64+{shift}", inner
        yield f"base64url+{shift}", inner.translate(bytes.maketrans(b"+/", b"-_"))


def assert_nothing_leaked(gateway):
    """Searches the log of an entry and all that it has at rest."""
    hit = gateway.canaries.find(gateway.entry.log.read_bytes())
    assert hit is None, f"{hit} in the log {gateway.entry.log}"
    for name, data in gateway.entry.stored():
        hit = gateway.canaries.find(data)
        assert hit is None, f"{hit} stored in {name}"
