"""The alert rules fire when they should and not before, as Prometheus itself evaluates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.manifests import KUBERNETES, render
from support.processes import required, run
from support.prometheus import ALERTS, PROMETHEUS, RULES

DAY = 86400


@dataclass(frozen=True)
class Case:
    """Series, a sample a minute in promtool's notation: with some an alert fires after some minutes."""

    alert: str
    minutes: int
    firing: Mapping[str, str]
    quiet: Mapping[str, str]


def up(job: str) -> str:
    return f'up{{job="{job}",instance="one:5001"}}'


def growing(series: str) -> tuple[dict[str, str], dict[str, str]]:
    """A counter that has been at 0 and grows by one; and one that stays where it is."""
    return {series: "0x4 1x30"}, {series: "7x40"}


def latency(metric: str, labels: str, slow: bool) -> dict[str, str]:
    """A histogram's buckets: everything takes between 1 and 2.5 s, or less than 0.1 s."""
    steps = {"0.1": 0 if slow else 60, "1": 0 if slow else 60, "2.5": 60, "+Inf": 60}
    return {f'{metric}_bucket{{{labels},le="{le}"}}': f"0+{step}x40" for le, step in steps.items()}


def requests(errors: int) -> dict[str, str]:
    series = 'registry_http_requests_total{handler="manifest",method="get",code="%s"}'
    return {series % 200: f"0+{100 - errors}x40", series % 503: f"0+{errors}x40"}


