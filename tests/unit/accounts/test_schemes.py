"""Stored hashes as Django 5.2, werkzeug 3.1, libpass 1.9.4, argon2-cffi and bcrypt wrote them, and junk."""

import base64
import hashlib
import hmac

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.accounts import schemes

PASSWORD = "pässword 1".encode()
BCRYPT = "$2b$04$bpAvUERanoE1pLgj5v2Jse0PqkTA.Bem/NhbSvbloQWv2MxXldpba"
PHC = "$argon2id$v=19$m=256,t=1,p=1$UnYpfuvjpn2V4ywqbVpVsw$g4X9BmYVSesZm7yRq0qOwgSWcUE4ry3ScN4DDe+CWu4"
_WP_INPUT = base64.b64encode(hmac.new(b"wp-sha384", PASSWORD, hashlib.sha384).digest())
WORDPRESS = "$wp" + bcrypt.hashpw(_WP_INPUT, b"$2b$04$" + b"." * 22).decode().replace("$2b$", "$2y$")

STORED = {
    "bcrypt": [BCRYPT, *(BCRYPT.replace("$2b$", f"$2{letter}$") for letter in "ay")],
    "argon2": [
        PHC,
        "$argon2i$v=19$m=256,t=1,p=1$AfuKecNTwsOWOEafHwL+Iw$Q2EHHn933y0o+EVfJQqAtgSVAPDsMkY9LxA8kcWL8yc",
        "$argon2d$v=19$m=256,t=1,p=1$YrIk0BaEOdM21HrTSrerFg$leri78cgoOEvmegN6L6SfW3LsAUuwnxW1ackR/cKx5U",
    ],
    "django_pbkdf2_sha256": ["pbkdf2_sha256$2000$tsa9HpZUfULf24JDPCypuJ$7HxUioOW3lyA9fLBjXOszFQNdnRHSmETjrW48IIEG3M="],
    "django_pbkdf2_sha1": ["pbkdf2_sha1$2000$HimAlh8qw0RQJTjRfcVwlN$VEjeGPEKKTa7sy6Frq0J3cFQCIE="],
    "django_argon2": [
        "argon2$argon2id$v=19$m=256,t=1,p=1$aWlpbG9GWVZTaHFSNXpYMVFXY2RPTg$VSIvigyfZJyKUeiasDxBgGWlXKgv2fec46mmAnEtnL8"
    ],
    "django_bcrypt": ["bcrypt$$2b$04$XGpJTnS9kxBAbAn3b38ONOLDiSWvl3unjRqamlAmKoWM.2GjKJGYm"],
    "django_bcrypt_sha256": ["bcrypt_sha256$$2b$04$ckJkGNVsRUtz.scrhgfjYOuAGMwHPV9KTw6VgeFkN0PcyDam26Dky"],
    "django_scrypt": [
        "scrypt$1024$g0f2ftd5SkPxXbhSeqLxP5$8$5$qjHXqWsqgmZqGSI9DbAN8BpFDr/IxHYS1AqLZH7QrmjGkkGUtF7hVCVqysQwxsL+"
        "fZT3IID0N++wtvWauObp+A=="
    ],
    "wordpress_phpass": ["$P$60fH3Ap4bUe/XA596gDnLW9PlNqcg.0", "$H$60fH3Ap4bUe/XA596gDnLW9PlNqcg.0"],
    "wordpress_bcrypt": [WORDPRESS],
    "werkzeug_scrypt": [
        "scrypt:1024:8:1$DcFNppTH7dTtgBRm$63c232ea53ceef19325dd24047c038cf0b8dc694d75942a9fa6bf3ebc143bc85"
        "d996c6c1198c9ac12261dd0d778c95cd2f6c7028fc0bd8165bf54a56e83afbf4"
    ],
    "werkzeug_pbkdf2": [
        "pbkdf2:sha256:1000$cjEdeyf2bOP6zSPv$3765358857ac1c471ed06ab40ac964d960c018c4c601cb252c91c3655a6ed5ac",
        "pbkdf2:sha512:1000$y4mJ5MM3YbqwsaEW$2b8de422880e1edf052bba9c839a5f9276a8d2d2041557255478ab5210b8179b"
        "7748b6169872df1adba3eae83603326fc35b3641f65aa6f8fcbe002ec74dbad2",
    ],
}
ALL = [(name, stored) for name, several in STORED.items() for stored in several]


@pytest.mark.parametrize(("name", "stored"), ALL)
def test_each_scheme(name: str, stored: str) -> None:
    assert schemes.scheme(stored) == name
    assert schemes.verify(PASSWORD, stored)
    assert not schemes.verify(PASSWORD + b"x", stored)
    assert not schemes.verify(b"", stored)


@pytest.mark.parametrize(("name", "stored"), ALL)
def test_those_that_take_memory_or_the_interpreter_are_heavy(name: str, stored: str) -> None:
    assert schemes.heavy(stored) is any(kind in name for kind in ("argon2", "_scrypt", "phpass"))


@pytest.mark.parametrize(("name", "stored"), ALL)
def test_decoy_costs_the_same_and_fits_nobody(name: str, stored: str) -> None:
    decoy = schemes.decoy(stored)
    assert decoy != stored
    assert len(decoy) == len(stored)
    assert schemes.scheme(decoy) == name
    assert schemes.decoy(decoy) == decoy
    assert not schemes.verify(PASSWORD, decoy)


