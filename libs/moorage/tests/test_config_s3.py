"""`storage.s3`: what it takes, and the sentences that refuse the rest."""

from __future__ import annotations

import pytest

from moorage.config import ConfigurationError, parse

LEAST = "bucket: images, region: eu-central-1"


def s3(parameters: str, name: str = "s3") -> dict[str, object]:
    read = parse(f"version: 0.1\nstorage: {{{name}: {{{LEAST}, {parameters}}}}}\n", {})
    assert read.storage.driver_name == "s3"
    return dict(read.storage.driver_parameters)


def test_bucket_and_region_are_enough() -> None:
    parameters = s3("")
    assert parameters["chunksize"] == 10 << 20
    assert parameters["multipartcopychunksize"] == parameters["multipartcopythresholdsize"] == 32 << 20
    assert (parameters["multipartcopymaxconcurrency"], parameters["storageclass"]) == (100, "STANDARD")
    assert (parameters["secure"], parameters["v4auth"], parameters["encrypt"]) == (True, True, False)
    assert parameters["accesskey"] is None


def test_s3aws_is_another_name_for_the_same_driver() -> None:
    assert s3("chunksize: 20MiB", name="s3aws") == s3("chunksize: 20MiB")


def test_numbers_and_words_may_be_written_as_distribution_takes_them() -> None:
    parameters = s3(
        "chunksize: '5242880', storageclass: standard_ia, encrypt: true, keyid: a/b, loglevel: off"
    )
    assert parameters["chunksize"] == 5 << 20
    assert parameters["storageclass"] == "STANDARD_IA"
    assert parameters["loglevel"] == "off"


def test_the_environment_brings_keys_in() -> None:
    environ = {
        "REGISTRY_STORAGE": "s3",
        "REGISTRY_STORAGE_S3_BUCKET": "images",
        "REGISTRY_STORAGE_S3_REGION": "us-east-1",
        "REGISTRY_STORAGE_S3_CHUNKSIZE": "6291456",
    }
    read = parse("version: 0.1\nstorage: inmemory\n", environ)
    assert read.storage.driver_parameters["chunksize"] == 6 << 20


def test_no_text_of_a_configuration_shows_the_secrets() -> None:
    text = f"version: 0.1\nstorage: {{s3: {{{LEAST}, accesskey: a, secretkey: hush, sessiontoken: hush}}}}\n"
    read = parse(text, {})
    assert "hush" not in repr(read)
    assert "hush" not in repr(read.storage.driver_parameters)
    assert "hush" not in read.model_dump_json()


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ("{s3: {region: a}}", "storage.s3.bucket: is required"),
        ("{s3aws: {bucket: a}}", "storage.s3aws.region: is required"),
        ("{s3: {bucket: '', region: a}}", "storage.s3.bucket: must not be empty"),
        (
            "{s3: {bucket: a, region: b}, s3aws: {bucket: a, region: b}}",
            "storage: multiple storage drivers: s3, s3aws; name exactly one",
        ),
        (
            f"{{s3: {{{LEAST}, chunksize: 5MB}}}}",
            "storage.s3.chunksize: must be between 5242880 and 5368709120 bytes: 5000000",
        ),
        (
            f"{{s3: {{{LEAST}, multipartcopychunksize: 6GiB}}}}",
            "storage.s3.multipartcopychunksize: must be between 5242880 and 5368709120 bytes: 6442450944",
        ),
        (
            f"{{s3: {{{LEAST}, multipartcopythresholdsize: 6GiB}}}}",
            "storage.s3.multipartcopythresholdsize: must be between 0 and 5368709120 bytes: 6442450944",
        ),
        (
            f"{{s3: {{{LEAST}, multipartcopymaxconcurrency: 0}}}}",
            "storage.s3.multipartcopymaxconcurrency: must be at least 1: 0",
        ),
        (
            f"{{s3: {{{LEAST}, storageclass: GLACIER}}}}",
            "storage.s3.storageclass: must be one of STANDARD, REDUCED_REDUNDANCY, STANDARD_IA, ONEZONE_IA, "
            "INTELLIGENT_TIERING, OUTPOSTS, GLACIER_IR, NONE, not 'GLACIER'",
        ),
        (
            f"{{s3: {{{LEAST}, objectacl: open}}}}",
            "storage.s3.objectacl: must be one of private, public-read, public-read-write, "
            "authenticated-read, aws-exec-read, bucket-owner-read, bucket-owner-full-control, not 'open'",
        ),
        (
            f"{{s3: {{{LEAST}, loglevel: debugwithhttpbody}}}}",
            "storage.s3.loglevel: debugwithhttpbody is not supported, as it would log signatures or "
            "contents; write one of off, debug, debugwithrequestretries, debugwithrequesterrors",
        ),
        (
            f"{{s3: {{{LEAST}, regionendpoint: 'ftp://host'}}}}",
            "storage.s3.regionendpoint: not an endpoint (a host, host:port, or http or https URL): 'ftp://host'",
        ),
        (
            f"{{s3: {{{LEAST}, regionendpoint: 'http://user:hush@host'}}}}",
            "storage.s3.regionendpoint: not an endpoint (a host, host:port, or http or https URL)",
        ),
        (
            f"{{s3: {{{LEAST}, accesskey: a}}}}",
            "storage.s3: accesskey and secretkey go together; without both, the standard chain is asked",
        ),
        (f"{{s3: {{{LEAST}, sessiontoken: a}}}}", "storage.s3: sessiontoken needs accesskey and secretkey"),
        (f"{{s3: {{{LEAST}, keyid: a}}}}", "storage.s3: keyid needs 'encrypt: true'"),
        (
            f"{{s3: {{{LEAST}, v4auth: false}}}}",
            "storage.s3: v4auth may only be false with a regionendpoint; AWS takes no other signature",
        ),
        (
            f"{{s3: {{{LEAST}, accelerate: true, regionendpoint: 'http://a'}}}}",
            "storage.s3: accelerate is for AWS: it goes with neither regionendpoint nor forcepathstyle",
        ),
        (f"{{s3: {{{LEAST}, timeout: 10ms}}}}", "storage.s3.timeout: must be at least 1s: 0.01s"),
        (
            f"{{s3: {{{LEAST}, buckte: a}}}}",
            "storage.s3.buckte: unknown key, did you mean 'bucket'?",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_its_key(storage: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"version: 0.1\nstorage: {storage}\n", {})
    assert str(caught.value) == sentence
    assert "hush" not in str(caught.value)


def test_redirects_are_possible_with_s3_unless_they_are_disabled() -> None:
    def redirects(more: str) -> bool:
        return parse(f"version: 0.1\nstorage: {{s3: {{{LEAST}}}{more}}}\n", {}).redirects

    assert redirects("")
    assert not redirects(", redirect: {disable: true}")
    assert not parse("version: 0.1\nstorage: inmemory\n", {}).redirects
