"""Certificate files: what is read, what is refused and how it is said, and the self-signed one."""

import ipaddress
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.edge import certificates
from gateway.edge.certificates import check_dates, read_pair, self_signed
from gateway.errors import ConfigError
from tests.unit.edge.certificate_files import NOW, write_pair

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pair(tmp_path, "a", "smtp.example.com", days=30)
    write_pair(tmp_path, "b", "other.example.com", days=10)
    return tmp_path


def problem(folder: Path, certificate: str, key: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_pair(folder / certificate, folder / key, "tls")
    (line,) = caught.value.problems
    return line.replace(str(folder) + "/", "")


def test_a_pair_is_read_with_its_chain(folder: Path) -> None:
    chain = (folder / "a.pem").read_bytes() + (folder / "b.pem").read_bytes()
    (folder / "chain.pem").write_bytes(chain)
    pair = read_pair(folder / "chain.pem", folder / "a.key", "tls")
    assert len(pair.chain) == 2
    assert pair.expires == pytest.approx(NOW + 10 * DAY, abs=60)


def test_files_that_do_not_fit_together(folder: Path) -> None:
    assert problem(folder, "a.pem", "b.key") == "tls.key: b.key does not belong to the first certificate in a.pem"


def test_files_in_the_wrong_place(folder: Path) -> None:
    assert problem(folder, "a.key", "a.pem") == "tls.certificate: a.key is not a PEM certificate chain"
    assert problem(folder, "a.pem", "b.pem") == "tls.key: b.pem is not a PEM private key of a kind that TLS can use"


def test_files_that_cannot_be_read(folder: Path) -> None:
    assert problem(folder, "no.pem", "a.key") == "tls.certificate: cannot read no.pem: No such file or directory"
    assert problem(folder, "a.pem", "no.key") == "tls.key: cannot read no.key: No such file or directory"
    (folder / "folder").mkdir()
    assert problem(folder, "folder", "a.key") == "tls.certificate: cannot read folder: Is a directory"


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_holds_something_else(folder: Path, content: bytes) -> None:
    (folder / "odd").write_bytes(content)
    assert problem(folder, "odd", "a.key") == "tls.certificate: odd is not a PEM certificate chain"
    assert "odd is not a PEM private key" in problem(folder, "a.pem", "odd")


def test_a_key_behind_a_passphrase(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "a.key").read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"hidden")
    )
    (folder / "locked.key").write_bytes(locked)
    assert problem(folder, "a.pem", "locked.key") == "tls.key: locked.key is protected by a passphrase; store it without one"


@pytest.mark.parametrize(("later", "good"), [(-2, False), (0, True), (29, True), (31, False)])
def test_dates(folder: Path, later: float, good: bool) -> None:
    pair = read_pair(folder / "a.pem", folder / "a.key", "tls")
    if good:
        check_dates(pair, NOW + later * DAY, "tls")
        return
    with pytest.raises(ConfigError, match=r"^tls\.certificate: is valid from 20..-..-.. to 20..-..-.., not now; renew it$"):
        check_dates(pair, NOW + later * DAY, "tls")


def test_the_self_signed_one(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "mail.example.com", NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    pair = read_pair(certificate, key, "tls")
    check_dates(pair, NOW + 365 * DAY, "tls")
    names = pair.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail.example.com", "localhost"]
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["self-signed.key", "self-signed.pem"]


def test_it_is_kept_as_long_as_it_is_good(tmp_path: Path) -> None:
    first = self_signed(tmp_path, "localhost", NOW)[0].read_bytes()
    assert self_signed(tmp_path, "localhost", NOW + 360 * DAY)[0].read_bytes() == first
    renewed = self_signed(tmp_path, "localhost", NOW + 370 * DAY)[0].read_bytes()
    assert renewed != first


def test_it_lives_no_longer_than_mail_programs_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def life() -> timedelta:
        leaf = read_pair(*self_signed(tmp_path, "localhost", NOW), "tls").chain[0]
        return leaf.not_valid_after_utc - leaf.not_valid_before_utc

    with monkeypatch.context() as earlier_version:
        earlier_version.setattr(certificates, "SELF_SIGNED_FOR", timedelta(days=825))
        assert life() == timedelta(days=825)
    assert life() == timedelta(days=397)


def test_it_is_made_anew_for_another_name_or_when_it_is_broken(tmp_path: Path) -> None:
    first = self_signed(tmp_path, "localhost", NOW)[0].read_bytes()
    second = self_signed(tmp_path, "mail.example.com", NOW)[0].read_bytes()
    assert second != first
    (tmp_path / "self-signed.key").write_bytes(b"")
    assert self_signed(tmp_path, "mail.example.com", NOW)[0].read_bytes() != second


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^server\.state_dir: cannot write .*No such file or directory$"):
        self_signed(tmp_path / "nowhere", "localhost", NOW)
