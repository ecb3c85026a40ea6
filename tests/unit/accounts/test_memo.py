"""The memo says right only to what was right, keeps within its bounds, and has nothing to show."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.accounts.memo import MOST_OF_ONE, Memo, Recall
from gateway.metrics import Metrics

KEY = b"k" * 32
STORED = "$2b$12$Rh6yzMsqSSyBbzIW5O6IJO8SNUIJAj3DX6iVJOTvJQZyLNSKm9wGi"
MOVED = "$2b$12$sQ3OuYtN1cT1cyBjVWK9yuMdAbIRVxcsAzOVi4QyKs5vgsCnzGP7a"

# Few letters, those of the digests' own framing among them, so that two checks often look alike when joined.
TEXT = st.text("a:1p", max_size=4)
SECRETS = TEXT.map(str.encode)
CHECKS = st.tuples(TEXT, TEXT, SECRETS)


def memo(**bounds: int) -> Memo:
    return Memo(KEY, Metrics(CollectorRegistry()), **bounds)


def test_what_was_remembered_is_recalled() -> None:
    one = memo()
    for recall in Recall:
        one.remember("a:1", STORED, recall.value.encode(), recall)
    assert [one.recall("a:1", STORED, recall.value.encode()) for recall in Recall] == list(Recall)
    assert one.recall("a:1", STORED, b"other") is None


def test_a_moved_hash_is_never_hit() -> None:
    one = memo()
    one.remember("a:1", STORED, b"secret", Recall.RIGHT)
    one.remember("a:1", STORED, b"guess", Recall.WRONG)
    assert one.recall("a:1", MOVED, b"secret") is None
    assert one.recall("a:1", MOVED, b"guess") is None


def test_a_password_once_right_is_known_as_such_when_the_hash_has_moved() -> None:
    one = memo()
    one.remember("a:1", STORED, b"secret", Recall.RIGHT)
    one.remember("a:1", STORED, b"guess", Recall.WRONG)
    one.remember("a:1", MOVED, b"changed", Recall.RIGHT)
    assert one.was_right("a:1", b"secret")
    assert not one.was_right("a:1", b"guess")
    assert not one.was_right("a:2", b"secret")
    one.remember("a:1", MOVED, b"secret", Recall.STALE)
    assert one.recall("a:1", MOVED, b"secret") is Recall.STALE
    assert one.recall("a:1", MOVED, b"changed") is Recall.RIGHT


def test_rehashed_with_the_same_password() -> None:
    one = memo()
    for stored in (STORED, MOVED):
        one.remember("a:1", stored, b"secret", Recall.RIGHT)
        assert one.recall("a:1", stored, b"secret") is Recall.RIGHT


def test_another_process_has_other_digests() -> None:
    one, other = memo(), Memo(b"x" * 32, Metrics(CollectorRegistry()))
    for each in (one, other):
        each.remember("a:1", STORED, b"secret", Recall.RIGHT)
    assert not digests(one) & digests(other)


@given(st.lists(st.tuples(CHECKS, st.sampled_from(Recall)), max_size=30), st.lists(CHECKS, max_size=30))
def test_never_right_for_another_account_hash_or_password(
    remembered: list[tuple[tuple[str, str, bytes], Recall]], asked: list[tuple[str, str, bytes]]
) -> None:
    """As a table would have it that keeps everything in clear: the latest right hash, and what was refused."""
    one = memo()
    right: dict[tuple[str, bytes], str] = {}
    wrong: dict[tuple[str, str, bytes], Recall] = {}
    for (subject, stored, secret), recall in remembered:
        one.remember(subject, stored, secret, recall)
        if recall is Recall.RIGHT:
            right[subject, secret] = stored
        else:
            wrong[subject, stored, secret] = recall
    for subject, stored, secret in asked + [check for check, _ in remembered]:
        is_right = right.get((subject, secret)) == stored
        expected = Recall.RIGHT if is_right else wrong.get((subject, stored, secret))
        assert one.recall(subject, stored, secret) is expected
        assert one.was_right(subject, secret) is ((subject, secret) in right)


def test_any_subject_can_be_asked_for() -> None:
    one = memo()
    one.remember("l:\udc80é", "", b"\xff\x00", Recall.WRONG)
    assert one.recall("l:\udc80é", "", b"\xff\x00") is Recall.WRONG


class TestBounds:
    def setup_method(self) -> None:
        self.memo = memo(right=3, wrong=5)

    def remember(self, *subjects: str, recall: Recall = Recall.RIGHT) -> None:
        for subject in subjects:
            self.memo.remember(subject, STORED, b"secret", recall)

    def known(self, *subjects: str) -> list[str]:
        return [subject for subject in subjects if self.memo.recall(subject, STORED, b"secret")]

    def test_guesses_push_out_guesses_alone(self) -> None:
        self.remember("a:1", "a:2", "a:3")
        for n in range(1000):
            self.memo.remember("a:1", STORED, b"guess %d" % n, (Recall.WRONG, Recall.STALE)[n % 2])
        assert self.known("a:1", "a:2", "a:3") == ["a:1", "a:2", "a:3"]
        assert [n for n in range(1000) if self.memo.recall("a:1", STORED, b"guess %d" % n)] == list(range(995, 1000))
        assert len(digests(self.memo)) == 3 + 3 + 3 + 5

    def test_good_ones_push_out_good_ones_alone(self) -> None:
        self.remember("a:0", recall=Recall.WRONG)
        self.remember(*(f"a:{n}" for n in range(1, 1000)))
        assert self.known(*(f"a:{n}" for n in range(1000))) == ["a:0", "a:997", "a:998", "a:999"]

    @pytest.mark.parametrize(("recall", "room"), [(Recall.RIGHT, 3), (Recall.WRONG, 5)])
    def test_what_was_not_asked_for_longest_goes_first(self, recall: Recall, room: int) -> None:
        full = [f"a:{n}" for n in range(room)]
        self.remember(*full, recall=recall)
        self.known("a:0")
        self.remember("a:1", "new", recall=recall)
        assert self.known(*full) == [subject for subject in full if subject != "a:2"]

    def test_one_subject_pushes_out_only_its_own(self) -> None:
        one = Memo(KEY, Metrics(CollectorRegistry()), right=100, wrong=5)
        one.remember("a:1", STORED, b"secret", Recall.RIGHT)
        for n in range(1000):
            one.remember("a:2", STORED, b"secret %d" % n, Recall.RIGHT)
        assert one.recall("a:1", STORED, b"secret") is Recall.RIGHT
        kept = [n for n in range(1000) if one.recall("a:2", STORED, b"secret %d" % n)]
        assert kept == list(range(1000 - MOST_OF_ONE, 1000))
        assert one.was_right("a:2", b"secret 999")
        assert not one.was_right("a:2", b"secret 0")

    def test_a_subject_that_was_pushed_out_leaves_nothing(self) -> None:
        self.remember(*(f"a:{n}" for n in range(1000)))
        assert len(digests(self.memo)) == 3 * 3

    def test_remembered_again_takes_no_room(self) -> None:
        self.remember("a:1", "a:2", *["a:3"] * 100)
        assert self.known("a:1", "a:2", "a:3") == ["a:1", "a:2", "a:3"]


def digests(one: Memo) -> set[bytes]:
    """Everything a memo holds apart from its key, as bytes."""
    return {part for value in vars(one).values() if isinstance(value, dict) for part in _octets(value)}


def _octets(entries: dict[Any, Any]) -> list[bytes]:
    parts = [
        part for key, value in entries.items() for part in (key, *(value if isinstance(value, (list, tuple)) else (value,)))
    ]
    return [part for part in parts if isinstance(part, bytes)]


def test_nothing_is_there_in_clear() -> None:
    one = memo()
    for n, recall in enumerate(Recall):
        one.remember("l:ann@example.com", STORED, b"hunter%d" % n, recall)
    held = repr(vars(one))
    for clear in ("hunter", "ann@example.com", "Rh6yzMsq"):
        assert clear not in held
    assert {len(part) for part in digests(one)} == {32}
    assert "kkkk" not in repr(one)


def test_metrics() -> None:
    registry = CollectorRegistry()
    one = Memo(KEY, Metrics(registry), right=2, wrong=2)
    for recall in Recall:
        one.remember("a:1", STORED, recall.value.encode(), recall)
        one.remember("a:1", STORED, recall.value.encode(), recall)
    for secret in (b"right", b"wrong", b"stale", b"other", b"others", b"more"):
        one.recall("a:1", STORED, secret)
    counted = [
        registry.get_sample_value("smtp_gateway_verification_memo_total", {"result": result})
        for result in ("hit", "repeated", "miss")
    ]
    assert counted == [1, 2, 3]
    assert registry.get_sample_value("smtp_gateway_verification_memo_entries") == 3
