"""A run of one connector as a process of its own, which says how much memory it took.

python -m tests.integration.measured_run PARTITION MAX_TOKENS
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from activekg_pipelines.embedding import DEFAULT_MODEL, Encoder, encoder_version, resolve_model
from activekg_pipelines.embedding.backend import EncoderConfig
from activekg_pipelines.services import services
from tests.integration.syncing import drain, scan

DIMENSIONS = 384


class HashingEncoder(Encoder):
    """The default model's tokenizer, with vectors that cost nothing."""

    def __init__(self, model_cache: Path, max_tokens: int) -> None:
        files = resolve_model(DEFAULT_MODEL, model_cache)
        tokenizer = Tokenizer.from_file(str(files.path / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        super().__init__(
            name=DEFAULT_MODEL,
            version=encoder_version(EncoderConfig(DEFAULT_MODEL, model_cache)),
            dimensions=DIMENSIONS,
            max_tokens=max_tokens,
            tokenizer=tokenizer,
        )

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        digests = [hashlib.sha512(text.encode()).digest() * 6 for text in texts]
        return np.stack([np.frombuffer(one, np.uint8) for one in digests]).astype(np.float32) - 128


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(partition: str, max_tokens: str) -> None:
    """Scan and drain the connector; print what it took as JSON."""
    opened = services()
    opened.encoder = HashingEncoder(opened.model_cache, int(max_tokens))
    connector = opened.connector_of_partition(partition)
    scan(opened, connector)
    before = peak_bytes()
    counts = drain(opened, connector)
    print(
        json.dumps(
            {
                "before": before,
                "peak": peak_bytes(),
                "indexed": counts.indexed,
                "chunks": counts.chunks,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
