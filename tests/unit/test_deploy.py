"""The dashboard and the alert rules can be read, and say what somebody on call needs.

`tests/integration/api/test_metrics.py` holds every metric name and label against a
scrape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "activekg-connectors.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
# Grafana's own variables, as Prometheus gets them.
VARIABLES = {"$__rate_interval": "5m", "$tenant": ".*"}


@dataclass(frozen=True)
class Selector:
    """A metric as a query asks for it, with the labels that it filters by."""

    metric: str
    labels: frozenset[str]


@dataclass
class Query:
    """A query as a port of Prometheus' own parser reads it.

    Attributes:
        selectors: the metrics it reads.
        grouped_by: labels that it groups or matches by.
    """

    text: str
    selectors: list[Selector] = field(default_factory=list)
    grouped_by: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._read(promql_parser.parse(self.text))

    def _read(self, node: Any) -> None:
        match node:
            case promql_parser.VectorSelector():
                labels = frozenset(matcher.name for matcher in node.matchers.matchers)
                self.selectors.append(Selector(node.name, labels))
            case promql_parser.MatrixSelector():
                self._read(node.vector_selector)
            case promql_parser.AggregateExpr():
                self.grouped_by |= set(node.modifier.labels) if node.modifier else set()
                self._read(node.expr)
            case promql_parser.BinaryExpr():
                matching = node.modifier.matching if node.modifier else None
                self.grouped_by |= set(matching.labels) if matching else set()
                self._read(node.lhs)
                self._read(node.rhs)
            case promql_parser.Call():
                for argument in node.args:
                    self._read(argument)
            case (
                promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr()
            ):
                self._read(node.expr)


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that shows something."""
    return [
        panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
    ]


def queries() -> Iterator[tuple[str, Query]]:
    """Every query of both files, parsed, with the name of its rule or panel."""
    for rule in rules():
        yield rule["alert"], Query(rule["expr"])
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            yield panel["title"], Query(text)


@pytest.mark.parametrize(
    "text",
    [
        "sum by (tenant) (rate(a_total[5m])",
        "rate(a_total)",
        "sum(a_total[5m])",
        "absnt(a)",
        'a{tenant="x}',
        "a{tenant=x}",
        "a >",
        "a b",
        "histogram_quantile(rate(a_bucket[5m]))",
        'a{status=~"("}',
    ],
)
def test_the_parser_refuses_what_is_no_promql(text: str) -> None:
    with pytest.raises(ValueError):
        Query(text)


def test_every_query_parses() -> None:
    parsed = list(queries())
    assert len(parsed) > 30
    assert all(query.selectors for _, query in parsed)


def test_every_rule_is_one_that_prometheus_takes_and_says_what_to_do() -> None:
    content = yaml.safe_load(ALERTS.read_text())
    assert set(content) == {"groups"}
    for group in content["groups"]:
        assert set(group) <= {"name", "interval", "rules"}
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}, (
            rule["alert"]
        )
        assert re.fullmatch(DURATION, rule.get("for", "0s")), rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert re.match(r"1\. ", rule["annotations"]["runbook"]), rule["alert"]
        for text in rule["annotations"].values():
            assert text.count("{{") == text.count("}}")


def test_annotations_use_labels_that_their_alert_has() -> None:
    for rule in rules():
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        query = Query(rule["expr"])
        if "sum by" in rule["expr"]:
            assert used <= query.grouped_by, rule["alert"]


def test_what_somebody_on_call_must_hear_of_has_an_alert() -> None:
    assert {rule["alert"] for rule in rules()} >= {
        "ConnectorNotScanned",
        "ConnectorQueueOld",
        "ConnectorDeadLetters",
        "ConnectorDeletionsHeldBack",
        "ConnectorFailureRate",
        "ConnectorCredentialsRefused",
        "ConnectorSearchableLate",
        "DagsterDaemonDown",
    }


def test_the_dashboard_can_be_imported_and_explains_each_panel() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["title"]
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 36
    # Grafana assigns ids of its own; one in the file would overwrite another dashboard.
    assert dashboard.get("id") is None
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_scrape_configuration_reads_these_rules_with_a_token() -> None:
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert content["rule_files"] == [ALERTS.name]
    (job,) = content["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert "credentials_file" in job["authorization"]


def test_only_dagsters_own_parts_reach_its_grpc() -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in yaml.safe_load_all((DEPLOY / "network-policy.yaml").read_text())
    }
    (rule,) = policies["activekg-code-server"]["ingress"]
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    (server,) = (location["grpc_server"] for location in workspace["load_from"])
    assert [port["port"] for port in rule["ports"]] == [server["port"]]
    (source,) = rule["from"]
    (labels,) = source["podSelector"]["matchExpressions"]
    assert set(labels["values"]) == {"daemon", "webserver"}
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress"]
        # A rule without sources would open its ports to everybody.
        assert all(rule["from"] and rule["ports"] for rule in policy.get("ingress", []))


def test_on_one_host_the_code_server_has_no_port() -> None:
    workspace = yaml.safe_load((DEPLOY / "workspace.one-host.yaml").read_text())
    (server,) = (location["grpc_server"] for location in workspace["load_from"])
    assert server.keys() == {"socket", "location_name"}


def test_no_page_tells_anybody_to_serve_the_ui_without_the_guard(project_root: Path) -> None:
    pages = [project_root / "README.md", *(project_root / "docs").rglob("*.md")]
    commands = [
        command
        for page in pages
        for command in re.findall(r"dagster-webserver -[^`\n]*", page.read_text())
    ]
    assert commands == []
