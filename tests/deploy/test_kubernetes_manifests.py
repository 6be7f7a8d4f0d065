"""What deploy/kubernetes renders: valid, restricted, complete, and of one mind with the configuration."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from moorage.config import Configuration, load
from support.manifests import (
    KUBERNETES,
    OVERLAYS,
    ROOT,
    SERVICES,
    Manifests,
    Object,
    container_of,
    customized,
    environment,
    labels_of,
    name_of,
    port_number,
    render,
    seconds,
    selects,
)

# The oldest and the newest version that the guide names.
VERSIONS = ("1.29.0", "1.37.0")

# Kinds of the Prometheus operator, which Kubernetes' own schemas do not have. promtool reads the rules.
OPERATOR = {"PodMonitor", "PrometheusRule"}

# Longer than a gateway needs to see in DNS that a pod leaves (moorage.rpc.discovery).
LEAVING = 6

manifests_of = functools.cache(lambda overlay: render(KUBERNETES / "overlays" / overlay))


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(overlay: str) -> Manifests:
    return manifests_of(overlay)


@pytest.fixture(scope="session")
def with_tls(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """The minimal overlay with the component services-tls, as the guide has it written."""
    return render(
        customized(tmp_path_factory.mktemp("tls"), "minimal", components=("services-tls", "webhooks"))
    )


# Valid


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_strictly_valid(manifests: Manifests, version: str) -> None:
    for each in manifests.objects:
        if each["kind"] not in OPERATOR:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_components_are_strictly_valid(with_tls: Manifests) -> None:
    for each in with_tls.objects:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)


def test_the_kinds_that_no_schema_covers_are_only_where_the_operator_is_asked_for(
    manifests: Manifests, overlay: str
) -> None:
    found = {each["kind"] for each in manifests.objects} & OPERATOR
    assert found == (OPERATOR if overlay == "ha" else set())


def test_everything_is_in_the_namespace(manifests: Manifests) -> None:
    assert {
        each["metadata"].get("namespace") for each in manifests.objects if each["kind"] != "Namespace"
    } == {"moorage"}
    assert name_of(next(manifests.of_kind("Namespace"))) == "moorage"


# Restricted


def test_pods_keep_to_the_restricted_security_standard(manifests: Manifests) -> None:
    """Source: Kubernetes, "Pod Security Standards"."""
    namespace = next(manifests.of_kind("Namespace"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in manifests.workloads:
        spec = workload["spec"]["template"]["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not any("hostPath" in volume for volume in spec["volumes"])
        own = container_of(workload)["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        # More than the standard asks.
        assert own["readOnlyRootFilesystem"] is True
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False


def test_every_container_has_requests_and_a_limit_of_memory(manifests: Manifests) -> None:
    for workload in manifests.workloads:
        resources = container_of(workload)["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]


def test_images_have_a_version(manifests: Manifests) -> None:
    for workload in manifests.workloads:
        _, _, tag = container_of(workload)["image"].partition(":")
        assert re.match(r"\d", tag), container_of(workload)["image"]


def test_no_secret_is_in_the_manifests(manifests: Manifests) -> None:
    assert not list(manifests.of_kind("Secret"))
    for workload in manifests.workloads:
        for each in container_of(workload).get("env", []):
            if re.search("PASSWORD|SECRET|KEY", each["name"]) and "TLS" not in each["name"]:
                assert "secretKeyRef" in each["valueFrom"], each


def test_nobody_talks_to_anybody_but_by_a_policy(manifests: Manifests) -> None:
    policies = {name_of(each): each["spec"] for each in manifests.of_kind("NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for spec in policies.values():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("ports"), f"every port is open: {spec}"


# Complete


def test_what_selects_pods_selects_some(manifests: Manifests) -> None:
    pods = [labels_of(each) for each in manifests.workloads]
    for kind, where in (
        ("Service", lambda each: {"matchLabels": each["spec"]["selector"]}),
        ("PodDisruptionBudget", lambda each: each["spec"]["selector"]),
        ("NetworkPolicy", lambda each: each["spec"]["podSelector"]),
        ("PodMonitor", lambda each: each["spec"]["selector"]),
    ):
        for each in manifests.of_kind(kind):
            assert any(selects(where(each), labels) for labels in pods), (
                f"{kind} {name_of(each)} selects nothing"
            )
    for workload in manifests.workloads:
        assert selects(workload["spec"]["selector"], labels_of(workload))


def test_services_lead_to_ports_that_there_are(manifests: Manifests) -> None:
    for service in manifests.of_kind("Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (workload,) = [each for each in manifests.workloads if selects(selector, labels_of(each))]
        for port in service["spec"]["ports"]:
            assert port_number(container_of(workload), port["targetPort"]) == port["port"]


def test_services_that_grpc_balances_are_headless(manifests: Manifests) -> None:
    for name in SERVICES:
        service = manifests.one("Service", name)
        assert service["spec"].get("clusterIP") == (None if name == "api-gateway" else "None")


def test_the_autoscalers_have_targets_without_a_number_of_their_own() -> None:
    manifests = manifests_of("ha")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]
        for each in manifests.of_kind("HorizontalPodAutoscaler")
    }
    assert scaled.keys() == {"api-gateway", "blob-service"}
    for name, spec in scaled.items():
        target = manifests.one(spec["scaleTargetRef"]["kind"], name)
        assert "replicas" not in target["spec"]
        assert container_of(target)["resources"]["requests"]["cpu"]
        assert 2 <= spec["minReplicas"] < spec["maxReplicas"]


def test_there_is_one_metadata_service_and_never_a_second_one(manifests: Manifests) -> None:
    workload = manifests.one("StatefulSet", "metadata-service")
    assert workload["spec"]["replicas"] == 1
    assert not any(
        each["spec"]["scaleTargetRef"]["name"] == "metadata-service"
        for each in manifests.of_kind("HorizontalPodAutoscaler")
    )


def test_what_is_several_may_be_drained_one_by_one(manifests: Manifests) -> None:
    budgets = {name_of(each): each["spec"] for each in manifests.of_kind("PodDisruptionBudget")}
    for workload in manifests.workloads:
        if workload["spec"].get("replicas", 2) > 1:
            assert budgets[name_of(workload)]["maxUnavailable"] == 1


def test_alive_is_something_else_than_ready(manifests: Manifests) -> None:
    for workload in manifests.workloads:
        container = container_of(workload)
        assert container["livenessProbe"] != container["readinessProbe"]
    for name in SERVICES:
        (workload,) = [each for each in manifests.workloads if name_of(each) == name]
        probes = container_of(workload)
        assert "startupProbe" in probes
        assert probes["readinessProbe"].keys() & {"grpc", "httpGet"}


def test_a_pod_has_time_for_an_upload_that_is_under_way(manifests: Manifests) -> None:
    drain = seconds(manifests.configuration["http"]["draintimeout"])
    assert drain >= 300
    for name in ("api-gateway", "blob-service", "metadata-service"):
        (workload,) = [each for each in manifests.workloads if name_of(each) == name]
        hook = container_of(workload).get("lifecycle", {}).get("preStop")
        leaving = int(hook["exec"]["command"][-1]) if hook else 0
        assert (leaving >= LEAVING) is (name != "metadata-service")
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + leaving + 30


def test_the_outbox_fits_its_volume(tmp_path: Path) -> None:
    manifests = manifests_of("minimal")
    workload = manifests.one("StatefulSet", "api-gateway")
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    (mount,) = [each for each in container_of(workload)["volumeMounts"] if each["name"] == name_of(claim)]
    config = loaded(manifests, workload, tmp_path)
    size = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30
    assert size >= 1.5 * config.notifications.outbox.maxbytes
    assert Path(config.notifications.outbox.path).is_relative_to(mount["mountPath"])


# Of one mind with the configuration


def secret_references(manifests: Manifests) -> Iterator[tuple[str, str | None]]:
    """Secrets by name and, where one is named, key."""
    for workload in manifests.workloads:
        for each in container_of(workload).get("env", []):
            if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
        for volume in workload["spec"]["template"]["spec"]["volumes"]:
            if "secret" in volume:
                yield volume["secret"]["secretName"], None


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_reads_its_configuration(
    manifests: Manifests, overlay: str, service: str, tmp_path: Path
) -> None:
    (workload,) = [each for each in manifests.workloads if name_of(each) == service]
    config = loaded(manifests, workload, tmp_path)
    assert config.storage.driver_name == {"minimal": "filesystem", "rados": "rados"}.get(overlay, "s3")
    ports = {
        "api-gateway": {"http": config.http.addr, "debug": config.http.debug.addr},
        "blob-service": {
            "grpc": config.services.blob.addr[0],
            "data": f":{config.services.blob.dataport}",
            "debug": config.services.blob.debugaddr,
        },
        "metadata-service": {
            "grpc": config.services.metadata.addr,
            "debug": config.services.metadata.debugaddr,
        },
        "notifier": {"grpc": config.services.notifier.addr, "debug": config.services.notifier.debugaddr},
    }[service]
    declared = {each["name"]: each["containerPort"] for each in container_of(workload)["ports"]}
    assert {name: int(str(address).rpartition(":")[2]) for name, address in ports.items()} == declared


def loaded(manifests: Manifests, workload: Object, folder: Path) -> Configuration:
    """What the process of a workload makes of its file and its environment."""
    file = folder / "config.yml"
    file.write_text(manifests.one("ConfigMap", "moorage")["data"]["config.yml"])
    secrets: dict[str, dict[str, bytes]] = {}
    for name, key in secret_references(manifests):
        if key is not None:
            secrets.setdefault(name, {})[key] = b"secret-of-a-test"
    return load(file, environment(container_of(workload), manifests, secrets, "pod-0"))


def test_with_the_component_services_call_each_other_over_mutual_tls(
    with_tls: Manifests, tmp_path: Path
) -> None:
    for name in SERVICES:
        (workload,) = [each for each in with_tls.workloads if name_of(each) == name]
        services = loaded(with_tls, workload, tmp_path).services
        assert services.tls.is_on
        assert not services.insecure
        # The kubelet's gRPC probe speaks no TLS.
        assert "grpc" not in container_of(workload)["readinessProbe"]


def test_secrets_that_are_asked_for_are_in_the_guide(manifests: Manifests, with_tls: Manifests) -> None:
    guide = (ROOT / "docs/kubernetes.md").read_text()
    for name, key in {*secret_references(manifests), *secret_references(with_tls)}:
        assert f"`{name}`" in guide
        assert key is None or f"`{key}`" in guide
