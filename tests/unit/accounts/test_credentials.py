"""Passwords of SMTP users: made, chosen, stored, and checked nowhere else."""

import re
import secrets
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import schemes
from gateway.accounts.credentials import (
    check_chosen,
    fits_random,
    is_random,
    new_password,
    stored_chosen,
    stored_random,
)
from gateway.errors import Conflict


def test_a_made_password_is_one_word_of_128_bits_and_more_that_nobody_misreads() -> None:
    made = {new_password(secrets.token_bytes) for _ in range(200)}
    assert len(made) == 200
    letters = Counter("".join(made))
    assert len(letters) ** min(map(len, made)) >= 2**128
    assert not set(letters) & set("0OolI1i")
    assert all(c.islower() or c.isdigit() for c in letters)
    assert max(letters.values()) < 2 * min(letters.values())  # 5200 letters of 31 kinds


def test_all_of_it_comes_from_the_chance_handed_in() -> None:
    def of(number: int) -> str:
        return new_password(lambda octets: number.to_bytes(octets, "big"))

    assert of(0) == "a" * 26
    assert len({of(31**n) for n in range(26)}) == 26
    assert of(5) == of(5) != of(6)


@given(st.text(min_size=1))
def test_a_random_one_fits_and_no_other_does(password: str) -> None:
    secret = password.encode("utf-8", "replace")
    stored = stored_random(secret.decode())
    assert is_random(stored)
    assert fits_random(secret, stored)
    assert not fits_random(secret + b"x", stored)
    assert not fits_random(secret[:-1], stored)
    assert not fits_random(stored.encode(), stored)


def test_the_stored_form_of_a_random_one() -> None:
    """Stores out there have it."""
    stored = "{gateway-sha256}9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    assert stored_random("test") == stored
    for other in (stored.upper(), stored + "\n", " " + stored, stored[:-1], "x" + stored, "", stored.partition("}")[2]):
        assert not is_random(other), other


def test_no_row_of_the_product_s_table_can_have_that_form() -> None:
    stored = stored_random("test")
    assert schemes.scheme(stored) == "unknown"
    with pytest.raises(schemes.UnknownScheme) as caught:
        schemes.verify(b"test", stored)
    assert "9f86" not in str(caught.value)
    with pytest.raises(schemes.UnknownScheme):
        schemes.decoy(stored)


def test_a_chosen_one_is_bcrypt_of_cost_12_whatever_the_pepper_of_the_product_s_table() -> None:
    stored = stored_chosen("pässword")
    assert re.fullmatch(r"bcrypt\$\$2b\$12\$.{53}", stored)
    assert not is_random(stored)
    assert schemes.verify("pässword".encode(), stored, pepper=b"of the product")
    assert not schemes.verify(b"password", stored, pepper=b"of the product")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("12345678", ""),
        ("correct horse battery", ""),
        ("ä" * 36, ""),
        ("x" * 72, ""),
        ("1234567", "too short: it needs 8 characters"),
        ("", "too short"),
        ("\U0001f511" * 7, "too short"),
        ("x" * 73, "longer than 72 octets"),
        ("ä" * 37, "longer than 72 octets"),
        ("1234567\x00", "control"),
        ("1234567\n", "control"),
        ("1234567\x1b", "control"),
        ("1234567\u200b", "invisible"),
        ("1234567\udc80", "control"),
    ],
)
def test_what_a_person_may_choose(password: str, reason: str) -> None:
    if not reason:
        check_chosen(password)
        return
    with pytest.raises(Conflict, match=reason) as caught:
        check_chosen(password)
    assert "1234567" not in str(caught.value)
    assert "\n" not in str(caught.value)
