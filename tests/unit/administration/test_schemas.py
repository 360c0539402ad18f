"""A schema takes its fields from what the domain gives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pydantic import Field, ValidationError

from activekg_pipelines.administration.schemas import Schema


class House(Schema):
    """A schema with a field that the domain calls otherwise."""

    street: str
    number: int = Field(validation_alias="position")
    roof: str


@dataclass(frozen=True, slots=True)
class Plot:
    street: str
    position: int


@dataclass(frozen=True, slots=True)
class Roof:
    street: str
    roof: str


def test_each_field_comes_from_the_first_value_that_has_it() -> None:
    assert House.of(Plot("Long Lane", 7), Roof("Short Lane", "red")).model_dump() == {
        "street": "Long Lane",
        "number": 7,
        "roof": "red",
    }


def test_a_field_can_be_given_by_name() -> None:
    assert House.of(Plot("Long Lane", 7), roof="red").roof == "red"


def test_a_field_that_nothing_has_is_an_error() -> None:
    with pytest.raises(ValidationError):
        House.of(Plot("Long Lane", 7))


def test_what_was_shown_is_read_again() -> None:
    house = House.of(Plot("Long Lane", 7), roof="red")
    assert House.model_validate_json(house.model_dump_json()) == house
