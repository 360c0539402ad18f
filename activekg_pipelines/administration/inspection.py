"""What the extractor makes of one document. Nothing is stored."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from activekg_pipelines.chunking import Chunk, chunk_document
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.embedding import EncoderConfig, load_tokenizer
from activekg_pipelines.errors import (
    ConnectorNotFound,
    FetchFailed,
    ObjectGone,
    RegistryError,
    TooLarge,
    UnsupportedType,
)
from activekg_pipelines.extraction import ExtractedDocument, Sandbox
from activekg_pipelines.extraction.warnings import DocumentWarning, read_stored
from activekg_pipelines.pipeline.titles import Title, title_of
from activekg_pipelines.services import Services
from activekg_pipelines.sources.source import Location

if TYPE_CHECKING:
    from activekg_pipelines.extraction import JSON

_NAME: Final = "document"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a sync would make of a document.

    Attributes:
        name: where it lies, for people.
        chunks: None where they were not asked for.
    """

    name: str
    document: ExtractedDocument
    title: Title
    warnings: tuple[DocumentWarning, ...]
    chunks: tuple[Chunk, ...] | None = None

    @classmethod
    def of(cls, document: ExtractedDocument, name: str, key: str) -> Self:
        """The inspection of the document that a parser made of the object under ``key``."""
        warnings = tuple(read_stored(document.facts.get("warnings")))
        return cls(name, document, title_of(document.title, key), warnings)

    @property
    def pages(self) -> JSON:
        """The number of pages; None of a format that has none."""
        return self.document.facts.get("pages")

    def as_json(self) -> dict[str, Any]:
        """For scripts. Places are code points of the text, pages count from 1."""
        return {
            "name": self.name,
            "text": self.document.text,
            "title": self.title.text,
            "title_from": self.title.source.value,
            "folders": list(self.title.folders),
            "mime_type": self.document.mime_type,
            "pages": self.pages,
            "warnings": [
                {**each.as_json(), "sentence": each.sentence}  # type: ignore[dict-item]
                for each in self.warnings
            ],
            "facts": self.document.facts,
            "chunks": None
            if self.chunks is None
            else [
                {
                    "chunk_index": chunk.index,
                    "char_start": chunk.start,
                    "char_end": chunk.end,
                    "page_from": chunk.place.page_from,
                    "page_to": chunk.place.page_to,
                    "headings": list(chunk.place.headings),
                    "table_head": chunk.place.table_head,
                    "tokens": chunk.tokens,
                    "text": chunk.text,
                }
                for chunk in self.chunks
            ],
        }


def inspect_file(services: Services, path: Path, content_type: str | None) -> Inspection:
    """Read a file of this machine as a sync would read it. Opens no database.

    Args:
        content_type: as a store would declare it.

    Raises:
        ObjectError: a sync could not read it either, or the file cannot be opened.
    """
    if not path.exists():
        raise ObjectGone(f"There is no file {path}.")
    if not path.is_file():
        raise UnsupportedType(f"{path} is not a file.")
    most = services.settings.activekg_max_file_bytes
    if path.stat().st_size > most:
        raise TooLarge(
            f"{path} is larger than the {most:,} bytes that ACTIVEKG_MAX_FILE_BYTES allows."
        )
    with tempfile.TemporaryDirectory(prefix="activekg-") as folder:
        # A parser sees no other file of the folder that the document lies in.
        copy = Path(folder) / _NAME
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise FetchFailed(f"{path} cannot be read: {error.strerror}.") from None
        document = _parse(services, copy, path.name, content_type)
    # Folders above the working directory say nothing about the document.
    key = path.name if path.is_absolute() or ".." in path.parts else path.as_posix()
    return Inspection.of(document, str(path), key)


def inspect_object(services: Services, uri: str, tenant_id: str | None) -> Inspection:
    """Read an object of a registered connector as a sync would read it.

    Args:
        uri: such as ``s3://bucket/key``.
        tenant_id: whose connector it is; None where only one tenant has such a one.

    Raises:
        RegistryError: no connector holds the object, or those of several tenants do.
        SourceError: the source cannot be used.
        ObjectError: a sync could not read it either.
        EncryptionError: the connector's credentials cannot be read.
    """
    connector = _connector_of(services, uri, tenant_id)
    key = uri.removeprefix(connector.location.uri_root)
    source = services.source(connector)
    entry = source.find(key, in_order=connector.lists_in_order)
    if entry is None:
        raise ObjectGone(f"There is no object {uri}.")
    with tempfile.TemporaryDirectory(prefix="activekg-") as folder:
        arrived = source.fetch(
            key,
            entry.etag,
            Path(folder) / _NAME,
            max_bytes=services.settings.activekg_max_file_bytes,
        )
        document = _parse(services, arrived.path, key, arrived.content_type)
    return Inspection.of(document, uri, key)


def chunks_of(services: Services, document: ExtractedDocument) -> tuple[Chunk, ...]:
    """The chunks that a sync would make of the document. Loads no model, only its tokenizer.

    Raises:
        ModelError: the model's files cannot be found, or hold no such tokenizer.
        EncoderFailed: the tokenizer refuses the text.
    """
    # A note of the weights' digest is all that would be kept; it is not worth a folder
    # where there is no system.
    with tempfile.TemporaryDirectory(prefix="activekg-") as folder:
        files = EncoderConfig(services.settings.activekg_embedding_model, Path(folder)).files
    starts = document.facts.get("page_starts")
    return tuple(
        chunk_document(
            document.text,
            load_tokenizer(files.path),
            files.max_tokens,
            page_starts=starts if isinstance(starts, list) else (),  # type: ignore[arg-type]
        )
    )


def _parse(services: Services, path: Path, key: str, content_type: str | None) -> ExtractedDocument:
    with Sandbox(services.limits, workers=1, documents=path.parent) as sandbox:
        return sandbox.submit(path, key, content_type).result()


def _connector_of(services: Services, uri: str, tenant_id: str | None) -> Connector:
    found = [each for each in services.every_connector(tenant_id) if _holds(each.location, uri)]
    if not found:
        raise ConnectorNotFound(
            f"No connector holds {uri}. `activekg-pipelines connectors list` shows what is "
            "registered; a file of this machine needs no connector."
        )
    if len({each.tenant_id for each in found}) > 1:
        names = ", ".join(each.partition_key for each in found[:5])
        raise RegistryError(
            f"Connectors of several tenants hold {uri}: {names}. Name one of them with --tenant."
        )
    return found[0]


def _holds(location: Location, uri: str) -> bool:
    return uri != location.uri_root and uri.startswith(str(location))
