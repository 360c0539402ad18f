"""Tokens as an attacker writes them: no library has a say in header and claims."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt


def forged(claims: Mapping[str, Any], secret: str, **header: Any) -> str:
    """A token with these claims that is signed with the right secret."""
    return signed(json.dumps(claims).encode(), secret, **header)


def signed(payload: bytes, secret: str, **header: Any) -> str:
    """A token with any bytes as its claims, signed with the right secret."""
    unsigned = f"{segment({'alg': 'HS256', 'typ': 'JWT'} | header)}.{_encoded(payload)}"
    signature = jwt.get_algorithm_by_name("HS256").sign(unsigned.encode(), secret.encode())
    return f"{unsigned}.{_encoded(signature)}"


def segment(content: Mapping[str, Any]) -> str:
    """A part of a token."""
    return _encoded(json.dumps(content).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
