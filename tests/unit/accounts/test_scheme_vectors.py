"""Hashes that the frameworks make here and now, with passwords that people really have, and some that nobody should."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import argon2
import bcrypt
import pytest
import werkzeug.security
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.auth import hashers  # type: ignore[import-untyped]

from gateway.accounts import schemes

TEXTS = {
    "plain": "correct horse",
    "unicode": "p\u00e4ssw\u00f6rd \u5bc6\u7801 \U0001f511",
    "72 octets": "a" * 72,
    "past 72 octets": "\u00e4" * 50 + "the end",
    "1024 octets": "0123456789abcdef" * 64,
    "quotes": 'it\'s "so" \\ so',
    "spaces around": "  two spaces ",
    "NUL": "before\0after",
    "empty": "",
    "one space": " ",
}
PASSWORDS = [pytest.param(text, id=name) for name, text in TEXTS.items()]

DJANGO = {
    "pbkdf2_sha256": "django_pbkdf2_sha256",
    "pbkdf2_sha1": "django_pbkdf2_sha1",
    "argon2": "django_argon2",
    "bcrypt": "django_bcrypt",
    "bcrypt_sha256": "django_bcrypt_sha256",
    "scrypt": "django_scrypt",
}


class Pbkdf2(hashers.PBKDF2PasswordHasher):  # type: ignore[misc]
    iterations = 1000


class Pbkdf2Sha1(hashers.PBKDF2SHA1PasswordHasher):  # type: ignore[misc]
    iterations = 1000


class Argon2(hashers.Argon2PasswordHasher):  # type: ignore[misc]
    time_cost, memory_cost, parallelism = 1, 1024, 1


class Bcrypt(hashers.BCryptPasswordHasher):  # type: ignore[misc]
    rounds = 4


class BcryptSha256(hashers.BCryptSHA256PasswordHasher):  # type: ignore[misc]
    rounds = 4


class Scrypt(hashers.ScryptPasswordHasher):  # type: ignore[misc]
    work_factor = 1024


@pytest.fixture(scope="module", autouse=True)
def _django() -> None:
    """Django's own hashers, made cheap the way its documentation says: by subclasses."""
    if not settings.configured:
        cheap = [Pbkdf2, Pbkdf2Sha1, Argon2, Bcrypt, BcryptSha256, Scrypt]
        settings.configure(PASSWORD_HASHERS=[f"{each.__module__}.{each.__name__}" for each in cheap])
    hashers.get_hashers.cache_clear()


def assert_fits(stored: str, name: str, text: str) -> None:
    secret = text.encode()
    assert schemes.scheme(stored) == name
    assert schemes.verify(secret, stored)
    assert not schemes.verify(b"x" + secret, stored)
    assert not schemes.verify(secret.swapcase() + b"y" if len(secret) < 72 else b"y" + secret, stored)


@pytest.mark.parametrize("text", PASSWORDS)
@pytest.mark.parametrize("algorithm", DJANGO)
def test_django(algorithm: str, text: str) -> None:
    hasher = {each.algorithm: each for each in (Pbkdf2, Pbkdf2Sha1, Argon2, Bcrypt, BcryptSha256, Scrypt)}[algorithm]()
    if algorithm == "bcrypt" and len(text.encode()) > 72:
        with pytest.raises(ValueError):  # today's Django cannot; an older bcrypt cut it
            hasher.encode(text, hasher.salt())
        return
    assert_fits(hasher.encode(text, hasher.salt()), DJANGO[algorithm], text)


def test_django_users_without_a_password() -> None:
    for _ in range(20):
        stored = hashers.make_password(None)
        assert schemes.scheme(stored) == "unusable"
        assert not schemes.verify(b"", stored)


@pytest.mark.parametrize("text", PASSWORDS)
@pytest.mark.parametrize("kind", list(argon2.Type))
def test_argon2_cffi(kind: argon2.Type, text: str) -> None:
    hasher = argon2.PasswordHasher(time_cost=2, memory_cost=1024, parallelism=2, type=kind)
    assert_fits(hasher.hash(text), "argon2", text)


@pytest.mark.parametrize("text", PASSWORDS)
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("scrypt:1024:8:1", "werkzeug_scrypt"),
        ("pbkdf2:sha256:1000", "werkzeug_pbkdf2"),
        ("pbkdf2:sha512:1000", "werkzeug_pbkdf2"),
        ("pbkdf2:sha1:1000", "werkzeug_pbkdf2"),
    ],
)
def test_werkzeug(method: str, name: str, text: str) -> None:
    assert_fits(werkzeug.security.generate_password_hash(text, method), name, text)


@pytest.mark.parametrize("make", [hashers.make_password, werkzeug.security.generate_password_hash])
def test_what_a_framework_makes_by_default_is_within_our_bounds(make: object) -> None:
    assert callable(make)
    assert schemes.scheme(make("correct horse")) not in ("unknown", "unusable")
    assert schemes.scheme(argon2.PasswordHasher().hash("correct horse")) == "argon2"


@pytest.mark.parametrize("text", PASSWORDS)
@pytest.mark.parametrize("pepper", ["", "a pepper", "p" * 80])
def test_devise(text: str, pepper: str) -> None:
    """Devise::Encryptor.digest: `password = "#{password}#{pepper}" if pepper`, then bcrypt, whose C code reads 72 octets."""
    stored = bcrypt.hashpw(f"{text}{pepper}".encode()[:72], bcrypt.gensalt(4, b"2a")).decode()
    assert schemes.scheme(stored) == "bcrypt"
    assert schemes.verify(text.encode(), stored, pepper=pepper.encode())
    assert not schemes.verify(b"x" + text.encode(), stored, pepper=pepper.encode())


@pytest.fixture(scope="module")
def php() -> dict[str, dict[str, str]]:
    """Password to kind to hash, as PHP makes them."""
    program = shutil.which("php")
    if program is None:
        pytest.skip("php is not installed")
    texts = list(TEXTS.values())
    script = Path(__file__).with_name("framework_hashes.php")
    encoded = json.dumps([base64.b64encode(text.encode()).decode() for text in texts])
    made = subprocess.run([program, script], input=encoded, capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(texts, json.loads(made.stdout), strict=True))


@pytest.mark.parametrize("text", PASSWORDS)
def test_php_laravel_and_wordpress(php: dict[str, dict[str, str]], text: str) -> None:
    names = {"argon2id": "argon2", "argon2i": "argon2"}
    assert php[text]["argon2id"].startswith("$argon2id$")
    for kind, stored in php[text].items():
        assert_fits(stored, names.get(kind, kind), text)
    assert php[text].get("bcrypt", "$2y$").startswith("$2y$")
    assert php[text]["wordpress_bcrypt"].startswith("$wp$2y$")


def test_wordpress_trims_and_slashes_as_its_own_form_does(php: dict[str, dict[str, str]]) -> None:
    for kind in ("wordpress_phpass", "wordpress_bcrypt"):
        assert schemes.verify(b"two spaces", php["  two spaces "][kind])
        assert not schemes.verify(b"two  spaces", php["  two spaces "][kind])
    assert not schemes.verify(b"two spaces", php["  two spaces "]["argon2id"])


@pytest.mark.parametrize(
    "stored", ["correct horse", "\0", "$2y$", "$argon2id$", "pbkdf2_sha256$$$", "$wp", "$P$B", "NULL", "\u00e4" * 60]
)
def test_junk_is_never_a_password(stored: str) -> None:
    with pytest.raises(schemes.UnknownScheme):
        schemes.verify(stored.encode(), stored)
