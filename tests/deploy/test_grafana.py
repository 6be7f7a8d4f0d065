"""The dashboard is what Grafana takes: its fields, its places, its data source as a variable."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from support.manifests import ROOT

GRAFANA = ROOT / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/moorage.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Grafana's identifiers of the units that are used.
UNITS = {"Bps", "bytes", "cps", "ops", "percentunit", "reqps", "s", "short"}


def test_the_dashboard_has_what_grafana_asks_of_one() -> None:
    """Source: Grafana, "Dashboard JSON model"."""
    assert isinstance(DASHBOARD["uid"], str)
    assert 0 < len(DASHBOARD["uid"]) <= 40
    assert DASHBOARD["title"] == "Moorage"
    assert DASHBOARD["schemaVersion"] >= 36
    # Grafana gives it one when it is imported; one of another's would collide.
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["time"].keys() == {"from", "to"}


def test_the_data_source_is_chosen_by_a_variable() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["instance"]["datasource"] == DATA_SOURCE
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == DATA_SOURCE, panel["title"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_what_its_type_asks_for(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["type"] in {"row", "stat", "timeseries"}
    if panel["type"] == "row":
        assert panel["panels"] == []
        assert panel["collapsed"] is False
        return
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["fieldConfig"]["overrides"] == []
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        expression = target["expr"].replace("$instance", "x").replace("$__rate_interval", "5m")
        assert "$" not in expression, "a variable that the dashboard does not have"
        promql_parser.parse(expression)


def test_panels_do_not_lie_on_each_other() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(PANELS, 2):
        assert not set(squares(one)) & set(squares(other)), f"{one['title']}, {other['title']}"


def squares(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    place = panel["gridPos"]
    return itertools.product(
        range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    )


def test_provisioning_finds_dashboard_and_data_source() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/moorage.yml").read_text())["providers"]
    assert provider["type"] == "file"
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == DATA_SOURCE["type"]
    compose = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose["volumes"]
