"""Dashboard and alerts ask for metrics and labels that the service has, in queries that parse."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from live import SmallGallery, free_address, serving
from samples import photo

DEPLOY = Path(__file__).parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana/dashboards/deepfood.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
EVERY = [*QUERIES, *(rule["expr"] for rule in RULES)]
EVERY += [one["query"] for one in BOARD["templating"]["list"]]


@pytest.fixture(scope="module")
def served(small_gallery: SmallGallery) -> dict[str, set[str]]:
    """Each sample that a server has after a search and an error, and the names of its labels."""
    address = free_address()
    with serving(small_gallery.folder, metrics_address=address, max_connections=5) as server:
        for body in (photo(), b"no photo"):
            httpx.post(server.url + "/api/v1/search", files={"photo": body}, timeout=300)
        with httpx.Client() as one:  # more connections than there may be
            held = [httpx.Client() for _ in range(6)]
            for client in held:
                client.get(server.url + "/healthz", timeout=300)
                client.get(server.url + "/healthz", timeout=300)
            text = one.get(f"http://{address}/metrics", timeout=300).text
            for client in held:
                client.close()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("query", EVERY)
def test_a_query_asks_for_what_there_is(query: str, served: dict[str, set[str]]) -> None:
    names = set(re.findall(r"deepfood_\w+", query))
    assert names <= set(served)
    assert names or "up{" in query
    known = {"instance", "job"}.union(*(served[name] for name in names))
    used = set(re.findall(r"(\w+)=~?\"", query))
    for by in re.findall(r"by \(([^)]*)\)", query):
        used |= {label.strip() for label in by.split(",")}
    assert used <= known


@pytest.mark.parametrize("query", [*QUERIES, *(rule["expr"] for rule in RULES)])
def test_a_query_parses(query: str) -> None:
    promql_parser.parse(query.replace("$__rate_interval", "5m"))


@pytest.mark.slow
def test_every_metric_is_on_the_dashboard(served: dict[str, set[str]]) -> None:
    shown = set(re.findall(r"deepfood_\w+", " ".join(QUERIES)))
    made = {name for name in served if not name.endswith(("_created", "_sum", "_count"))}
    assert made <= shown


def test_legends_name_labels_of_their_query() -> None:
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label == "instance" or re.search(rf"by \([^)]*\b{label}\b", target["expr"])


def test_panels_lie_side_by_side_and_read_the_provisioned_source() -> None:
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    uid = source["datasources"][0]["uid"]
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & cells
        assert all(x < 24 for x, _ in mine)
        cells |= mine
        assert {
            panel["datasource"]["uid"],
            *(t["datasource"]["uid"] for t in panel["targets"]),
        } == {uid}


def test_alerts_are_whole_and_prometheus_reads_them() -> None:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    assert {job["job_name"] for job in config["scrape_configs"]} == {"deepfood"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
