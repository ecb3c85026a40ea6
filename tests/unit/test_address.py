"""Addresses: what is read, what is refused, which spellings are one address."""

import email.headerregistry
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import address
from gateway.address import Address, AddressError, DomainFlaw

READ = [
    ("ann@example.com", "ann", "example.com"),
    ("a@b", "a", "b"),
    ("root@localhost", "root", "localhost"),
    ("Ann.B+tag@Example.COM", "Ann.B+tag", "Example.COM"),
    ("!#$%&'*+/?=^_`{|}~-@example.com", "!#$%&'*+/?=^_`{|}~-", "example.com"),
    ('"ann b"@example.com', '"ann b"', "example.com"),
    ('"a@b"@example.com', '"a@b"', "example.com"),
    (r'"a\"b\\c"@example.com', r'"a\"b\\c"', "example.com"),
    ('""@example.com', '""', "example.com"),
    ("ann@[192.0.2.1]", "ann", "[192.0.2.1]"),
    ("ann@[IPv6:2001:db8::1]", "ann", "[IPv6:2001:db8::1]"),
    ("ann@[ipv6:::1]", "ann", "[ipv6:::1]"),
    ("jürgen@example.com", "jürgen", "example.com"),
    ("ann@bücher.example", "ann", "bücher.example"),
    ("ann@xn--bcher-kva.example", "ann", "xn--bcher-kva.example"),
    ("用户@例子.广告", "用户", "例子.广告"),
    ("ann@straße.example", "ann", "straße.example"),  # IDNA2008; IDNA2003 made "strasse" of it
    ("ann@\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "ann", "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example"),
    ("ann@r3--sn.example", "ann", "r3--sn.example"),
    ("ann%example.org@example.com", "ann%example.org", "example.com"),  # what these mean is their host's business
    ("example.org!ann@example.com", "example.org!ann", "example.com"),
    ('"ann\u00fc"@example.com', '"ann\u00fc"', "example.com"),
    (".ann@example.com", ".ann", "example.com"),
    ("ann.@example.com", "ann.", "example.com"),
    ("taro..yamada.@docomo.ne.jp", "taro..yamada.", "docomo.ne.jp"),
    (f"{'l' * 65}@example.com", "l" * 65, "example.com"),
    (f"{'l' * 242}@example.com", "l" * 242, "example.com"),  # 254 octets: a path of 256 with its brackets
    (f"{'ü' * 121}@example.com", "ü" * 121, "example.com"),
    ('"' + "l" * 240 + '"@example.com', '"' + "l" * 240 + '"', "example.com"),
    (f"ann@{'d' * 63}.example", "ann", f"{'d' * 63}.example"),
    (f"{'ü' * 32}@example.com", "ü" * 32, "example.com"),
    ('"' + "l" * 62 + '"@example.com', '"' + "l" * 62 + '"', "example.com"),
    (f"{'l' * 64}@{'ü' * 30}.{'ü' * 30}.{'ü' * 30}.abc.de", "l" * 64, f"{'ü' * 30}.{'ü' * 30}.{'ü' * 30}.abc.de"),
    (f"{'l' * 64}@{'d' * 63}.{'d' * 63}.{'d' * 61}", "l" * 64, f"{'d' * 63}.{'d' * 63}.{'d' * 61}"),
]


@pytest.mark.parametrize(("text", "local", "domain"), READ)
def test_reads(text: str, local: str, domain: str) -> None:
    read = address.parse(text)
    assert read == Address(local, domain)
    assert str(read) == text


REFUSED = [
    "",
    "@",
    "ann",
    "ann@",
    "@example.com",
    ".@example.com",
    "...@example.com",
    "ann b@example.com",
    "ann@exam ple.com",
    "ann@example.com ",
    " ann@example.com",
    "ann@example.com\r\n",
    "ann@example.com\n",
    "ann@example.com\nbcc@example.com",
    "ann\x00@example.com",
    "ann\x7f@example.com",
    '"ann\x00"@example.com',
    '"ann\t"@example.com',
    '"ann\n"@example.com',
    '"ann"b@example.com',
    '"ann@example.com',
    'ann"@example.com',
    '"ann\\"@example.com',
    "<ann@example.com>",
    "Ann <ann@example.com>",
    "ann(comment)@example.com",
    "ann@(comment)example.com",
    "ann@example.com(comment)",
    "ann@example.org)bob@example.com",  # CVE-2023-27043
    "ann@example.com,bob@example.com",
    "ann@example.com;bob@example.com",
    "@route.example:ann@example.com",
    "ann@bob@example.com",
    "ann@.example.com",
    "ann@example.com.",
    "ann@example..com",
    "ann@-example.com",
    "ann@example-.com",
    "ann@exam_ple.com",
    "ann@[192.0.2.1",
    "ann@192.0.2.1]",
    "ann@[192.0.2.256]",
    "ann@[192.0.2]",
    "ann@[]",
    "ann@[::1]",
    "ann@[IPv6:fe80::1%eth0]",
    "ann@[IPv6:192.0.2.1]",
    "ann@[future:tag]",
    "=?utf-8?q?ann?=@example.com",  # decoded by some, kept by others
    '"=?utf-8?q?ann?="@example.com',
    "an\u200bn@example.com",  # zero width space
    "an\u00a0n@example.com",  # no-break space
    "an\u2028n@example.com",
    "an\u202en@example.com",  # right-to-left override
    "an\ue000n@example.com",
    "an\ud800n@example.com",
    "ann@exa\u200bmple.com",
    "ann@ex\u00adample.com",  # soft hyphen
    "ann@\u2100.example",
    "ann@example\u3002com",  # ideographic full stop: a dot to some
    "ann@example\uff0ecom",
    "ann@\uff45xample.com",  # full-width e
    "ann@bu\u0308cher.example",  # not in normal form C
    "ann@xn--.bücher.example",
    "ann@xn--.example",
    "ann@xn--99999999.example",  # no Punycode
    "ann@XN--G6H.example",  # a heart
    "ann@xn--a.example",  # U+0080
    "ann@xn--bucher-xyd.example",  # "bücher", not in normal form C
    "ann@xn--example-oy93b.example",  # U+FF20, "@" to some
    "ann@♥.example",
    "ann@STRA\u1e9eE.example",  # "straße" or "strasse"
    "ann@ΒΌΛΟΣ.example",  # two kinds of small sigma
    "\u212aate@example.com",  # the Kelvin sign: not in normal form C
    "ju\u0308rgen@example.com",
    "\u0338ann@example.com",  # one character with the "<" before it
    "ceo\uff20bank.example@example.com",
    "ceo\u2026@example.com",
    '"ceo\uff1cann\uff1e"@example.com',
    f"{'l' * 243}@example.com",  # 255 octets
    f"{'ü' * 121}l@example.com",
    f"ann@{'d' * 64}.example",
    f"ann@{'.'.join(['d' * 63] * 4)}",
    f"{'l' * 64}@{'d' * 63}.{'d' * 63}.{'d' * 62}",
    f"{'l' * 64}@{'ü' * 30}.{'ü' * 30}.{'ü' * 30}.abcd.de",  # 255 octets, in fewer characters
    '"' + "l" * 241 + '"@example.com',  # the quotes count
]


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        address.parse(text)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 80


FLAWS = [
    ("example.com", None),
    ("localhost", DomainFlaw.ONE_LABEL),
    ("gmail", DomainFlaw.ONE_LABEL),
    ("123", DomainFlaw.ONE_LABEL),
    ("例子", DomainFlaw.ONE_LABEL),
    ("例子.广告", None),
    ("xn--bcher-kva.example", None),
    ("host.lan", None),
    ("3com.com", None),
    ("example.c0m", None),
    ("1.2.3.4", DomainFlaw.BARE_IP),
    ("999.2.3.4", DomainFlaw.BARE_IP),
    ("1.2.3", DomainFlaw.NUMERIC),
    ("5.1.2.3.4", DomainFlaw.NUMERIC),
    ("example.123", DomainFlaw.NUMERIC),
    ("[192.0.2.1]", None),
    ("[IPv6:2001:db8::1]", None),
]


@pytest.mark.parametrize(("domain", "flaw"), FLAWS)
def test_what_a_domain_lacks_to_be_fully_qualified(domain: str, flaw: DomainFlaw | None) -> None:
    assert address.domain_flaw(address.parse(f"ann@{domain}").domain) is flaw


SAME = [
    ("taro..yamada.@docomo.ne.jp", '"taro..yamada."@docomo.ne.jp'),
    ("ann@example.com", "Ann@EXAMPLE.com"),
    ("ann@example.com", '"ann"@example.com'),
    ('"a b"@example.com', r'"a\ b"@example.com'),
    ("ann@bücher.example", "ann@xn--bcher-kva.example"),
    ("ann@bücher.example", "ann@XN--BCHER-KVA.Example"),
    ("ann@bücher.example", "ann@BÜCHER.example"),
    ("ann@straße.example", "ann@xn--strae-oqa.example"),
    ('"' + r"\a\n\n" + '"@example.com', "ann@example.com"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_address(one: str, other: str) -> None:
    assert address.parse(one).key == address.parse(other).key


DIFFERENT = [
    ("ann@example.com", "ann@example.org"),
    ("ann@example.com", "an.n@example.com"),
    ("ann@example.com", "ann+tag@example.com"),
    ("ann@faß.example", "ann@fass.example"),  # IDNA2008 keeps them apart, IDNA2003 did not
    ("ann@example.com", "аnn@example.com"),  # a Cyrillic a
    ("sam@example.com", "\u017fam@example.com"),  # the long s: casefold() makes an s of it
    ("strasse@example.com", "straße@example.com"),
    ("JÜRGEN@example.com", "jürgen@example.com"),
    ('"ann@evil.example"@example.com', "ann@evil.example"),
    ("ann@[192.0.2.1]", "ann@[192.0.2.2]"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_addresses(one: str, other: str) -> None:
    assert address.parse(one).key != address.parse(other).key


@pytest.mark.parametrize(
    ("text", "needed"), [("ann@example.com", False), ("jürgen@example.com", True), ("ann@bücher.example", True)]
)
def test_needs_utf8(text: str, needed: bool) -> None:
    assert address.parse(text).needs_utf8 is needed


@pytest.mark.parametrize(("local", "meant"), [("ann", "ann"), ('"a b"', "a b"), (r'"a\"\\b"', r'a"\b'), ('""', "")])
def test_unquoted(local: str, meant: str) -> None:
    assert address.unquoted(local) == meant


# Characters that mean something to one reader of addresses or another, and letters of several scripts.
_AWKWARD = st.text(st.sampled_from('ab@."\\ <>(),:;[]=?%+-_1\t\r\n\x00üßа例\u0308\u200b\u3002\uff0e'), max_size=24)
_LIKELY = st.builds("{}@{}".format, _AWKWARD, st.sampled_from(["example.com", "b.example", "bücher.example", "[192.0.2.1]"]))
_TEXT = st.one_of(_AWKWARD, _LIKELY, st.emails(), st.text(max_size=40), st.builds('"{}"@example.com'.format, _AWKWARD))


@given(_TEXT)
def test_accepted_text_prints_back_and_reads_the_same(text: str) -> None:
    try:
        read = address.parse(text)
    except AddressError:
        return
    assert str(read) == text
    assert address.parse(str(read)) == read
    assert len(text.encode()) <= address.MAX_ADDRESS
    assert read.domain_key.isascii()
    assert read.domain_key == read.domain_key.lower()


@given(_TEXT)
def test_key_is_itself_the_same_for_any_letter_case(text: str) -> None:
    try:
        read = address.parse(text)
    except AddressError:
        return
    swapped = "".join(c.swapcase() if c.isascii() else c for c in read.local)
    assert Address(swapped, read.domain).key == read.key
    assert Address(swapped, read.domain).exact_key != read.exact_key or swapped == read.local


@given(_TEXT)
@example("ann@example.org)bob@example.com")
@example('"ann@evil.example"@example.com')
def test_the_standard_parser_never_reads_it_differently(text: str) -> None:
    """An address that we take for one person must not be another one to the next program that reads it."""
    try:
        read = address.parse(text)
    except AddressError:
        return
    try:
        other = email.headerregistry.Address(addr_spec=text)
    except (ValueError, IndexError, email.errors.MessageError):
        return  # it refuses what we read, an address literal for one: nobody is taken for somebody else
    assert other.username == address.unquoted(read.local)
    assert other.domain == read.domain


@given(_TEXT)
def test_a_from_field_of_it_names_nobody_else(text: str) -> None:
    try:
        read = address.parse(text)
    except AddressError:
        return
    header: Any = email.headerregistry.HeaderRegistry()("From", text)
    others = {(found.username, found.domain) for found in header.addresses if found.domain}
    assert others <= {(address.unquoted(read.local), read.domain)}
