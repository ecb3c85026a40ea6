"""Stored password hashes: which kinds there are, what one costs, and whether a password is behind it.

Each scheme is a row of `_SCHEMES`: the exact form it is stored in, a bound on its cost, and a check. What fits no
form or costs too much raises `UnknownScheme`, so a junk row can neither stop a thread nor pass for a wrong password.

A password goes in as the bytes the client sent; nothing is trimmed or normalised, as the frameworks themselves do
when they check one, WordPress apart (`_as_wordpress`). A pepper counts for plain bcrypt alone (Devise appends it).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import argon2.exceptions
import argon2.low_level
import bcrypt

BCRYPT_OCTETS = 72  # what bcrypt reads of a password; PHP, Rails and old Django cut it there
MAX_STORED = 512  # characters

# Bounds on the work one stored hash may ask for: two to five seconds of one core.
MAX_BCRYPT_COST = 16
MAX_PBKDF2_ROUNDS = 10_000_000
MAX_ARGON2_MEMORY = 1 << 20  # KiB
MAX_ARGON2_WORK = 1 << 22  # KiB times passes
MAX_SCRYPT_WORK = 1 << 22  # N * r * p; 128 octets of memory for each at p = 1
MAX_PHPASS_LOG2 = 18  # in Python, so it holds the interpreter's lock meanwhile

Name = Literal[
    "bcrypt",
    "argon2",
    "django_pbkdf2_sha256",
    "django_pbkdf2_sha1",
    "django_argon2",
    "django_bcrypt",
    "django_bcrypt_sha256",
    "django_scrypt",
    "wordpress_phpass",
    "wordpress_bcrypt",
    "werkzeug_scrypt",
    "werkzeug_pbkdf2",
    "unusable",
    "unknown",
]


class UnknownScheme(Exception):
    """The stored hash is of no kind we read, or asks for too much work. `str()` never has any of it."""


@dataclass(frozen=True, slots=True)
class _Scheme:
    """`form` names what the others use: head, salt, digest, and the parameters. `filler` is a zero digit of its alphabet.

    `heavy`: takes much memory, or the interpreter's lock, for as long as it lasts.
    """

    name: Name
    form: re.Pattern[str]
    bounded: Callable[[re.Match[str]], bool]
    check: Callable[[bytes, re.Match[str], bytes], bool]  # (secret, form, pepper)
    filler: str = "A"
    heavy: bool = False


def usable(stored: str) -> bool:
    """Whether any password can fit: not for NULL or empty, Django's `!...`, or the `*` of shadow files and phpass."""
    return not (stored == "" or stored.startswith(("!", "*")))


def scheme(stored: str) -> Name:
    """The kind of `stored`, for metrics and `doctor`: a closed set."""
    if not usable(stored):
        return "unusable"
    try:
        return _read(stored)[0].name
    except UnknownScheme:
        return "unknown"


def heavy(stored: str) -> bool:
    """Whether few of its kind should be hashed at once, however quick the machine. Raises UnknownScheme."""
    return _read(stored)[0].heavy


def verify(secret: bytes, stored: str, *, pepper: bytes = b"") -> bool:
    """Whether `secret` is the password behind `stored`; slow on purpose. Raises UnknownScheme, nothing else.

    False at once when no password can fit (`usable`): the caller spends the time of a hash.
    """
    if not usable(stored):
        return False
    kind, form = _read(stored)
    try:
        return kind.check(secret, form, pepper)
    except (ValueError, MemoryError, argon2.exceptions.Argon2Error):
        # Chained causes are cut: their text may hold part of the hash.
        raise UnknownScheme(f"a {kind.name} hash that cannot be read") from None


def bcrypt_hash(secret: bytes, cost: int = 12) -> str:
    """A fresh bcrypt hash, for passwords that we keep ourselves; `secret` has at most BCRYPT_OCTETS."""
    return bcrypt.hashpw(secret, bcrypt.gensalt(cost)).decode("ascii")


def decoy(stored: str) -> str:
    """A hash of the scheme and parameters of `stored` that no known password fits: checking it costs the same.

    All hashes of one scheme, parameters and salt length have one decoy. Raises UnknownScheme.
    """
    kind, form = _read(stored)
    text = list(stored)
    for part in ("salt", "digest"):
        start, end = form.span(part)
        text[start:end] = [kind.filler if c != "=" else c for c in text[start:end]]
    return "".join(text)


def _read(stored: str) -> tuple[_Scheme, re.Match[str]]:
    if len(stored) <= MAX_STORED:
        for kind in _SCHEMES:
            form = kind.form.fullmatch(stored)
            if form is not None and kind.bounded(form):
                return kind, form
            if form is not None:
                raise UnknownScheme(f"a {kind.name} hash whose cost is out of bounds")
    raise UnknownScheme("a stored hash of an unknown kind")


