"""What may be registered of a bucket on S3: keys and addresses as people paste them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from activekg_pipelines.sources.config import patch_of
from activekg_pipelines.sources.s3.config import S3Config
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY

VALUES = {
    "bucket": "documents",
    "access_key_id": ACCESS_KEY_ID,
    "secret_access_key": SECRET_ACCESS_KEY,
}
ODD = ["\n", "\r\n", " ", "\t", "\x00", "\x7f", "\u00a0", "\u200b", "\u202e", "\ufeff", "é"]


def sentences(caught: pytest.ExceptionInfo[ValidationError]) -> str:
    return " ".join(error["msg"] for error in caught.value.errors(include_url=False))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key"])
def test_a_key_with_an_odd_character_is_refused_by_a_sentence_without_it(
    field: str, odd: str
) -> None:
    key = VALUES[field]
    keys = {name: VALUES[name] for name in ("access_key_id", "secret_access_key")}
    for pasted in (key + odd, odd + key, f"{key[:8]}{odd}{key[8:]}"):
        for model, values in ((S3Config, VALUES), (patch_of(S3Config), keys)):
            with pytest.raises(ValidationError) as caught:
                model.model_validate(values | {field: pasted})
            assert "must hold no blank, no line end" in sentences(caught)
            assert key[:8] not in str(caught.value)


def test_every_character_of_a_key_is_kept() -> None:
    secret = "wJalr+XUtn/FEMI=K7MDENG~bPxRfiCY!EXAMPLE_-."
    made = S3Config.model_validate(VALUES | {"secret_access_key": secret})
    assert made.secrets()["secret_access_key"].get_secret_value() == secret


@pytest.mark.parametrize(
    "address",
    [
        "https://s3.example.com\n",
        " https://s3.example.com",
        "https://s3.example .com",
        "https://\u212aelvin.example.com",
        "https://s3.\u200bexample.com",
        "https://ex\u00e4mple.com",
    ],
)
def test_an_address_with_an_odd_character_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        S3Config.model_validate(VALUES | {"endpoint_url": address})
