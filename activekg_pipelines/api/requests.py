"""What routes share: the services behind them, and the rules of their bodies."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import Key


async def services_of_app(request: Request) -> Services:
    """The parts that the application was created with."""
    services: Services = request.app.state.services
    return services


ServicesOfApp = Annotated[Services, Depends(services_of_app)]

ObjectKey = Annotated[Key, Field(min_length=1)]


class Body(BaseModel):
    """A request's body.

    Unknown fields are refused, and so is text that no database can store.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_lone_surrogates(cls, value: Any) -> Any:
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode text") from None
        return value
