"""What routes read from a request beside its own parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from activekg_pipelines.administration.services import AdminServices


def services_of_app(request: Request) -> AdminServices:
    """The parts that the application was created with."""
    services: AdminServices = request.app.state.services
    return services


ServicesOfApp = Annotated[AdminServices, Depends(services_of_app)]
