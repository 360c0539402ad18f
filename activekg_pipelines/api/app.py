"""Assembles the API and runs it.

Everything but the health routes needs a token, whatever the route says.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from activekg_pipelines.administration.tokens import TokenVerifier
from activekg_pipelines.api import (
    actions,
    configs,
    health,
    keys,
    metrics,
    objects,
    preview,
    problems,
    runs,
    search,
)
from activekg_pipelines.api.answer_headers import AnswerHeadersMiddleware
from activekg_pipelines.api.auth import AuthenticationMiddleware
from activekg_pipelines.api.in_flight import InFlightMiddleware, Kind, bounds_of
from activekg_pipelines.api.monitoring import SharedAnswers
from activekg_pipelines.api.request_limits import (
    BodyLimitMiddleware,
    rate_limited,
    too_many_requests,
)
from activekg_pipelines.api.serving import server_options
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.logs import configure_logging
from activekg_pipelines.services import Services
from activekg_pipelines.services import services as services_of_process

ADMIN_PREFIX: Final = "/_admin/connectors"
OPENAPI_PATH: Final = f"{ADMIN_PREFIX}/openapi.json"
MAX_BODY_BYTES: Final = 1_000_000
KINDS: Final = {
    "/search": Kind.SEARCH,
    f"{ADMIN_PREFIX}/configs/test": Kind.SOURCE,
    f"{ADMIN_PREFIX}/configs/{{config_id}}/test": Kind.SOURCE,
    f"{ADMIN_PREFIX}/configs/{{config_id}}/preview": Kind.SOURCE,
}
"""What routes take most of, where it is not a few statements."""

# For the end of the application.
_SPARE_THREADS: Final = 4
_SWITCH_SECONDS: Final = 0.0005


def create_app(services: Services) -> FastAPI:
    """The application.

    Args:
        services: what its routes work with; closed when the application shuts down.

    Raises:
        SettingsError: database or encryption keys are not configured, tokens could not
            be checked with the key and algorithm that are set, or the rate limit is
            none.
    """
    services.prepare()
    settings = services.settings
    open_paths = health.OPEN_PATHS | metrics.open_paths(settings)
    authentication = Middleware(
        AuthenticationMiddleware, verifier=TokenVerifier(settings), open_paths=open_paths
    )

    bounds = bounds_of(settings)
    max_age = settings.activekg_api_monitoring_seconds
    monitoring = (
        SharedAnswers("readyz", max_age=max_age, threads=1),
        SharedAnswers("metrics", max_age=max_age, threads=2),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A thread for every request that may be under way: none ever waits for another's.
        threads = sum(one.in_all for one in bounds.values())
        current_default_thread_limiter().total_tokens = threads + _SPARE_THREADS
        yield
        await run_in_threadpool(services.close)
        for shared in monitoring:
            shared.close()

    app = FastAPI(
        **_description(),
        lifespan=lifespan,
        # Served below, behind a token like all else.
        openapi_url=None,
        redirect_slashes=False,
        # Outermost first. A caller is counted once the token has said who it is (an
        # address may be a whole office's), and before a byte of the body is read, so that
        # bodies that are too large count as requests, and slow ones as under way.
        middleware=[
            Middleware(AnswerHeadersMiddleware),
            *rate_limited(
                authentication, settings, open_paths=open_paths, exempt_paths=health.OPEN_PATHS
            ),
            Middleware(BodyLimitMiddleware, max_bytes=MAX_BODY_BYTES),
            Middleware(
                InFlightMiddleware,
                bounds=bounds,
                kinds=KINDS,
                exempt_paths=health.OPEN_PATHS | {metrics.METRICS_PATH},
            ),
        ],
    )
    app.state.services = services
    app.state.probes, app.state.scrapes = monitoring
    problems.install(app)
    _include_documented_routes(app)
    app.include_router(metrics.router(settings))

    @app.get(OPENAPI_PATH, include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return openapi_document(app)

    return app


def published_document() -> dict[str, Any]:
    """The OpenAPI document of this version; it is the same for every installation."""
    app = FastAPI(**_description())
    _include_documented_routes(app)
    return openapi_document(app)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the problem that every route's errors refer to."""
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    if "Problem" not in schemas:
        problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs")
        schemas["Problem"] = problem
    return document


def _description() -> dict[str, Any]:
    return {
        "title": "ActiveKG connectors",
        "version": version("activekg-pipelines"),
        "summary": "Registers S3 buckets, shows and steers their syncs, and searches their "
        "documents.",
    }


def _include_documented_routes(app: FastAPI) -> None:
    admin = APIRouter(prefix=ADMIN_PREFIX)
    for router in (
        configs.router,
        runs.router,
        objects.router,
        preview.router,
        keys.router,
        actions.router,
    ):
        admin.include_router(router)
    for router in (admin, search.router):
        app.include_router(router, responses=too_many_requests())
    app.include_router(health.router)


def main() -> None:
    """Run the API with the environment's settings.

    Settings that cannot be used end it with a sentence and exit code 1.
    """
    try:
        _serve()
    except SettingsError as error:
        raise SystemExit(f"Error: {error.message}") from None


def _serve() -> None:
    # Threads that parse the listings of stores make every other thread wait for as long
    # whenever it is its turn: 5 ms by Python's default, some ten times in a request.
    sys.setswitchinterval(_SWITCH_SECONDS)
    services = services_of_process()
    settings = services.settings
    configure_logging(settings.activekg_log_level, settings.activekg_log_style)
    app = create_app(services)
    uvicorn.run(app, **server_options(settings))


if __name__ == "__main__":
    main()
