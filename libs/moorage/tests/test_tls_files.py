"""Certificates in files: what cannot be used and why, and what becomes of a change."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from moorage.tls import CertificateFiles, Pair, UnusableFileError, Watched
from support.tls import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "tls")
    made.issue("listener")
    made.issue("other")
    return made


def files(certificates: Certificates, **places: str | Path) -> CertificateFiles:
    given = {**certificates.http(), **places}
    return CertificateFiles(
        "http.tls",
        str(given["certificate"]),
        str(given["key"]),
        tuple(str(each) for each in given.get("cas", ())),
    )


def test_what_the_files_hold_is_read_with_its_end(certificates) -> None:
    pair = files(certificates, cas=[certificates.ca]).read()
    assert b"BEGIN CERTIFICATE" in pair.chain
    assert pair.authorities == certificates.ca.read_bytes()
    assert pair.expires.tzinfo is not None


def test_a_key_is_not_shown(certificates) -> None:
    assert "PRIVATE" not in repr(files(certificates).read())


def refusal(certificates: Certificates, **places: object) -> str:
    with pytest.raises(UnusableFileError) as caught:
        files(certificates, **places).read()
    return str(caught.value)


def test_each_file_that_cannot_be_used_is_named_by_its_key(certificates, tmp_path: Path) -> None:
    none, folder, ca = tmp_path / "none.pem", certificates.folder, certificates.ca
    assert refusal(certificates, certificate=none) == (
        f"http.tls.certificate: {none} cannot be read: No such file or directory"
    )
    assert (
        refusal(certificates, key=none) == f"http.tls.key: {none} cannot be read: No such file or directory"
    )
    assert refusal(certificates, key=tmp_path) == f"http.tls.key: {tmp_path} cannot be read: Is a directory"
    assert refusal(certificates, certificate=folder / "other.key") == (
        "http.tls.certificate: holds no PEM certificate"
    )
    assert refusal(certificates, key=folder / "other.key") == (
        "http.tls.key: does not belong to the certificate in http.tls.certificate"
    )
    assert refusal(certificates, key=ca) == (
        "http.tls.key: is not an unencrypted PEM key for http.tls.certificate"
    )
    assert refusal(certificates, cas=[ca, folder / "ca.key"]) == (
        "http.tls.clientcas[1]: holds no PEM certificates"
    )


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(certificates, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", certificates.http()["key"], "-aes128", "-passout", "pass:secret"]
    subprocess.run([*command, "-out", encrypted], check=True, capture_output=True)
    assert refusal(certificates, key=encrypted) == (
        "http.tls.key: is not an unencrypted PEM key for http.tls.certificate"
    )


@pytest.fixture
def watched(certificates) -> Iterator[Watched[Pair]]:
    return Watched(files(certificates), lambda pair: pair)


def counted(outcome: str) -> float:
    labels = {"section": "http.tls", "outcome": outcome}
    return REGISTRY.get_sample_value("registry_tls_certificate_reloads_total", labels) or 0.0


def expiry() -> float | None:
    return REGISTRY.get_sample_value(
        "registry_tls_certificate_expiry_timestamp_seconds", {"section": "http.tls"}
    )


def test_a_renewed_certificate_is_used_and_its_end_is_told(certificates, watched) -> None:
    before, first_end = watched.current, expiry()
    watched.check()
    assert watched.current is before
    certificates.renew("listener", days=90)
    loaded = counted("loaded")
    watched.check()
    assert watched.current.chain != before.chain
    assert watched.generation == 1
    assert counted("loaded") == loaded + 1
    assert first_end is not None
    assert expiry() == watched.current.expires.timestamp() > first_end


def test_a_change_that_cannot_be_used_keeps_what_was_there_until_it_can(certificates, watched) -> None:
    before, refused = watched.current, counted("refused")
    # In the middle of a renewal the two do not belong together.
    certificate, key = certificates.issue("next")
    os.replace(certificate, certificates.http()["certificate"])
    watched.check()
    watched.check()
    assert watched.current is before
    assert counted("refused") == refused + 1, "it is said once"
    os.replace(key, certificates.http()["key"])
    watched.check()
    assert watched.current.chain != before.chain


def test_files_that_are_gone_for_a_moment_keep_what_was_there(certificates, watched) -> None:
    before = watched.current
    key = Path(certificates.http()["key"])
    content = key.read_bytes()
    key.unlink()
    watched.check()
    assert watched.current is before
    key.write_bytes(content)
    watched.check()
    assert watched.current.chain == before.chain


def test_the_authority_s_certificates_are_accepted_by_openssl(certificates) -> None:
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", certificates.ca, certificates.http()["certificate"]],
        check=True,
        capture_output=True,
    )
    ssl.create_default_context(cafile=certificates.ca)
