"""Queue ids: 16 characters that sort by time, so that new rows go to the end of their index."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32, in order of value and of its characters
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]


def queue_id(epoch: float, entropy: bytes) -> str:
    """48 bits of milliseconds since the epoch, then the 32 of `entropy` (4 octets)."""
    value = (int(epoch * 1000) & (1 << 48) - 1) << 32 | int.from_bytes(entropy[:4], "big")
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(70, -1, -10)])
