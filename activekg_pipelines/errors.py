"""Every exception that this package raises on purpose.

A class's docstring is its default message, which people read.

ActiveKGError
├── SettingsError                 the environment or a configuration file is unusable
├── RegistryError                 a connector request cannot be carried out
│   ├── ConnectorNotFound, SyncNotFound
│   ├── ConnectorConflict
│   ├── ConnectorLimit
│   └── InvalidConnector
├── RunCancelled                  somebody stopped the run; ConnectorRemoved with its connector
├── EncryptionError               a stored secret cannot be read
├── ModelError                    the embedding model cannot be used
├── ParserUnavailable             a parser of this installation cannot be used
├── SourceError                   the source as a whole cannot be used; the run or scan stops
│   ├── CredentialsRefused, SourceMissing, ListingDenied, WrongRegion,
│   ├── ClockSkewed, ListingOutOfOrder, ConnectorChanged,
│   └── EndpointForbidden, EndpointUnreachable, SourceUnavailable
└── ObjectError                   one object cannot be processed; the run goes on
    ├── skipped:   UnsupportedType, TooLarge, EmptyObject, FolderMarker
    ├── dead:      AccessDenied, Encrypted, Corrupt, NoTextLayer, TextTooLarge, RunsDied,
    │              NotStorable
    ├── retried:   FetchFailed, ParserCrashed, ParserDeadline, ParserMemory, EncoderFailed
    └── vanished:  ObjectGone
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

from activekg_pipelines.quoting import printable

# Enough for the longest key twice, and for what a sentence says about it.
_MOST_CHARACTERS: Final = 3000
_MOST_QUOTED: Final = 300


class Disposition(StrEnum):
    """What the ledger does with an object that ended in an :class:`ObjectError`."""

    SKIP = "skip"
    """Not a failure: the object holds nothing that this system indexes.

    It is tried again when its ETag changes.
    """
    DEAD = "dead"
    """Permanent: another attempt at the same bytes cannot succeed.

    It becomes a dead letter at once.
    """
    RETRY = "retry"
    """Transient: tried again with backoff, until the attempts are used up.

    Then it becomes a dead letter.
    """
    GONE = "gone"
    """The object vanished after it was listed; the next completed scan settles it."""


class ActiveKGError(Exception):
    """Something went wrong in activekg-pipelines.

    Args:
        message: what went wrong; by default the class's docstring. It may quote a store
            or a library: it is kept on one line, plain and bounded.
        fix: what a person does about it; by default the class's own advice.
    """

    fix: str = "Try again in a few minutes; if it stays, look into the log."

    def __init__(self, message: str | None = None, *, fix: str | None = None) -> None:
        # Docstrings are wrapped; messages are one line.
        default = " ".join((type(self).__doc__ or type(self).__name__).split())
        super().__init__(printable(message or default, _MOST_CHARACTERS))
        if fix is not None:
            self.fix = fix

    @property
    def message(self) -> str:
        return str(self)


class SettingsError(ActiveKGError):
    """The configuration is unusable."""


class RegistryError(ActiveKGError):
    """The connector request cannot be carried out."""


class ConnectorNotFound(RegistryError):
    """No such connector."""


class SyncNotFound(RegistryError):
    """There is no such sync."""


class ConnectorConflict(RegistryError):
    """The connector collides with another one of the same tenant."""


class ConnectorLimit(RegistryError):
    """The tenant has as many connectors as it may have."""

    fix = "Remove one, or ask the operator for more."


class InvalidConnector(RegistryError):
    """The connector's configuration is not valid."""


class RunCancelled(ActiveKGError):
    """Somebody stopped the run. What it finished is stored; the rest waits for the next poll
    or sync.
    """

    fix = "Sync the connector when the rest should be indexed."

    @classmethod
    def by(cls, who: str) -> RunCancelled:
        """The error that names who stopped the run."""
        return cls(
            f"The sync was cancelled by {who}. What it finished is stored; the rest waits for the "
            "next poll or sync."
        )


class ConnectorRemoved(RunCancelled):
    """The connector was removed while it was synced. Nothing more is written for it."""

    fix = "Register it again if its documents should be searchable."


class EncryptionError(ActiveKGError):
    """A stored secret cannot be decrypted with the keys that are configured."""

    fix = (
        "Ask the operator to set the key that encrypted these credentials, or update the "
        "connector with its access keys."
    )


class ModelError(ActiveKGError):
    """The embedding model cannot be used."""


class ParserUnavailable(ActiveKGError):
    """A parser of this installation cannot be loaded."""

    code: ClassVar[str] = "parser_unavailable"
    fix = "Install the package again with all its dependencies, in the versions that it names."


_TEST_AGAIN = "Test again in a few minutes; if it stays, look into the log of the API."


class SourceError(ActiveKGError):
    """The source cannot be read."""

    code: ClassVar[str] = "source_error"
    retryable: ClassVar[bool] = False
    fix = _TEST_AGAIN


class CredentialsRefused(SourceError):
    """The source refused the credentials: they are wrong, expired or deactivated."""

    code = "invalid_credentials"
    fix = "Make new credentials, update the connector with them, and test the connection again."


