"""What routes read from a request beside its own parameters."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from activekg_pipelines.services import Services


def services_of_app(request: Request) -> Services:
    """The parts that the application was created with."""
    services: Services = request.app.state.services
    return services


ServicesOfApp = Annotated[Services, Depends(services_of_app)]
