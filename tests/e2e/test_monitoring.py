"""A real Prometheus finds every metric that the alerts, the dashboard and the documents name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from promql_parser import AggModifierType, AggregateExpr, MatchOp, VectorSelector

from support.client import V2Client, expect
from support.images import make_image
from support.manifests import ROOT, SERVICES
from support.metrics import PACKAGES, defined_metrics
from support.processes import free_port, run, wait_until
from support.prometheus import RULES, Prometheus, running_prometheus
from support.redis import running_redis
from support.registry import MOORAGE, running_stack

GUIDE = (ROOT / "docs/monitoring.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/moorage.json").read_text())
PANELS: list[dict[str, Any]] = [each for each in DASHBOARD["panels"] if each["type"] != "row"]

# What Prometheus adds, what its Python client has in every process and beside every counter, and what the
# build says of itself.
COMMON = re.compile(r"up|process_.*|python_.*|.*_created|moorage_build_info")

# Values of labels that come with what a healthy system does not do.
RARE = {"code"}

# Metrics whose series come with the first refusal.
AFTER_THE_FIRST = {"moorage_rpc_refused_total"}


def expression_of(target: dict[str, Any]) -> str:
    """A panel's expression, with its variables as Grafana would have them."""
    return str(target["expr"]).replace("$instance", ".*").replace("$__rate_interval", "1m")