class SourceMissing(SourceError):
    """The source does not exist."""

    code = "no_such_bucket"
    fix = "Check the spelling of `bucket`, and that it exists in the account of these credentials."


class ListingDenied(SourceError):
    """The credentials may not list the source."""

    code = "access_denied"
    fix = "Allow these credentials to list the source, and check that nothing denies it."


class WrongRegion(SourceError):
    """The source lies in another region than the connector says."""

    code = "wrong_region"
    fix = "Set `region` to the region in which the source lies, or correct `endpoint_url`."


class ClockSkewed(SourceError):
    """The source refused the request's time: this machine's clock is off by minutes."""

    code = "clock_skew"
    fix = "Synchronise the clock of the machine that runs ActiveKG (NTP)."


class ConnectorChanged(SourceError):
    """The connector's source changed while it was being read; the next scan reads the new one."""

    code = "connector_changed"
    retryable = True


class EndpointForbidden(SourceError):
    """The source's endpoint lies at an address that connectors may not reach."""

    code = "endpoint_forbidden"
    fix = (
        "Give the public address of the store as `endpoint_url`, or ask the operator to allow its "
        "network in ACTIVEKG_PRIVATE_NETWORKS."
    )


class EndpointUnreachable(SourceError):
    """The source's endpoint cannot be reached."""

    code = "endpoint_unreachable"
    retryable = True
    fix = "Check the connector's endpoint, and that the network lets ActiveKG reach it."


class ListingOutOfOrder(SourceError):
    """The store does not list keys in the order of their bytes, so a run has to sort them."""

    code = "listing_out_of_order"
    retryable = True
    fix = "Nothing is to be done: from now on a run reads the whole listing and sorts it."


class SourceUnavailable(SourceError):
    """The source failed while it was listed; nothing was deleted and the next scan goes on."""

    code = "source_unavailable"
    retryable = True


class ObjectError(ActiveKGError):
    """The object cannot be processed."""

    code: ClassVar[str] = "object_error"
    disposition: ClassVar[Disposition] = Disposition.RETRY
    fix = _TEST_AGAIN
    without_text: ClassVar[bool] = False
    """Whether the object's current version is known to hold no text that can be read."""
    of_parser: ClassVar[bool] = False
    """Whether its parser's process had to be ended, or ended.

    Such an attempt may cost a minute of a processor, so it is not made often.
    """


class UnsupportedType(ObjectError):
    """The object is not a PDF, Word (.docx), HTML, Markdown or text document."""

    code = "unsupported_type"
    disposition = Disposition.SKIP
    without_text = True


class TooLarge(ObjectError):
    """The object is larger than ACTIVEKG_MAX_FILE_BYTES allows."""

    code = "too_large"
    disposition = Disposition.SKIP
    without_text = True


class EmptyObject(ObjectError):
    """The object holds nothing to read."""

    code = "empty"
    disposition = Disposition.SKIP
    without_text = True


class FolderMarker(ObjectError):
    """The key only marks a folder; it holds no document."""

    code = "folder_marker"
    disposition = Disposition.SKIP
    without_text = True


class AccessDenied(ObjectError):
    """The credentials may not read the object."""

    code = "access_denied"
    fix = "Allow these credentials to read the objects, and check that nothing denies it."
    disposition = Disposition.DEAD


class Encrypted(ObjectError):
    """The document is protected by a password."""

    code = "encrypted"
    disposition = Disposition.DEAD
    without_text = True


class Corrupt(ObjectError):
    """The document is damaged and cannot be opened."""

    code = "corrupt"
    disposition = Disposition.DEAD
    without_text = True


class NoTextLayer(ObjectError):
    """The document opens but holds no text; it is probably a scan without a text layer."""

    code = "no_text_layer"
    disposition = Disposition.DEAD
    without_text = True


class TextTooLarge(ObjectError):
    """The document's text is larger than ACTIVEKG_MAX_TEXT_CHARS allows."""

    code = "text_too_large"
    disposition = Disposition.DEAD
    without_text = True


class RunsDied(ObjectError):
    """Run after run died while it worked on this object."""

    code = "runs_died"
    disposition = Disposition.DEAD


class NotStorable(ObjectError):
    """The database refuses what belongs to this object."""

    code = "not_storable"
    disposition = Disposition.DEAD


class FetchFailed(ObjectError):
    """The object could not be downloaded."""

    code = "fetch_failed"


class ParserCrashed(ObjectError):
    """The parser's process died on this document."""

    code = "parser_crash"
    of_parser = True


class ParserDeadline(ObjectError):
    """The parser did not finish this document in time."""

    code = "parser_deadline"
    of_parser = True


class ParserMemory(ObjectError):
    """The parser needed more memory than allowed for this document."""

    code = "parser_memory"
    of_parser = True


class EncoderFailed(ObjectError):
    """The document's text could not be embedded."""

    code = "encoder_failure"


class ObjectGone(ObjectError):
    """The object was deleted after it was listed."""

    code = "not_found"
    disposition = Disposition.GONE


def first_line(error: BaseException) -> str:
    """What a library's exception says in its first line, to be quoted in a sentence."""
    said = str(error).strip()
    if not said:
        return type(error).__name__
    return printable(said.splitlines()[0].rstrip("."), _MOST_QUOTED)
