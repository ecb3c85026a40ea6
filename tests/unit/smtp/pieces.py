"""Octets as a peer may send them, and as a network may cut them."""

from collections.abc import Iterator

from hypothesis import strategies as st

# What can be part of a delimiter, and little else: random octets alone hardly ever make an end of data.
BODY_TOKENS = (b"\r\n", b"\r", b"\n", b".", b"..", b"\r\n.", b"\r\n.\r", b"\n.\n", b"\0", b"a", b"text", b"\xe4")

bodies = st.lists(st.sampled_from(BODY_TOKENS) | st.binary(max_size=5), max_size=30).map(b"".join)


@st.composite
def cuts(draw: st.DrawFn, octets: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Some octets, and the same in pieces."""
    whole = draw(octets)
    places = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    return whole, [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]


def every_cut(whole: bytes) -> Iterator[list[bytes]]:
    """In two pieces at each place, and in single octets."""
    for place in range(len(whole) + 1):
        yield [whole[:place], whole[place:]]
    yield [whole[n : n + 1] for n in range(len(whole))]