def _number(form: re.Match[str], name: str) -> int:
    return int(form[name])


def _same(derived: bytes, form: re.Match[str]) -> bool:
    return hmac.compare_digest(base64.b64encode(derived), form["digest"].encode("ascii"))


# bcrypt: $2b$12$ + 22 characters of salt + 31 of digest. The letter after 2 tells implementations apart, not results.
_BCRYPT = r"(?P<bcrypt>\$2[abxy]\$(?P<cost>[0-9]{2})\$(?P<salt>[./A-Za-z0-9]{22})(?P<digest>[./A-Za-z0-9]{31}))"


def _bcrypt_bounded(form: re.Match[str]) -> bool:
    return 4 <= _number(form, "cost") <= MAX_BCRYPT_COST


def _bcrypt(secret: bytes, form: re.Match[str], pepper: bytes = b"") -> bool:
    return bcrypt.checkpw((secret + pepper)[:BCRYPT_OCTETS], form["bcrypt"].encode("ascii"))


def _django_bcrypt(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _bcrypt(secret, form)


def _django_bcrypt_sha256(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _bcrypt(hashlib.sha256(secret).hexdigest().encode("ascii"), form)


_SLASHED = re.compile(rb"['\"\\\\]")


def _as_wordpress(secret: bytes) -> bytes:
    """What a password is when WordPress hashes it: wp_authenticate trims it, and wp_signon takes it from a form to which
    wp_magic_quotes has added slashes (PHP's trim and addslashes), when it is set and when it is checked."""
    return _SLASHED.sub(rb"\\\g<0>", secret.strip(b" \t\n\r\0\x0b")).replace(b"\0", rb"\0")


def _wordpress_bcrypt(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    """WordPress 6.8 wp_check_password: HMAC-SHA384 first, so that bcrypt sees 64 characters whatever the password."""
    return _bcrypt(base64.b64encode(hmac.digest(b"wp-sha384", _as_wordpress(secret), "sha384")), form)


# Argon2's PHC string (github.com/P-H-C/phc-winner-argon2)
_ARGON2 = (
    r"(?P<argon2>\$argon2(?P<type>id|i|d)(?:\$v=[0-9]{1,3})?\$m=(?P<m>[0-9]{1,9}),t=(?P<t>[0-9]{1,5}),p=(?P<p>[0-9]{1,3})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,88})\$(?P<digest>[A-Za-z0-9+/]{6,128}))"
)
_ARGON2_TYPES = {"id": argon2.Type.ID, "i": argon2.Type.I, "d": argon2.Type.D}


def _argon2_bounded(form: re.Match[str]) -> bool:
    memory = _number(form, "m")
    return memory <= MAX_ARGON2_MEMORY and memory * _number(form, "t") <= MAX_ARGON2_WORK and _number(form, "p") <= 64


def _argon2(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    try:
        return argon2.low_level.verify_secret(form["argon2"].encode("ascii"), secret, _ARGON2_TYPES[form["type"]])
    except argon2.exceptions.VerifyMismatchError:
        return False


# Django (django.contrib.auth.hashers): algorithm$parameters$salt$base64
_BASE64 = r"(?P<digest>[A-Za-z0-9+/]{20,128}={0,2})"
_SALT = r"(?P<salt>[^$]{1,128})"
_ROUNDS = r"(?P<rounds>[0-9]{1,9})"


def _pbkdf2_bounded(form: re.Match[str]) -> bool:
    return 1 <= _number(form, "rounds") <= MAX_PBKDF2_ROUNDS


def _pbkdf2(secret: bytes, form: re.Match[str]) -> bytes:
    return hashlib.pbkdf2_hmac(form["hash"], secret, form["salt"].encode("utf-8"), _number(form, "rounds"))


def _django_pbkdf2(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _same(_pbkdf2(secret, form), form)


_N, _R, _P = r"(?P<n>[0-9]{1,8})", r"(?P<r>[0-9]{1,4})", r"(?P<p>[0-9]{1,4})"


def _scrypt_bounded(form: re.Match[str]) -> bool:
    n, r, p = _number(form, "n"), _number(form, "r"), _number(form, "p")
    return n > 1 and n & (n - 1) == 0 and 0 < n * r * p <= MAX_SCRYPT_WORK


def _scrypt(secret: bytes, form: re.Match[str]) -> bytes:
    n, r, p = _number(form, "n"), _number(form, "r"), _number(form, "p")
    room = 132 * r * (n + p) + 65536  # what OpenSSL wants is 128 * r * (n + p + 2)
    return hashlib.scrypt(secret, salt=form["salt"].encode("utf-8"), n=n, r=r, p=p, maxmem=room, dklen=64)


def _django_scrypt(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _same(_scrypt(secret, form), form)


# werkzeug.security: method:parameters$salt$hexadecimal
_HEX = r"(?P<digest>[0-9a-f]{40,128})"


def _same_hex(derived: bytes, form: re.Match[str]) -> bool:
    return hmac.compare_digest(derived.hex(), form["digest"])


def _werkzeug_pbkdf2(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _same_hex(_pbkdf2(secret, form), form)


def _werkzeug_scrypt(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    return _same_hex(_scrypt(secret, form), form)


# phpass, "portable" (openwall.com/phpass; WordPress before 6.8): $P$ + log2 of the rounds + 8 of salt + 22 of digest
_ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _phpass_bounded(form: re.Match[str]) -> bool:
    return 7 <= _ITOA64.index(form["log2"]) <= MAX_PHPASS_LOG2


def _phpass(secret: bytes, form: re.Match[str], _pepper: bytes) -> bool:
    secret = _as_wordpress(secret)
    digest = hashlib.md5(form["salt"].encode("ascii") + secret).digest()  # noqa: S324 the scheme is MD5
    for _ in range(1 << _ITOA64.index(form["log2"])):
        digest = hashlib.md5(digest + secret).digest()  # noqa: S324
    return hmac.compare_digest(_encode64(digest), form["digest"])


def _encode64(digest: bytes) -> str:
    """phpass's encode64: three octets little end first, as four characters; what is left over without padding."""
    groups = (digest[i : i + 3] for i in range(0, len(digest), 3))
    return "".join(_ITOA64[int.from_bytes(g, "little") >> 6 * i & 63] for g in groups for i in range(len(g) + 1))


_SCHEMES = (
    _Scheme("bcrypt", re.compile(_BCRYPT), _bcrypt_bounded, _bcrypt, filler="."),
    _Scheme("argon2", re.compile(_ARGON2), _argon2_bounded, _argon2, heavy=True),
    _Scheme(
        "django_pbkdf2_sha256",
        re.compile(rf"pbkdf2_(?P<hash>sha256)\${_ROUNDS}\${_SALT}\${_BASE64}"),
        _pbkdf2_bounded,
        _django_pbkdf2,
    ),
    _Scheme(
        "django_pbkdf2_sha1",
        re.compile(rf"pbkdf2_(?P<hash>sha1)\${_ROUNDS}\${_SALT}\${_BASE64}"),
        _pbkdf2_bounded,
        _django_pbkdf2,
    ),
    _Scheme("django_argon2", re.compile(rf"argon2{_ARGON2}"), _argon2_bounded, _argon2, heavy=True),
    _Scheme("django_bcrypt", re.compile(rf"bcrypt\${_BCRYPT}"), _bcrypt_bounded, _django_bcrypt, filler="."),
    _Scheme(
        "django_bcrypt_sha256", re.compile(rf"bcrypt_sha256\${_BCRYPT}"), _bcrypt_bounded, _django_bcrypt_sha256, filler="."
    ),
    _Scheme(
        "django_scrypt",
        re.compile(rf"scrypt\${_N}\${_SALT}\${_R}\${_P}\${_BASE64}"),
        _scrypt_bounded,
        _django_scrypt,
        heavy=True,
    ),
    _Scheme(
        "wordpress_phpass",
        re.compile(r"\$[PH]\$(?P<log2>[./0-9A-Za-z])(?P<salt>[./0-9A-Za-z]{8})(?P<digest>[./0-9A-Za-z]{22})"),
        _phpass_bounded,
        _phpass,
        filler=".",
        heavy=True,
    ),
    _Scheme("wordpress_bcrypt", re.compile(rf"\$wp{_BCRYPT}"), _bcrypt_bounded, _wordpress_bcrypt, filler="."),
    _Scheme(
        "werkzeug_scrypt",
        re.compile(rf"scrypt:{_N}:{_R}:{_P}\${_SALT}\${_HEX}"),
        _scrypt_bounded,
        _werkzeug_scrypt,
        filler="0",
        heavy=True,
    ),
    _Scheme(
        "werkzeug_pbkdf2",
        re.compile(rf"pbkdf2:(?P<hash>sha1|sha256|sha512):{_ROUNDS}\${_SALT}\${_HEX}"),
        _pbkdf2_bounded,
        _werkzeug_pbkdf2,
        filler="0",
    ),
)
