"""The dashboard and the alert rules can be read, and say what somebody on call needs.

PromQL is parsed by the small parser below, not by promtool: it knows the grammar that these files use and Prometheus'
function names, not the types of values. `tests/integration/api/test_metrics.py` holds every metric name and label
against a scrape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "activekg-connectors.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
# Grafana's own variables, as Prometheus gets them.
VARIABLES = {"$__rate_interval": "5m", "$tenant": ".*"}

AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "group", "stddev"}
# Functions and how many arguments they take.
FUNCTIONS = {
    "rate": 1,
    "increase": 1,
    "delta": 1,
    "time": 0,
    "vector": 1,
    "absent": 1,
    "histogram_quantile": 2,
    "clamp_min": 2,
    "clamp_max": 2,
    "max_over_time": 1,
}
RANGE_FUNCTIONS = {"rate", "increase", "delta", "max_over_time"}
BINARY = (
    {"or"},
    {"and", "unless"},
    {"==", "!=", "<=", "<", ">=", ">"},
    {"+", "-"},
    {"*", "/", "%"},
)
TOKEN = re.compile(
    rf"""\s*(?:
        (?P<range>\[{DURATION}\])
      | (?P<number>\d+(?:\.\d+)?(?![\w.]))
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<name>[A-Za-z_:][\w:]*)
      | (?P<operator>=~|!~|==|!=|<=|>=|[-+*/%(){{}},=<>])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Selector:
    """A metric as a query asks for it, with the labels that it filters by."""

    metric: str
    labels: frozenset[str]


@dataclass
class Query:
    """A parsed query.

    Attributes:
        selectors: the metrics it reads.
        grouped_by: labels that it groups or matches by.
    """

    text: str
    selectors: list[Selector] = field(default_factory=list)
    grouped_by: set[str] = field(default_factory=set)
    _tokens: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        text = self.text.strip()
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise ValueError(f"Unknown token at {text[position:]!r}")
            assert match.lastgroup is not None
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            position = match.end()
        self._tokens.append(("end", ""))
        self._expression(0)
        self._expect("")

    def _expression(self, level: int) -> None:
        if level == len(BINARY):
            self._operand()
            return
        self._expression(level + 1)
        while self._peek() in BINARY[level]:
            self._next()
            if self._peek() in {"on", "ignoring"}:
                self._next()
                self._label_names()
            self._expression(level + 1)

    def _operand(self) -> None:
        kind, value = self._tokens.pop(0)
        if kind == "number":
            return
        if value == "(":
            self._expression(0)
            self._expect(")")
        elif value in AGGREGATIONS:
            self._aggregation()
        elif kind == "name" and self._peek() == "(":
            self._call(value)
        elif kind == "name":
            self._selector(value)
        else:
            raise ValueError(f"An operand cannot start with {value!r}")

    def _aggregation(self) -> None:
        if self._peek() in {"by", "without"}:
            self._next()
            self._label_names()
        self._expect("(")
        self._expression(0)
        self._expect(")")

    def _call(self, function: str) -> None:
        if function not in FUNCTIONS:
            raise ValueError(f"Unknown function {function!r}")
        self._expect("(")
        arguments = 0
        while self._peek() != ")":
            if arguments:
                self._expect(",")
            self._expression(0)
            if (function in RANGE_FUNCTIONS) is not self._at_range():
                raise ValueError(f"{function} and its argument do not fit: one takes a range, the other is none")
            if self._at_range():
                self._tokens.pop(0)
            arguments += 1
        self._expect(")")
        if arguments != FUNCTIONS[function]:
            raise ValueError(f"{function} takes {FUNCTIONS[function]} arguments, not {arguments}")

    def _selector(self, metric: str) -> None:
        labels = set()
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                if labels:
                    self._expect(",")
                labels.add(self._next())
                if self._next() not in {"=", "!=", "=~", "!~"}:
                    raise ValueError(f"A label of {metric} is not compared")
                kind, value = self._tokens.pop(0)
                if kind != "string":
                    raise ValueError(f"A label of {metric} is compared with {value!r}")
                re.compile(json.loads(value))
            self._expect("}")
        self.selectors.append(Selector(metric, frozenset(labels)))

    def _label_names(self) -> None:
        self._expect("(")
        while self._peek() != ")":
            kind, value = self._tokens.pop(0)
            if kind == "name":
                self.grouped_by.add(value)
            elif value != ",":
                raise ValueError(f"{value!r} is no label")
        self._expect(")")

    def _at_range(self) -> bool:
        return self._tokens[0][0] == "range"

    def _peek(self) -> str:
        return self._tokens[0][1]

    def _next(self) -> str:
        return self._tokens.pop(0)[1]

    def _expect(self, value: str) -> None:
        if (found := self._next()) != value:
            raise ValueError(f"Expected {value or 'the end'!r}, found {found!r}")


def rules() -> list[dict[str, Any]]:
    """Every alert rule."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel of the dashboard that shows something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


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
        "rate(a[5])",
    ],
)
def test_the_parser_refuses_what_is_no_promql(text: str) -> None:
    with pytest.raises((ValueError, re.error)):
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
        assert set(rule) <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}, rule["alert"]
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
