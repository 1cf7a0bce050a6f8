"""UIDs of what this node makes: the same film, bundle and kind give the same one, and each tells that it is
ours.

A UID is ``2.25.`` and a UUID (PS3.5 B.2); ours is of version 8 (RFC 9562 5.8): 48 bits that say so, then
74 bits of a SHA-256.
"""

import hashlib

PREFIX = "2.25."
_MARK = int.from_bytes(hashlib.sha256(b"mtclip-edge").digest()[:6], "big")
_VERSION, _VARIANT = 8, 0b10


def made_uid(*words: str) -> str:
    """The UID of what some words name."""
    digest = int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:10], "big")
    middle, last = digest & 0xFFF, digest >> 12 & (1 << 62) - 1
    return PREFIX + str(_MARK << 80 | _VERSION << 76 | middle << 64 | _VARIANT << 62 | last)


def is_ours(uid: str) -> bool:
    """Whether a node like this one made it."""
    digits = uid.removeprefix(PREFIX)
    if digits == uid or not digits.isdecimal() or len(digits) > 39:
        return False
    number = int(digits)
    return number >> 80 == _MARK and number >> 76 & 0xF == _VERSION and number >> 62 & 0b11 == _VARIANT
