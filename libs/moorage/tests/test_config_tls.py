"""`http.tls`, `services.tls` and `http.limits`: what goes together, and what is refused."""

from __future__ import annotations

import pytest

from moorage.config import Configuration, ConfigurationError, parse


def read(section: str) -> Configuration:
    return parse(f"version: 0.1\nstorage: inmemory\n{section}\n", {})


def refusal(section: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(section)
    return str(caught.value)


PAIR = "certificate: /c.pem, key: /k.pem"


def test_without_a_certificate_there_is_no_tls() -> None:
    assert not read("http: {tls: }").http.tls.is_on
    assert not read("http: {tls: {certificate: '', key: '', clientcas: []}}").http.tls.is_on
    assert read(f"http: {{tls: {{{PAIR}}}}}").http.tls.is_on


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [
        (
            "certificate: /c.pem",
            "http.tls.key: is required: http.tls.certificate and http.tls.key go together",
        ),
        ("key: /k.pem", "http.tls.certificate: is required, as other keys of http.tls ask for TLS"),
        ("clientcas: /ca.pem", "http.tls.certificate: is required, as other keys of http.tls ask for TLS"),
        ("minimumtls: tls1.3", "http.tls.certificate: is required, as other keys of http.tls ask for TLS"),
        (
            f"{PAIR}, clientauth: verify-client-cert-if-given",
            "http.tls.clientcas: is required: http.tls.clientauth verifies certificates with it",
        ),
        (
            f"{PAIR}, clientauth: sometimes",
            "http.tls.clientauth: must be one of require-and-verify-client-cert, "
            "verify-client-cert-if-given, request-client-cert, not 'sometimes'",
        ),
        (
            f"{PAIR}, minimumtls: tls1.1",
            "http.tls.minimumtls: tls1.1 is no longer safe: write tls1.2 or tls1.3",
        ),
        (f"{PAIR}, minimumtls: ssl3", "http.tls.minimumtls: must be one of tls1.2, tls1.3, not 'ssl3'"),
        (f"{PAIR}, ciphersuites: [RC4]", "http.tls.ciphersuites: unknown cipher suite 'RC4'"),
    ],
)
def test_what_does_not_go_together_is_named(tls: str, sentence: str) -> None:
    assert refusal(f"http: {{tls: {{{tls}}}}}") == sentence


def test_requiring_certificates_that_nobody_verifies_is_refused() -> None:
    said = refusal(f"http: {{tls: {{{PAIR}, clientcas: /ca.pem, clientauth: require-any-client-cert}}}}")
    assert said.startswith("http.tls.clientauth: 'require-any-client-cert' requires certificates that nobody")


@pytest.mark.parametrize("authorities", ["", ", clientcas: /ca.pem"])
def test_asking_for_certificates_that_nobody_verifies_is_left_out_with_a_warning(authorities: str) -> None:
    config = read(f"http: {{tls: {{{PAIR}{authorities}, clientauth: request-client-cert}}}}")
    assert config.http.tls.client_certificates == "none"
    assert config.warnings == (
        "http.tls.clientauth: clients are not asked for a certificate, as nobody would verify it",
    )


def test_authorities_of_clients_mean_that_a_certificate_is_required() -> None:
    tls = f"{PAIR}, clientcas: /ca.pem"
    assert read(f"http: {{tls: {{{tls}}}}}").http.tls.client_certificates == "required"
    modes = {"require-and-verify-client-cert": "required", "verify-client-cert-if-given": "if given"}
    for mode, meaning in modes.items():
        assert read(f"http: {{tls: {{{tls}, clientauth: {mode}}}}}").http.tls.client_certificates == meaning
    assert read(f"http: {{tls: {{{PAIR}}}}}").http.tls.client_certificates == "none"


def test_cipher_suites_have_go_s_names() -> None:
    suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256"
    tls = read(f"http: {{tls: {{{PAIR}, ciphersuites: [{suites}]}}}}").http.tls
    assert tls.openssl_ciphers == ("ECDHE-RSA-AES128-GCM-SHA256",)


def test_cipher_suites_are_left_aside_with_a_warning_where_only_tls_1_3_is_spoken() -> None:
    tls = f"{PAIR}, minimumtls: tls1.3, ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"
    assert read(f"http: {{tls: {{{tls}}}}}").warnings == (
        "http.tls.ciphersuites: not used, as TLS 1.3 has suites of its own",
    )


TLS = "tls: {certificate: '/x/{service}.crt', key: '/x/{service}.key', ca: /x/ca.crt}"


def test_each_service_has_its_own_certificate_in_one_document() -> None:
    tls = read(f"services: {{{TLS}}}").services.tls
    assert tls.of_service("blob") == ("/x/blob.crt", "/x/blob.key")
    assert tls.ca == ("/x/ca.crt",)


@pytest.mark.parametrize("missing", ["certificate", "key", "ca"])
def test_tls_between_services_is_whole_or_not_there(missing: str) -> None:
    given = ", ".join(f"{key}: /x" for key in ("certificate", "key", "ca") if key != missing)
    expected = f"services.tls.{missing}: is required: services.tls needs certificate, key and ca"
    assert refusal(f"services: {{tls: {{{given}}}}}") == expected


ELSEWHERE = "metadata: {addr: 'metadata.example:5002'}, blob: {addr: 'blob.example:5001'}"


def test_services_on_several_hosts_need_tls_or_the_operator_s_word() -> None:
    said = refusal(f"services: {{{ELSEWHERE}}}")
    assert said.startswith("services.metadata.addr: metadata.example:5002 is not on this host")
    assert "services.tls" in said
    read(f"services: {{{ELSEWHERE}, {TLS}}}")
    read(f"services: {{{ELSEWHERE}, insecure: true}}")


@pytest.mark.parametrize("address", ["127.0.0.1:5001", "127.1.2.3:5001", "'[::1]:5001'", "localhost:5001"])
def test_loopback_is_this_host(address: str) -> None:
    read(f"services: {{metadata: {{addr: {address}}}}}")


@pytest.mark.parametrize("address", ["0.0.0.0:5001", "'[::]:5001'", "192.0.2.1:5001"])
def test_every_other_address_is_not(address: str) -> None:
    assert "is not on this host" in refusal(f"services: {{notifier: {{addr: {address}}}}}")


def test_the_data_port_goes_with_tls() -> None:
    blob = "blob: {addr: 'blob.example:5001', dataport: 5101}"
    metadata = "metadata: {addr: 'metadata.example:5002'}"
    assert read(f"services: {{{blob}, {metadata}, {TLS}}}").services.blob.dataport == 5101


@pytest.mark.parametrize("key", ["headersize", "headercount", "headtimeout", "idletimeout", "ratewindow"])
def test_a_limit_that_nothing_would_meet_is_refused(key: str) -> None:
    assert refusal(f"http: {{limits: {{{key}: 0}}}}") == f"http.limits.{key}: must be more than zero"


def test_a_burst_is_ten_seconds_worth_where_nobody_said() -> None:
    assert read("http: {limits: {requestrate: 5}}").http.limits.burst == 50
    assert read("http: {limits: {requestrate: 5, requestburst: 7}}").http.limits.burst == 7