EXPRESSIONS = {f"alert {rule['alert']}": rule["expr"] for rule in RULES} | {
    f"panel {panel['title']} {target['refId']}": expression_of(target)
    for panel in PANELS
    for target in panel["targets"]
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, which scrapes four services that have everything on and have done some of all."""
    folder = tmp_path_factory.mktemp("monitoring")
    addresses = {service: f"127.0.0.1:{free_port()}" for service in SERVICES}
    certificates = folder / "certificates"
    run(MOORAGE, "certs", certificates)
    with running_redis(folder / "redis") as redis:
        env = {
            "REGISTRY_HTTP_DEBUG_ADDR": addresses["api-gateway"],
            "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED": "true",
            "REGISTRY_SERVICES_BLOB_DEBUGADDR": addresses["blob-service"],
            "REGISTRY_SERVICES_METADATA_DEBUGADDR": addresses["metadata-service"],
            "REGISTRY_SERVICES_NOTIFIER_DEBUGADDR": addresses["notifier"],
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
            "REGISTRY_REDIS_ADDRS": f"[{redis.address}]",
            "REGISTRY_NOTIFICATIONS_OUTBOX_PATH": str(folder / "outbox"),
            # Nobody listens there: it is tried again and again.
            "REGISTRY_NOTIFICATIONS_ENDPOINTS": json.dumps(
                [{"name": "ci", "url": f"http://127.0.0.1:{free_port()}/", "allowprivate": True}]
            ),
            "REGISTRY_SERVICES_TLS_CERTIFICATE": f"{certificates}/{{service}}.crt",
            "REGISTRY_SERVICES_TLS_KEY": f"{certificates}/{{service}}.key",
            "REGISTRY_SERVICES_TLS_CA": f"{certificates}/ca.crt",
        }
        with running_stack(folder, tcp=False, env=env) as stack:
            with V2Client(stack.url) as client:
                image = make_image(5, (50_000, 2_000))
                client.push_image("team/app", "v1", image)
                client.assert_holds("team/app", "v1", image)
                client.push_image("team/app", "v2", make_image(6, (50_000,)))
                expect(client.get_manifest("team/app", "v3"), 404)
            with running_prometheus(folder / "prometheus", addresses) as prometheus:
                wait_until(
                    lambda: prometheus.query(
                        'registry_http_requests_total{handler="manifest",method="put"} >= 2'
                    ),
                    timeout=30,
                    what="the pushes are counted",
                )
                yield prometheus


def nodes(node: Any) -> Iterator[Any]:
    """A parsed expression and all that it is made of."""
    yield node
    children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector", "param")]
    for child in [*children, *(getattr(node, "args", None) or [])]:
        if child is not None and not isinstance(child, str | float | int):
            yield from nodes(child)


def selectors(expression: str) -> list[VectorSelector]:
    """What an expression takes from Prometheus."""
    found = [each for each in nodes(promql_parser.parse(expression)) if isinstance(each, VectorSelector)]
    assert found, expression
    return found


def grouped_by(expression: str) -> set[str]:
    """The labels by which an expression sums up."""
    found: set[str] = set()
    for node in nodes(promql_parser.parse(expression)):
        if isinstance(node, AggregateExpr) and node.modifier is not None:
            assert node.modifier.type == AggModifierType.By
            found.update(node.modifier.labels)
    return found


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_what_an_expression_takes_is_there(prometheus: Prometheus, place: str) -> None:
    expression = EXPRESSIONS[place]
    prometheus.query(expression)
    labels: set[str] = set()
    for selector in selectors(expression):
        if selector.name in AFTER_THE_FIRST:
            continue
        kept = []
        series = prometheus.series(selector.name)
        assert series, f"there is no {selector.name}"
        for matcher in selector.matchers.matchers:
            assert any(matcher.name in each for each in series), f"{selector.name} has no {matcher.name}"
            if matcher.name not in RARE and matcher.op in (MatchOp.Equal, MatchOp.Re):
                operator = "=" if matcher.op == MatchOp.Equal else "=~"
                kept.append(f"{matcher.name}{operator}{json.dumps(matcher.value)}")
        found = prometheus.series(f"{selector.name}{{{','.join(kept)}}}")
        assert found, f"no {selector.name} has {kept}"
        labels.update(*found)
    assert grouped_by(expression) <= labels


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_something(prometheus: Prometheus, panel: dict[str, Any]) -> None:
    expressions = [expression_of(target) for target in panel["targets"]]
    # A rate needs two scrapes; what did not happen has no rate.
    expected = not any("code" in each for each in expressions)
    if expected:
        wait_until(
            lambda: all(prometheus.query(each) for each in expressions),
            timeout=30,
            what=f"{panel['title']} has values",
        )


def test_a_system_that_is_well_alerts_nobody_but_of_its_dead_webhook(prometheus: Prometheus) -> None:
    wait_until(
        lambda: all(rule["lastEvaluation"] > "2000" for rule in prometheus.rules()),
        timeout=30,
        what="every rule was evaluated",
    )
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in RULES}
    assert {rule["health"] for rule in rules} == {"ok"}
    webhook = {"MoorageWebhookFails", "MoorageWebhookBehind"}

    def alerting(*states: str) -> set[str]:
        return {
            rule["name"]
            for rule in prometheus.rules()
            if any(alert["state"] in states for alert in rule["alerts"])
        }

    assert alerting("firing") <= webhook
    # One scrape that comes too late on a busy machine lets an alert wait for its `for` until the next one.
    wait_until(lambda: alerting("pending", "firing") <= webhook, timeout=30, what="no alert is pending")


def test_every_metric_is_exposed_by_its_service(prometheus: Prometheus) -> None:
    exposed: dict[str, set[str]] = {}
    for each in prometheus.ask("targets/metadata"):
        exposed.setdefault(each["metric"], set()).add(each["target"]["job"])
    for metric in defined_metrics():
        jobs = exposed.get(metric.name, set())
        if metric.service:
            # One with labels is there when it has counted something.
            assert jobs == {metric.service} or (metric.labels and not jobs), f"{metric.name}: {jobs}"
    known = {metric.name for metric in defined_metrics()}
    assert {name for name in exposed if name not in known and not COMMON.fullmatch(name)} == set()


def test_the_guide_lists_the_metrics_that_there_are() -> None:
    listed = [line for line in GUIDE.splitlines() if re.match(r"\| `(moorage|registry)_", line)]
    wanted = [metric.row for metric in defined_metrics()]
    assert listed == wanted, "PYTHONPATH=tests .venv/bin/python -m support.metrics prints the list"
    assert set(PACKAGES.values()) == {*SERVICES, ""}


def test_the_guide_says_what_to_do_on_each_alert() -> None:
    assert re.findall(r"^\| `(Moorage\w+)` \|", GUIDE, re.MULTILINE) == [rule["alert"] for rule in RULES]
