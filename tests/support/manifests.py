"""What kustomize makes of deploy/kubernetes, as the API server would read it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.processes import required, run

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy/kubernetes"
OVERLAYS = ("minimal", "s3", "rados", "ha")
SERVICES = ("api-gateway", "blob-service", "metadata-service", "notifier")

# That of kubectl 1.27, which the guide asks for, and scripts/get-kubectl.sh as well.
_OLDEST_KUSTOMIZE = (5, 0)

Object = dict[str, Any]


@dataclass(frozen=True)
class Manifests:
    """The objects of one rendering, in its order."""

    objects: tuple[Object, ...]
    text: str

    def of_kind(self, *kinds: str) -> Iterator[Object]:
        return (each for each in self.objects if each["kind"] in kinds)

    def one(self, kind: str, name: str) -> Object:
        """The object of this name; a generated ConfigMap's name may end with its hash."""
        found = [
            each
            for each in self.of_kind(kind)
            if re.fullmatch(
                re.escape(name) + (r"(-[a-z0-9]{10})?" if kind == "ConfigMap" else ""), name_of(each)
            )
        ]
        assert len(found) == 1, f"{len(found)} {kind} {name}"
        return found[0]

    @property
    def workloads(self) -> list[Object]:
        return list(self.of_kind("Deployment", "StatefulSet"))

    @property
    def configuration(self) -> dict[str, Any]:
        """config.yml."""
        document: dict[str, Any] = yaml.safe_load(self.one("ConfigMap", "moorage")["data"]["config.yml"])
        return document


def render(folder: Path) -> Manifests:
    """Build a kustomization; fails with what kustomize says."""
    text = run(*_kustomize(), folder, timeout=60)
    return Manifests(tuple(each for each in yaml.safe_load_all(text) if each), text)


def customized(folder: Path, overlay: str, *, components: tuple[str, ...] = (), settings: str = "") -> Path:
    """A kustomization of an operator's own on top of an overlay."""
    relative = Path("/".join([".."] * (len(folder.parts) - 1))) / str(KUBERNETES)[1:]
    document: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "moorage",
        "resources": [str(relative / "overlays" / overlay)],
        "components": [str(relative / "components" / each) for each in components],
    }
    if settings:
        (folder / "settings.env").write_text(settings)
        document["configMapGenerator"] = [{"name": "settings", "behavior": "merge", "envs": ["settings.env"]}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    return folder


@cache
def _kustomize() -> tuple[str, str]:
    """The command that builds a kustomization, which is in kubectl; fails when there is only an old one."""
    # Where there is one of ours, the machine's is too old.
    own = Path(sys.prefix, "bin", "kubectl")
    kubectl = str(own) if own.exists() else required("kubectl")
    said = subprocess.run(
        [kubectl, "version", "--client", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    ).stdout
    version = json.loads(said or "{}").get("kustomizeVersion", "")
    numbers = tuple(int(each) for each in re.findall(r"\d+", version)[:2])
    assert numbers >= _OLDEST_KUSTOMIZE, (
        f"{kubectl} has kustomize {version or 'of before 5'}, which is too old for deploy/kubernetes: "
        "run scripts/get-kubectl.sh (make test does), or install kubectl 1.27 or later"
    )
    return kubectl, "kustomize"


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def labels_of(workload: Object) -> Mapping[str, str]:
    """The labels of a workload's pods."""
    labels: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes a pod. Source: Kubernetes, "Labels and Selectors"."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In", f"{each['operator']} is not read here"
        if labels.get(each["key"]) not in each["values"]:
            return False
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    return True


def container_of(workload: Object) -> Object:
    """The only container of a workload's pods."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(container)


def environment(
    container: Object, manifests: Manifests, secrets: Mapping[str, Mapping[str, bytes]], pod: str
) -> dict[str, str]:
    """The variables of a container: sources, values with `$(NAME)` in them, secrets, the pod's name."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found.update(manifests.one("ConfigMap", source["configMapRef"]["name"])["data"])
    for each in container.get("env", []):
        match each:
            case {"value": str(value)}:
                found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], value)
            case {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                found[each["name"]] = secrets[secret][key].decode()
            case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                found[each["name"]] = pod
            case _:
                raise AssertionError(f"not read here: {each}")
    return found


def port_number(container: Object, port: int | str) -> int:
    """The number of a port that may be a name."""
    if isinstance(port, int):
        return port
    return next(int(each["containerPort"]) for each in container["ports"] if each["name"] == port)


def seconds(duration: str) -> float:
    """A duration of config.yml that has one unit."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h)", duration)
    assert found, duration
    return int(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2]]