ENDPOINT = '{endpoint="ci"}'
CASES = [
    Case("MoorageServiceDown", 3, {up("notifier"): "0x40"}, {up("notifier"): "1x40"}),
    Case("MoorageNoGateway", 2, {up("api-gateway"): "0x40"}, {up("api-gateway"): "1x40"}),
    Case("MoorageNoBlobService", 2, {up("api-gateway"): "1x40"}, {up("blob-service"): "1x40"}),
    Case("MoorageNoMetadataService", 2, {up("metadata-service"): "0x40"}, {up("metadata-service"): "1x40"}),
    Case("MoorageNoNotifier", 6, {up("notifier"): "0x40"}, {up("notifier"): "1x40"}),
    Case("MoorageErrors", 7, requests(6), requests(4)),
    Case(
        "MoorageManifestsSlow",
        12,
        latency("registry_http_request_duration_seconds", 'handler="manifest",method="get"', True),
        latency("registry_http_request_duration_seconds", 'handler="manifest",method="get"', False),
    ),
    Case(
        "MoorageStorageSlow",
        12,
        latency("registry_storage_action_seconds", 'driver="s3",action="Stat"', True),
        latency("registry_storage_action_seconds", 'driver="s3",action="Stat"', False),
    ),
    Case(
        "MoorageGatewayWithoutLease",
        6,
        {"moorage_gateway_leases": "0x40"},
        {"moorage_gateway_leases": "2x40"},
    ),
    Case(
        "MoorageLeasesLost",
        16,
        {"moorage_gateway_leases_lost_total": "0+1x40"},
        {"moorage_gateway_leases_lost_total": "0x10 1x30"},
    ),
    Case("MoorageStorageDamaged", 8, *growing('moorage_metadata_damage_total{kind="missing bytes"}')),
    Case("MoorageStorageDamaged", 8, *growing("moorage_blob_corrupt_total")),
    Case(
        "MoorageDescriptorCacheAway",
        6,
        {"moorage_metadata_cache_available": "0x40"},
        {"moorage_metadata_cache_available": "1x40"},
    ),
    Case(
        "MoorageDescriptorCacheReadOnly",
        6,
        {"moorage_metadata_cache_available": "1x40", "moorage_metadata_cache_writable": "0x40"},
        {"moorage_metadata_cache_available": "0x40", "moorage_metadata_cache_writable": "0x40"},
    ),
    Case(
        "MoorageChangesRefusedForEvents",
        8,
        *growing('moorage_gateway_events_total{action="push",outcome="refused"}'),
    ),
    Case(
        "MoorageOutboxNotDrained",
        6,
        {"moorage_gateway_outbox_oldest_seconds": "0+60x40"},
        {"moorage_gateway_outbox_oldest_seconds": "200x40"},
    ),
    Case("MooragePullEventsLost", 8, *growing('moorage_gateway_events_total{action="pull",outcome="shed"}')),
    Case(
        "MoorageWebhookFails",
        11,
        {f"registry_notifications_breaker_open{ENDPOINT}": "1x40"},
        {f"registry_notifications_breaker_open{ENDPOINT}": "1x5 0x5 1x5 0x25"},
    ),
    Case(
        "MoorageWebhookBehind",
        16,
        {f"registry_notifications_pending_total{ENDPOINT}": "2000x40"},
        {f"registry_notifications_pending_total{ENDPOINT}": "2000x5 0x35"},
    ),
    Case("MoorageWebhookGivenUp", 8, *growing(f"registry_notifications_dead_letters_total{ENDPOINT}")),
    Case("MoorageWebhookEventsLost", 8, *growing(f"registry_notifications_lost_total{ENDPOINT}")),
    Case(
        "MoorageWebhookWithoutNotifier",
        6,
        {f'registry_notifications_active{{endpoint="ci",instance="{each}"}}': "0x40" for each in "ab"},
        {'registry_notifications_active{endpoint="ci",instance="a"}': "0x40"}
        | {'registry_notifications_active{endpoint="ci",instance="b"}': "1x40"},
    ),
    Case(
        "MoorageCertificateEnds",
        6,
        {'registry_tls_certificate_expiry_timestamp_seconds{section="http.tls"}': f"{14 * DAY + 300}x40"},
        {'registry_tls_certificate_expiry_timestamp_seconds{section="http.tls"}': f"{15 * DAY}x40"},
    ),
    Case(
        "MoorageCertificateRefused",
        8,
        *growing('registry_tls_certificate_reloads_total{section="http.tls",outcome="refused"}'),
    ),
    # A method that had not been refused before.
    Case(
        "MoorageCallsRefused",
        8,
        {'moorage_rpc_refused_total{method="/moorage.v1.BlobStore/Stat"}': "_x5 1x30"},
        {},
    ),
    Case("MoorageAccountsNotRead", 8, *growing("moorage_gateway_access_reload_failures_total")),
    Case("MoorageUploadsNotPurged", 8, *growing("registry_storage_upload_purge_failures_total")),
    Case("MoorageGarbageCollectionFails", 8, *growing('moorage_garbage_collections_total{outcome="failed"}')),
    Case(
        "MoorageFilesRunOut",
        6,
        {'process_open_fds{job="api-gateway"}': "900x40", 'process_max_fds{job="api-gateway"}': "1000x40"},
        {'process_open_fds{job="api-gateway"}': "700x40", 'process_max_fds{job="api-gateway"}': "1000x40"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    (rule,) = [each for each in RULES if each["alert"] == case.alert]
    labels = {"alertname": case.alert, **rule["labels"]}
    shown = ",".join(f'{name}="{value}"' for name, value in labels.items())
    # Half a minute before the end of `for`, and when it is over.
    not_yet = case.minutes * 60 - 90 if "for" in rule else 0
    moments = {not_yet: [], case.minutes * 60: [{"labels": f"{{{shown}}}", "value": 1}]}

    def tested(series: Mapping[str, str], moments: Mapping[int, list[dict[str, Any]]]) -> dict[str, Any]:
        expression = (
            f'count by (alertname, severity) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
        )
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": expression, "eval_time": f"{moment}s", "exp_samples": samples}
                for moment, samples in moments.items()
            ],
        }

    tests = [tested(case.firing, moments)]
    if case.quiet:
        tests.append(tested(case.quiet, {minute * 60: [] for minute in range(0, 36, 5)}))
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "30s", "tests": tests})
    )
    run(required("promtool"), "test", "rules", file, timeout=60)


def test_every_alert_is_tried() -> None:
    assert {case.alert for case in CASES} == {rule["alert"] for rule in RULES}


def test_prometheus_reads_rules_and_configuration() -> None:
    run(required("promtool"), "check", "rules", "--lint-fatal", ALERTS)
    run(required("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")


def test_the_operators_rules_are_the_same() -> None:
    (rule,) = render(KUBERNETES / "overlays/ha").of_kind("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())
