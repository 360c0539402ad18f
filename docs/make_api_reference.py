"""Writes docs/api-reference.md from the OpenAPI document.

Run it as ``python docs/make_api_reference.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from activekg_pipelines.api.app import published_document

PAGE = Path(__file__).with_name("api-reference.md")

HEAD = """# API reference

<!-- Made by docs/make_api_reference.py from the OpenAPI document; change the code, and run it. -->

The running API serves the OpenAPI document of this page at `/_admin/connectors/openapi.json`,
to any valid token. Bodies and answers are JSON. Every answer has the headers
`Cache-Control: no-store` and `X-Content-Type-Options: nosniff`. What does not fit is refused
and never dropped: unknown fields and parameters, and values of another type. The metrics of
`GET /metrics` are Prometheus' text format and described in
[the guide](S3_CONNECTOR.md#monitoring).

## Tokens

Every route but `/healthz` and `/readyz` wants `Authorization: Bearer <token>`: a JWT that is
signed with `JWT_SECRET_KEY` (HS256) or for `JWT_PUBLIC_KEY` (RS256, ES256), with the claims
`sub`, `exp`, `aud` (`activekg`), `iss` (`activekg-auth`), `tenant_id`, and `scopes` as a list
or a string. `activekg-pipelines token --tenant acme_corp` prints one where this installation
signs its own. A token lives for 30 days at most (`JWT_MAX_LIFE_SECONDS`), from `iat`, or from
now where it has none, to `exp`; these are numbers. `sub` has at most 256 printable characters.

| scope | allows |
|---|---|
| `connectors:admin` | everything about the connectors of the token's own tenant |
| `search:read` | searching in the documents of the token's own tenant |
| `metrics:read` | `GET /metrics` of its own tenant; of all if it has no other scope and no tenant |
| `super_admin` | everything, for every tenant; its token may name no tenant |
| `dagster:ui` | beside `super_admin`: logging in to Dagster's UI |

## Tenants

The token says whose data a request is about. A body or parameter that names another tenant is
answered with 403; the id of another tenant's connector with 404, as one that never existed. A
super admin may name any tenant, and means all of them by naming none.

## Pages

Lists take `limit` (100 by default, 1,000 at most) and answer with `items` and `next_cursor`.
Send that as `cursor` for the next page; it is null on the last one. Cursors stay valid while
rows come and go: nothing is shown twice or left out that was there all along.

## Problems

Every error is `application/problem+json` as RFC 9457 shapes it. `code` is stable and for
programs, `detail` a sentence for people, `type` is `urn:activekg:problem:<code>`. A `422` lists
in `errors` each field that breaks a rule, with the rule; it never repeats what was sent.

```json
{
  "type": "urn:activekg:problem:invalid_request",
  "title": "Unprocessable Entity",
  "status": 422,
  "detail": "The request breaks the rules listed under errors.",
  "code": "invalid_request",
  "errors": [{"location": "body", "field": "config.bucket", "rule": "is required"}]
}
```

Beyond what each route lists: `404` `not_found` for an address that does not exist, `405`
`method_not_allowed` with the header `Allow`, `408` `body_too_slow`, and `500` `internal_error`,
which is a bug and in the log of the API.

## Limits

Each caller (a token's subject in its tenant) has 600 requests a minute. Each address has as
many refused tokens of its own, which take nothing from the accepted ones. `429` says in
`Retry-After` how many seconds to wait. `ACTIVEKG_API_RATE_LIMIT` sets another rate, such as
`100/second`, or `off`. Each process of the API counts for itself. Behind a proxy name its address
in `ACTIVEKG_API_TRUSTED_PROXIES`, or all clients share one.

Each tenant has 4 requests under way at once, and beside them 3 previews or connection tests and
as many searches as half the cores of the machine. Further ones wait for 2 seconds, and are
refused then: `503` `too_many_in_flight`, with `Retry-After`. A request takes 30 seconds at most
and a search 10, then it is given up: `503` `deadline_exceeded`. It is given up, too, when the
caller hangs up. What a removal or a change in batches has done until then stays, and the same
request goes on from there. [Configuration](configuration.md) has the settings.

A body has 1,000,000 bytes at most and arrives within 10 seconds. The head of a request arrives
within 10 seconds, too, or the connection is cut.
"""

PROBLEM = "application/problem+json"
_GROUPS = {
    "connectors": "Connectors",
    "runs": "Runs",
    "objects": "Objects and dead letters",
    "keys": "Keys",
    "actions": "Who did what",
    "search": "Search",
    "health": "Health",
}
_REFERENCE = "#/components/schemas/"
_FORMATS = {"uuid": "UUID", "date-time": "time", "password": "string"}


def api_reference(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    lines = [
        HEAD,
        *_problems(document),
        *_routes(document),
        "## Shapes of answers",
        "",
        *_shapes(document),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _problems(document: Mapping[str, Any]) -> Iterator[str]:
    meanings = {
        status: answer["description"].partition(" Code: ")[0]
        for operation in _operations(document).values()
        for status, answer in operation["responses"].items()
        if PROBLEM in answer["content"]
    }
    yield from ("## What problems mean", "", "| status | |", "|---|---|")
    yield from (_row(status, meaning) for status, meaning in sorted(meanings.items()))
    yield ""


def _routes(document: Mapping[str, Any]) -> Iterator[str]:
    for tag, title in _GROUPS.items():
        yield from (f"## {title}", "")
        for name, operation in _operations(document).items():
            if operation["tags"] == [tag]:
                yield from _route(name, operation, document["components"]["schemas"])


def _operations(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _route(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    scopes = [
        scope
        for requirement in operation.get("security", [])
        for held in requirement.values()
        for scope in held
    ]
    who = (
        f"Scope: {', '.join(f'`{scope}`' for scope in scopes)}." if scopes else "Open to everybody."
    )
    yield from (f"### {name}", "", *operation["description"].splitlines(), "", who, "")
    if parameters := operation.get("parameters"):
        yield from ("| parameter | in | type | default | |", "|---|---|---|---|---|")
        for parameter in parameters:
            # Null has no spelling in an address.
            type_ = _type(_without_null(parameter["schema"]), schemas)
            default = _default(parameter["schema"], required=parameter["required"])
            yield _row(
                f"`{parameter['name']}`",
                parameter["in"],
                type_,
                default,
                _description(parameter["schema"]),
            )
        yield ""
    if body := operation.get("requestBody"):
        yield from _body(body, schemas)
    yield from (*_answers(operation["responses"], schemas), "")


def _body(body: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    schema = body["content"]["application/json"]["schema"]
    forms = [_resolved(form, schemas) for form in schema.get("oneOf", [_without_null(schema)])]
    optional = "" if body.get("required") else " It may be left out."
    yield from (f"Body: {forms[0]['description']}{optional}", "")
    for form in forms:
        if len(forms) > 1:
            yield from (f"With `provider` {_type(form['properties']['provider'], schemas)}:", "")
        yield from (
            "| field | type | default | |",
            "|---|---|---|---|",
            *_fields(form, schemas),
            "",
        )


def _answers(responses: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    answered, problems = [], []
    for status, answer in sorted(responses.items()):
        ((media_type, content),) = answer["content"].items()
        if media_type == PROBLEM:
            problems.append(f"{status} {answer['description'].partition(' Code: ')[2].rstrip('.')}")
        else:
            answered.append(f"{status} {_type(content['schema'], schemas)}")
    yield f"Answers: {'; '.join(answered)}."
    if problems:
        yield from ("", f"Problems: {'; '.join(problems)}.")


def _fields(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    described = _resolved(schema, schemas)
    for name, field in described["properties"].items():
        forms = [form for form in _options(field) if "properties" in _resolved(form, schemas)]
        for form in forms:
            # Of several, each is one provider's.
            of = f"{_resolved(form, schemas)['title']}: " if len(forms) > 1 else ""
            yield from _fields(form, schemas, f"{of}{prefix}{name}.")
        if forms:
            continue
        default = _default(field, required=name in described.get("required", []))
        of, _, path = f"{prefix}{name}".rpartition(": ")
        yield _row(f"{of} `{path}`".strip(), _type(field, schemas), default, _description(field))


def _shapes(document: Mapping[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for name in sorted(_answered(document)):
        schema = schemas[name]
        if "enum" in schema or name.startswith("Page_"):
            continue
        yield from (
            f"### {name}",
            "",
            schema["description"],
            "",
            "| field | type | |",
            "|---|---|---|",
        )
        for field, described in schema["properties"].items():
            yield _row(f"`{field}`", _type(described, schemas), _description(described))
        yield ""


def _answered(document: Mapping[str, Any]) -> set[str]:
    """Names of the schemas that answers other than problems are made of."""
    schemas = document["components"]["schemas"]
    waiting = [
        content["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for answer in operation["responses"].values()
        for media_type, content in answer["content"].items()
        if media_type == "application/json"
    ]
    found: set[str] = set()
    while waiting:
        named = set(re.findall(rf'"{_REFERENCE}([^"]+)"', json.dumps(waiting.pop())))
        waiting += [schemas[name] for name in named - found]
        found |= named
    return found


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    named: Mapping[str, Any] = (
        schemas[schema["$ref"].removeprefix(_REFERENCE)] if "$ref" in schema else schema
    )
    return named


def _options(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    (only,) = _options(schema)
    return only


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A type with its bounds, in words."""
    if "anyOf" in schema:
        options = [_type(option, schemas) for option in _options(schema)]
        null = ["null"] if len(options) < len(schema["anyOf"]) else []
        return " or ".join([*options, *null])
    if "$ref" in schema and "enum" not in (target := _resolved(schema, schemas)):
        name = schema["$ref"].removeprefix(_REFERENCE)
        if name.startswith("Page_"):
            return f"a page of {_type(target['properties']['items']['items'], schemas)}"
        return f"[{name}](#{name.lower()})"
    schema = _resolved(schema, schemas)
    if "const" in schema:
        return _value(schema["const"])
    if "enum" in schema:
        return ", ".join(_value(value) for value in schema["enum"])
    if schema["type"] == "array":
        return f"list{_bounds(schema, 'Items', ' items')} of {_type(schema['items'], schemas)}"
    if schema.get("additionalProperties") is True:
        return "object"
    if schema["type"] == "object":
        return f"object of {_type(schema['additionalProperties'], schemas)}"
    name = _FORMATS.get(schema.get("format", ""), schema["type"])
    pattern = f" matching `{schema['pattern']}`" if "pattern" in schema else ""
    return f"{name}{pattern}{_bounds(schema, 'Length', ' characters')}{_bounds(schema, 'imum', '')}"


def _bounds(schema: Mapping[str, Any], of: str, unit: str) -> str:
    least, most = (
        f"{schema[key]:,.0f}" if key in schema else "" for key in (f"min{of}", f"max{of}")
    )
    if least and most:
        return f" ({least} to {most}{unit})"
    if most:
        return f" (at most {most}{unit})"
    return " (not empty)" if least == "1" else f" (at least {least}{unit})" if least else ""


def _value(value: object) -> str:
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _default(schema: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    return _value(schema["default"]) if schema.get("default") is not None else ""


def _description(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema and "description" not in schema:
        schema = _options(schema)[0]
    return str(schema.get("description", ""))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(api_reference(published_document()), encoding="utf-8")
