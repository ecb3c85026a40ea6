"""One e-mail address: the only parser for logins, senders, recipients and From.

An `Address` keeps the text it was written in, so it prints back to the same address; `key` is what two
spellings of one address have in common. Anything that two programs could read in two ways is refused:
comments, encoded words, control and invisible characters, text that is not in Unicode normal form C, domains that
IDNA2008 does not know, whether written in letters or as A-labels ("xn--...").

Two rules of RFC 5321 are left aside, because addresses in use break them and still have one reading: a local part may be
longer than 64 octets (GitHub, VERP), and may have dots at its ends and side by side (docomo.ne.jp).
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import idna

MAX_DOMAIN = 255  # octets, section 4.5.3.1.2
MAX_ADDRESS = 254  # octets: a path is at most 256 with its angle brackets, section 4.5.3.1.3

# RFC 5321 section 4.1.2, with RFC 6531 section 3.3 (UTF8-non-ascii in atext, qtextSMTP and sub-domain)
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]"
_DOT_STRING = re.compile(rf"\.*{_ATEXT}(?>(?:{_ATEXT}|\.)*)")
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE;  qtextSMTP = %d32-33 / %d35-91 / %d93-126
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"')
# sub-domain = Let-dig [Ldh-str]
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PLAIN = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_IPV4_START = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_A_LABEL_PREFIX = "xn--"
# What some letters are for those who fold compatibility forms (NFKC): U+FF20 is "@" to them
_SPECIALS = frozenset('()<>[]:;@\\,." ')
# Invisible, unassigned or private characters make two addresses look like one.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp", "Zs"})


class DomainFlaw(StrEnum):
    """Why a domain cannot be one of the public DNS (RFC 6409 section 4.2)."""

    ONE_LABEL = "one label"
    BARE_IP = "an IP address without brackets"
    NUMERIC = "a number as its last label"


class AddressError(ValueError):
    """The text is not an address we accept; `str()` is a short reason, safe for a reply."""


@dataclass(frozen=True, slots=True)
class Address:
    """`local` as written (with its quotes), `domain` as written ("[192.0.2.1]" for a literal)."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only an SMTPUTF8 transaction can carry it (RFC 6531)."""
        return not (self.local.isascii() and self.domain.isascii())

    @property
    def domain_key(self) -> str:
        """The domain in lower case, as A-labels: what two spellings of it have in common."""
        if self.domain.isascii():
            return self.domain.lower()
        return ".".join(_a_label(label) for label in self.domain.split("."))

    @property
    def key(self) -> str:
        """What all spellings of this address share, the case of the local part's ASCII letters set aside.

        No more is folded: "straße" and "strasse", or "s" and the long s, may be two people.
        """
        return ascii_lower(self.exact_key)

    @property
    def exact_key(self) -> str:
        """As `key`, where upper and lower case are two people."""
        if self.domain.isascii() and not self.local.startswith('"'):
            return f"{self.local}@{self.domain.lower()}"
        return f"{unquoted(self.local)}@{self.domain_key}"


def domain_flaw(domain: str) -> DomainFlaw | None:
    """What keeps a valid domain from being fully qualified; None for one that is, and for an address literal."""
    if domain.startswith("["):
        return None
    rest, dot, last = domain.rpartition(".")
    if not dot:
        return DomainFlaw.ONE_LABEL
    if not (last.isascii() and last.isdigit()):  # RFC 3696 section 2: no top-level domain is all digits
        return None
    return DomainFlaw.BARE_IP if _IPV4_START.fullmatch(rest) else DomainFlaw.NUMERIC


def ascii_lower(text: str) -> str:
    """`text` with A to Z in lower case, and nothing else changed."""
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def unquoted(local: str) -> str:
    """The characters a local part stands for: `"a\\ b"` is `a b` (RFC 5321 section 4.1.2)."""
    return re.sub(r"\\(.)", r"\1", local[1:-1]) if local.startswith('"') else local


@lru_cache(maxsize=4096)
def parse(text: str) -> Address:
    """Read `local@domain`, exactly, with nothing around it.

    Raises AddressError. RFC 5321 section 4.1.2 (Mailbox), RFC 6531 section 3.3, RFC 5890 to 5892.
    """
    if len(text) > MAX_ADDRESS or len(text.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        raise AddressError(f"longer than {MAX_ADDRESS} octets")
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        raise AddressError("not of the form local@domain")
    if _PLAIN.fullmatch(text) is None or _A_LABEL_PREFIX in domain.lower():
        _check_local(local)
        _check_domain(domain)
    return Address(local, domain)


def _check_local(local: str) -> None:
    if not (_DOT_STRING.fullmatch(local) or _QUOTED.fullmatch(local)):
        raise AddressError("bad local part")
    if "=?" in local:  # RFC 2047 text in a local part is decoded by some programs and not by others
        raise AddressError("encoded word in the local part")
    if local.isascii():
        return
    if not unicodedata.is_normalized("NFC", f"<{local}"):  # a first combining mark would swallow the bracket
        raise AddressError("local part is not in Unicode normal form C")
    foreign = "".join(c for c in local if not c.isascii())
    if not _REFUSED_CATEGORIES.isdisjoint(map(unicodedata.category, foreign)):
        raise AddressError("invisible or unassigned character in the local part")
    if not _SPECIALS.isdisjoint(unicodedata.normalize("NFKC", foreign)):
        raise AddressError("character in the local part that some take for a special one")


def _check_domain(domain: str) -> None:
    if domain.startswith("["):
        _check_literal(domain)
        return
    labels = domain.split(".")
    if len(".".join(_a_label(label) for label in labels)) > MAX_DOMAIN:
        raise AddressError(f"domain longer than {MAX_DOMAIN} octets")


@lru_cache(maxsize=8192)
def _a_label(label: str) -> str:
    """RFC 5891: the ASCII form of one label; letter case is the only mapping we do (RFC 5895 section 2)."""
    if label.isascii():
        if not _LABEL.fullmatch(label):
            raise AddressError("bad domain")
        lowered = label.lower()
        if lowered.startswith(_A_LABEL_PREFIX):
            _check_a_label(lowered)
        return lowered
    if not unicodedata.is_normalized("NFC", label):
        raise AddressError("domain is not in Unicode normal form C")
    lowered = label.lower()
    # Programs differ in the small letter for a capital sharp s, and for a sigma at the end of a word.
    if lowered != "".join(c if c == c.lower() else c.casefold() for c in label):
        raise AddressError("capital letter in the domain that has two small ones")
    try:
        return idna.alabel(lowered).decode("ascii")
    except UnicodeError:  # idna.IDNAError is one
        raise AddressError("domain is not valid in IDNA2008") from None


def _check_a_label(label: str) -> None:
    """RFC 5891 section 5.4: what is no A-label, or one of something forbidden, has no meaning that all readers share."""
    try:
        idna.ulabel(label)
    except UnicodeError:
        raise AddressError("domain is not valid in IDNA2008") from None


def _check_literal(domain: str) -> None:
    """address-literal = "[" ( IPv4-address-literal / "IPv6:" IPv6-addr ) "]", RFC 5321 section 4.1.3."""
    inner = domain[1:-1]
    try:
        if not domain.endswith("]"):
            raise ValueError
        if inner[:5].upper() == "IPV6:":
            if "%" in inner:
                raise ValueError
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        raise AddressError("bad address literal") from None
