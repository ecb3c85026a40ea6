"""Next hop URLs: what each part means, which are refused, and that no refusal repeats a password."""

import contextlib
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.hop import NextHop, masked, parse

BASE = Path("/etc/gateway")


def parts(hop: NextHop) -> tuple[object, ...]:
    return (hop.kind, hop.host, hop.port, hop.user, hop.password.get_secret_value(), hop.tls, hop.verify, hop.ca)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://h", ("smtp", "h", 25, "", "", "opportunistic", False, None)),
        ("smtp://h/", ("smtp", "h", 25, "", "", "opportunistic", False, None)),
        ("smtp://Smart.Example.NET:587", ("smtp", "smart.example.net", 587, "", "", "opportunistic", False, None)),
        ("smtp://my_relay:25", ("smtp", "my_relay", 25, "", "", "opportunistic", False, None)),
        ("smtp://192.0.2.1:2525", ("smtp", "192.0.2.1", 2525, "", "", "opportunistic", False, None)),
        ("smtp://[::1]", ("smtp", "::1", 25, "", "", "opportunistic", False, None)),
        ("smtp://[2001:DB8:0::1]:26", ("smtp", "2001:db8::1", 26, "", "", "opportunistic", False, None)),
        ("smtp://u:p@h", ("smtp", "h", 25, "u", "p", "required", True, None)),
        ("smtp://u%40x:p%2F%3a%25@h", ("smtp", "h", 25, "u@x", "p/:%", "required", True, None)),
        ("smtp://u:p@/:ss@h:587", ("smtp", "h", 587, "u", "p@/:ss", "required", True, None)),
        ("smtp://u:p+w@h", ("smtp", "h", 25, "u", "p+w", "required", True, None)),
        ("smtp://u:p@h?tls=none", ("smtp", "h", 25, "u", "p", "none", False, None)),
        ("smtp://h?tls=none&verify=no", ("smtp", "h", 25, "", "", "none", False, None)),
        ("smtp://h?tls=required", ("smtp", "h", 25, "", "", "required", True, None)),
        ("smtp://h?tls=required&verify=no", ("smtp", "h", 25, "", "", "required", False, None)),
        ("smtp://h?tls=required&ca=ca.pem", ("smtp", "h", 25, "", "", "required", True, BASE / "ca.pem")),
        ("smtps://h?ca=/my%20ca.pem", ("smtps", "h", 465, "", "", "required", True, Path("/my ca.pem"))),
        ("smtps://u:p@h:4650?verify=false", ("smtps", "h", 4650, "u", "p", "required", False, None)),
        ("smtps://h?tls=required", ("smtps", "h", 465, "", "", "required", True, None)),
    ],
)
def test_a_server_is_read_and_survives_writing(url: str, expected: tuple[object, ...]) -> None:
    hop = parse(url, BASE)
    assert parts(hop) == expected
    shown = parse(masked(hop), BASE)
    assert parts(shown)[:4] + parts(shown)[5:] == expected[:4] + expected[5:]


@pytest.mark.parametrize(
    ("url", "label"),
    [("smtp://u:p@a.example:587", "a.example:587"), ("smtps://[::1]", "[::1]:465"), ("maildir:x", "maildir")],
)
def test_the_label_has_no_credentials(url: str, label: str) -> None:
    assert parse(url, BASE).label == label


@pytest.mark.parametrize(("url", "path"), [("maildir:var/mail", BASE / "var/mail"), ("maildir:/srv/mail", Path("/srv/mail"))])
def test_a_maildir_is_read_and_survives_writing(url: str, path: Path) -> None:
    hop = parse(url, BASE)
    assert (hop.kind, hop.path) == ("maildir", path)
    assert parse(masked(hop), Path("/elsewhere")) == hop


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not a next hop"),
        ("h:25", "is not a next hop"),
        ("smtp:h", "is not a next hop"),
        ("lmtp://h", "is not a next hop"),
        ("maildir:", "names no folder"),
        ("maildir://host/x", "names no folder"),
        ("smtp://", "no server"),
        ("smtp://h:", "no server"),
        ("smtp://h:x", "no server"),
        ("smtp://::1:25", "no server"),
        ("smtp://h:25/x", "no server"),
        ("smtp://a..b", "no server"),
        ("smtp://-a", "no server"),
        ("smtp://a b", "no server"),
        ("smtp://h#x", "no server"),
        ("smtp://h:0", "1 to 65535"),
        ("smtp://h:65536", "1 to 65535"),
        ("smtp://[::x]", "no server"),
        ("smtp://[1:2]", "IPv6"),
        ("smtp://u@h", "both a user and a password"),
        ("smtp://u:@h", "both a user and a password"),
        ("smtp://:p@h", "both a user and a password"),
        ("smtp://u:%ff@h", "percent-encode it as UTF-8"),
        ("smtp://u:a%00b@h", "control character"),
        ("smtp://u%0Av:p@h", "control character"),
        ("smtp://h?tsl=none", "did you mean tls?"),
        ("smtp://h?zzz", "the options are tls, verify, ca, password_file"),
        ("smtp://h?tls=none&tls=none", "twice"),
        ("smtp://h?tls=maybe", "tls=none, tls=opportunistic or tls=required"),
        ("smtp://h?tls=", "tls=none, tls=opportunistic or tls=required"),
        ("smtp://h?verify=maybe", "verify=yes or verify=no"),
        ("smtp://h?tls=none&verify=yes", "no certificate to verify"),
        ("smtp://h?tls=opportunistic&verify=yes", "write tls=required, or leave verify out"),
        ("smtp://h?verify=1", "write tls=required, or leave verify out"),
        ("smtp://h?verify=true&ca=c.pem", "write tls=required, or leave verify out"),
        ("smtp://h?ca=x.pem", "would not be used"),
        ("smtp://h?tls=none&ca=x.pem", "would not be used"),
        ("smtp://h?tls=required&ca=", "would not be used"),
        ("smtp://u:p@h?tls=opportunistic", "in clear"),
        ("smtps://h?tls=none", "always has TLS"),
        ("smtp://u@h?password_file=none", "cannot be read"),
        ("smtp://u:p@h?password_file=x", "give one of them"),
    ],
)
def test_a_mistake_is_named(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        parse(url, BASE)


def test_a_password_from_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p%40 ss\n")
    hop = parse("smtp://u@h?password_file=secret", tmp_path)
    assert hop.password.get_secret_value() == "p%40 ss"
    assert hop.tls == "required"


def test_a_password_is_not_in_repr_or_the_written_url() -> None:
    hop = parse("smtp://user:Zm9Secret@h", BASE)
    assert "Zm9Secret" not in f"{hop!r} {hop} {masked(hop)}"
    assert "user" in masked(hop)


@given(st.text(st.characters(min_codepoint=33, exclude_characters="%"), max_size=12), st.sampled_from(["smtp", "smtps"]))
def test_a_raw_password_is_never_repeated(tail: str, scheme: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(f"{scheme}://user:Zm9{tail}@h:25x?tls", BASE)
    assert "Zm9" not in str(caught.value)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1))
def test_any_percent_encoded_password_is_read_back(password: str) -> None:
    hop = parse(f"smtp://u:{quote(password, safe='')}@h", BASE)
    assert hop.password.get_secret_value() == password


@given(st.text())
def test_nothing_but_valueerror_is_raised(text: str) -> None:
    for scheme in ("smtp://", "smtps://u:p@", "smtp://h?", "smtp://h?tls=required&ca=", ""):
        with contextlib.suppress(ValueError):
            assert parse(scheme + text, BASE).label