def test_decoy_keeps_the_parameters() -> None:
    assert schemes.decoy(BCRYPT) == "$2b$04$" + "." * 53
    assert schemes.decoy(PHC) == "$argon2id$v=19$m=256,t=1,p=1$" + "A" * 22 + "$" + "A" * 43


def test_every_name_of_the_closed_set_is_tested() -> None:
    assert set(schemes.Name.__args__) == {*STORED, "unusable", "unknown"}  # type: ignore[attr-defined]


def test_bcrypt_reads_72_octets() -> None:
    stored = bcrypt.hashpw(b"a" * 72, bcrypt.gensalt(4)).decode()
    assert schemes.verify(b"a" * 72 + b"whatever", stored)
    assert not schemes.verify(b"a" * 71, stored)


def test_pepper_is_appended_before_the_cut() -> None:
    stored = bcrypt.hashpw(PASSWORD + b"pepper", bcrypt.gensalt(4)).decode()
    assert schemes.verify(PASSWORD, stored, pepper=b"pepper")
    assert not schemes.verify(PASSWORD, stored)
    long = bcrypt.hashpw(b"a" * 70 + b"pe", bcrypt.gensalt(4)).decode()
    assert schemes.verify(b"a" * 70, long, pepper=b"pepper")


@pytest.mark.parametrize("name", sorted(set(STORED) - {"bcrypt"}))
def test_pepper_counts_for_plain_bcrypt_alone(name: str) -> None:
    assert schemes.verify(PASSWORD, STORED[name][0], pepper=b"pepper")


@pytest.mark.parametrize("stored", ["", "!", "!KJH6a1ZyvDSpwXYZ", "*", "*0", "!" + BCRYPT])
def test_unusable_fits_nobody(stored: str) -> None:
    assert schemes.scheme(stored) == "unusable"
    assert not schemes.usable(stored)
    assert not schemes.verify(b"", stored)
    assert not schemes.verify(PASSWORD, stored)


JUNK = [
    "plain text",
    hashlib.md5(PASSWORD).hexdigest(),
    "$1$salt$hash",
    "{SSHA}abc",
    BCRYPT[:-1],
    BCRYPT + "a",
    BCRYPT + "\n",
    BCRYPT.replace("$04$", "$03$"),
    BCRYPT.replace("$04$", "$17$"),
    BCRYPT.replace("$04$", "$31$"),
    BCRYPT.replace("$04$", "$٠٤$"),
    "$2b$04$" + "z" * 53,  # a salt whose last bits are set
    PHC.replace("m=256", "m=1048577"),
    PHC.replace("m=256,t=1", "m=1048576,t=5"),
    PHC.replace("m=256", "m=1"),
    PHC.replace("p=1", "p=65"),
    PHC.replace("p=1", "p=0"),
    PHC.replace("t=1", "t=0"),
    PHC[:-1],
    PHC + "=",
    STORED["django_pbkdf2_sha256"][0].replace("$2000$", "$10000001$"),
    STORED["django_pbkdf2_sha256"][0].replace("$2000$", "$0$"),
    STORED["django_pbkdf2_sha256"][0].replace("$2000$", "$-1$"),
    STORED["django_pbkdf2_sha256"][0].replace("tsa9", "\ud800"),
    STORED["django_scrypt"][0].replace("$1024$", "$1000$"),
    STORED["django_scrypt"][0].replace("$1024$", "$1$"),
    STORED["django_scrypt"][0].replace("$8$5$", "$8$5000$"),
    STORED["django_scrypt"][0].replace("$8$5$", "$0$5$"),
    STORED["werkzeug_scrypt"][0].replace(":1024:", ":16777216:"),
    STORED["werkzeug_pbkdf2"][0].replace("sha256", "md5"),
    "$P$V0fH3Ap4bUe/XA596gDnLW9PlNqcg.0",
    "$P$.0fH3Ap4bUe/XA596gDnLW9PlNqcg.0",
    "$2b$04$" + "." * 1000,
]


@pytest.mark.parametrize("stored", JUNK)
def test_junk_is_an_unknown_scheme(stored: str) -> None:
    with pytest.raises(schemes.UnknownScheme) as caught:
        schemes.verify(PASSWORD, stored)
    assert stored not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_digest_of_the_wrong_length_fits_nobody() -> None:
    stored = STORED["django_pbkdf2_sha256"][0]
    assert not schemes.verify(PASSWORD, stored[:-8])
    assert not schemes.verify(PASSWORD, STORED["werkzeug_pbkdf2"][0][:-2])


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A real hash with a few characters of it changed, dropped or added."""
    text = list(draw(st.sampled_from([stored for _, stored in ALL])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(["", "$", "A", "0", "=", ".", "é", "\x00"]))
    return "".join(text)


@settings(max_examples=150, deadline=None)
@given(mangled() | st.text(max_size=80), st.binary(max_size=80))
def test_nothing_but_an_answer_or_unknown_scheme(stored: str, secret: bytes) -> None:
    kind = schemes.scheme(stored)
    try:
        known = schemes.verify(secret, stored) in {True, False}
    except schemes.UnknownScheme:
        known = kind not in {"unusable"}
    assert known
