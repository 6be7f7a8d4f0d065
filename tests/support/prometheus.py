"""A real Prometheus that scrapes what a test runs, by deploy/prometheus with the addresses of the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from support.manifests import ROOT
from support.processes import Process, free_port, required, wait_until

PROMETHEUS = ROOT / "deploy/prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]


class Prometheus:
    """One server. It looks every half second, and knows the rules."""

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        """`targets` has an address for each job of deploy/prometheus/prometheus.yml."""
        folder.mkdir(parents=True, exist_ok=True)
        document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        document["global"] = {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "500ms",
        }
        document["rule_files"] = [str(PROMETHEUS / each) for each in document["rule_files"]]
        assert {each["job_name"] for each in document["scrape_configs"]} == targets.keys()
        document["scrape_configs"] = [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
        ]
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(document))
        port = free_port()
        self.process = Process(
            [
                required("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=folder / "prometheus.log",
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30)
        try:
            wait_until(self._is_ready, timeout=60, what="Prometheus has scraped every target")
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        assert self.process.running(), self.process.tail()
        try:
            if self._http.get("targets").status_code == 503:  # it is starting
                return False
        except httpx.TransportError:
            return False
        targets = self.ask("targets")["activeTargets"]
        return bool(targets) and all(each["health"] == "up" for each in targets)

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer; fails with what Prometheus says is wrong."""
        answer = self._http.get(path, params=parameters)
        document = answer.json()
        assert document["status"] == "success", f"{parameters}: {document}"
        return document["data"]

    def series(self, selector: str) -> list[dict[str, str]]:
        """The labels of the series that a selector takes."""
        found: list[dict[str, str]] = self.ask("series", **{"match[]": selector})
        return found

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules, each with its health and alerts."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def stop(self) -> None:
        self._http.close()
        self.process.kill()


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    prometheus = Prometheus(folder, targets)
    try:
        yield prometheus
    finally:
        prometheus.stop()
