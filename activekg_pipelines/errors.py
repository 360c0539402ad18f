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
│   ├── CredentialsRefused, CredentialsExpired, SourceMissing, ListingDenied,
│   ├── ListingForbidden, RequesterPays, WrongRegion, RegionNotEnabled,
│   ├── ClockSkewed, ListingOutOfOrder, ConnectorChanged,
│   └── EndpointForbidden, EndpointUnreachable, SourceUnavailable
└── ObjectError                   one object cannot be processed; the run goes on
    ├── skipped:   UnsupportedType, TooLarge, EmptyObject, FolderMarker
    ├── dead:      AccessDenied, ExplicitlyDenied, KeyDenied, KeyUnusable, CustomerKey,
    │              Encrypted, Corrupt, NoTextLayer, TextTooLarge, RunsDied, NotStorable
    ├── retried:   FetchFailed, ParserCrashed, ParserDeadline, ParserMemory, EncoderFailed
    ├── vanished:  ObjectGone
    └── archived:  Archived
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
    ARCHIVED = "archived"
    """The object must be restored first; scans notice when that is done."""


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

    def __init__(
        self, message: str | None = None, *, fix: str | None = None, field: str | None = None
    ) -> None:
        """Blame one field of the configuration, where the message says what it must be."""
        super().__init__(f"{field}: {message}" if field else message, fix=fix)
        self.field = field
        self.rule = message


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

    code: ClassVar[str] = "model"
    fix = (
        "Check ACTIVEKG_EMBEDDING_MODEL and ACTIVEKG_EMBEDDING_BACKEND, and that the machine of "
        "the run has the model's files."
    )


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


class CredentialsExpired(CredentialsRefused):
    """The credentials are temporary ones, and have expired."""

    code = "expired_token"
    fix = (
        "Update the connector with the access keys of a user, which do not expire, and test the "
        "connection again."
    )


class SourceMissing(SourceError):
    """The source does not exist."""

    code = "no_such_bucket"
    fix = "Check the spelling of `bucket`, and that it exists in the account of these credentials."


class ListingDenied(SourceError):
    """The credentials may not list the source."""

    code = "access_denied"
    fix = "Allow these credentials to list the source, and check that nothing denies it."


class ListingForbidden(ListingDenied):
    """A policy forbids these credentials explicitly to list the source."""

    code = "explicit_deny"
    fix = (
        "Find the policy that the message names, and take the statement with the effect Deny out "
        "of it or exempt these credentials; one of the organisation is its administrator's to "
        "change. To allow more elsewhere does not help."
    )


class RequesterPays(ListingDenied):
    """The source answers only who pays for the requests (requester pays)."""

    code = "requester_pays"
    fix = (
        "Where the connector has the setting `requester_pays`, switch it on: its account is "
        "charged then. Otherwise let the bucket's owner turn Requester Pays off, or copy its "
        "documents into another bucket."
    )


class WrongRegion(SourceError):
    """The source lies in another region than the connector says."""

    code = "wrong_region"
    fix = "Set `region` to the region in which the source lies, or correct `endpoint_url`."


class RegionNotEnabled(WrongRegion):
    """The source lies in a region that an account has to enable first (an opt-in region)."""

    code = "region_not_enabled"
    fix = (
        "Set `region` to the bucket's own, and enable that region in the AWS console for the "
        "account of these credentials."
    )


class ClockSkewed(SourceError):
    """The source refused the request's time: this machine's clock is off by minutes."""

    code = "clock_skew"
    fix = "Synchronise the clock of the machine that runs ActiveKG (NTP)."


class ConnectorChanged(SourceError):
    """The connector's source changed while it was being read; the next scan reads the new one."""

    code = "connector_changed"
    retryable = True
    fix = "Nothing is to be done: the next scan reads the new source."


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
    fix = (
        "Test again in a few minutes; syncs are tried again by themselves. If it stays, look at "
        "the state of the store, and at what it says."
    )


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
    fix = "Convert it to PDF, Word (.docx), HTML, Markdown or text, if it should be found."
    disposition = Disposition.SKIP
    without_text = True


class TooLarge(ObjectError):
    """The object is larger than ACTIVEKG_MAX_FILE_BYTES allows."""

    code = "too_large"
    fix = "Split it, or ask the operator to raise ACTIVEKG_MAX_FILE_BYTES."
    disposition = Disposition.SKIP
    without_text = True


class EmptyObject(ObjectError):
    """The object holds nothing to read."""

    code = "empty"
    fix = "Upload its text, if it should have one."
    disposition = Disposition.SKIP
    without_text = True


class FolderMarker(ObjectError):
    """The key only marks a folder; it holds no document."""

    code = "folder_marker"
    fix = "Nothing is to be done."
    disposition = Disposition.SKIP
    without_text = True


class AccessDenied(ObjectError):
    """The credentials may not read the object."""

    code = "access_denied"
    fix = "Allow these credentials to read the objects, and check that nothing denies it."
    disposition = Disposition.DEAD


class ExplicitlyDenied(AccessDenied):
    """A policy forbids these credentials explicitly to read the object."""

    code = "explicit_deny"
    fix = (
        "Find the policy that the message names, and take the statement with the effect Deny out "
        "of it or exempt these credentials; one of the organisation is its administrator's to "
        "change. Then replay the object."
    )


class KeyDenied(AccessDenied):
    """The credentials may not use the key that encrypts the object."""

    code = "kms_access_denied"
    fix = (
        "Allow these credentials kms:Decrypt on the key, in their own policy and in the key's, "
        "then replay the object."
    )


class KeyUnusable(AccessDenied):
    """The key that encrypts the object is disabled, about to be deleted, or gone."""

    code = "kms_key_unusable"
    fix = (
        "Enable the key again, or cancel its deletion, then replay the object. What a deleted key "
        "has encrypted nobody can read."
    )


class CustomerKey(AccessDenied):
    """The object is encrypted with a key that only its owner has (SSE-C)."""

    code = "customer_key"
    fix = "Write the object again with the store's own encryption, or with a key of its KMS."


class Encrypted(ObjectError):
    """The document is protected by a password."""

    code = "encrypted"
    fix = "Upload it again without its password."
    disposition = Disposition.DEAD
    without_text = True


class Corrupt(ObjectError):
    """The document is damaged and cannot be opened."""

    code = "corrupt"
    fix = "Upload it again, from a copy that opens."
    disposition = Disposition.DEAD
    without_text = True


class NoTextLayer(ObjectError):
    """The document opens but holds no text; it is probably a scan without a text layer."""

    code = "no_text_layer"
    fix = "Let an OCR program add a text layer, and upload it again."
    disposition = Disposition.DEAD
    without_text = True


class TextTooLarge(ObjectError):
    """The document's text is larger than ACTIVEKG_MAX_TEXT_CHARS allows."""

    code = "text_too_large"
    fix = "Split it, or ask the operator to raise ACTIVEKG_MAX_TEXT_CHARS."
    disposition = Disposition.DEAD
    without_text = True


class RunsDied(ObjectError):
    """Run after run died while it worked on this object."""

    code = "runs_died"
    fix = "Look into the logs of the runs that died, mostly for too little memory, then replay it."
    disposition = Disposition.DEAD


class NotStorable(ObjectError):
    """The database refuses what belongs to this object."""

    code = "not_storable"
    fix = "Change the constraint or trigger of the database that the message names, then replay it."
    disposition = Disposition.DEAD


class FetchFailed(ObjectError):
    """The object could not be downloaded."""

    code = "fetch_failed"
    fix = (
        "Nothing at first: it is tried again by itself. Once it is a dead letter, look at what "
        "the store says, and replay it."
    )


class ParserCrashed(ObjectError):
    """The parser's process died on this document."""

    code = "parser_crash"
    fix = "Open it and save it anew; if that does not help, report the document."
    of_parser = True


class ParserDeadline(ObjectError):
    """The parser did not finish this document in time."""

    code = "parser_deadline"
    fix = "Split it, or ask the operator to raise ACTIVEKG_PARSE_TIMEOUT_SECONDS, then replay it."
    of_parser = True


class ParserMemory(ObjectError):
    """The parser needed more memory than allowed for this document."""

    code = "parser_memory"
    fix = "Split it, or ask the operator to raise ACTIVEKG_PARSE_MEMORY_BYTES, then replay it."
    of_parser = True


class EncoderFailed(ObjectError):
    """The document's text could not be embedded."""

    code = "encoder_failure"
    fix = (
        "Nothing at first: it is tried again by itself. If it stays, look into the log of the run."
    )


class ObjectGone(ObjectError):
    """The object was deleted after it was listed."""

    code = "not_found"
    fix = "Nothing is to be done: the next completed scan settles it."
    disposition = Disposition.GONE


class Archived(ObjectError):
    """The object is in an archive: it must be restored before it can be read."""

    code = "archived"
    disposition = Disposition.ARCHIVED
    fix = (
        "Restore it in the source's console, for some days at least. It is taken up by itself; a "
        "sync looks at once."
    )


def object_fix(code: str) -> str:
    """What a person does about an object's error that is known by its code alone."""
    return _fix_of(code, ObjectError)


def connector_fix(code: str) -> str:
    """The same about what stopped a connector as a whole."""
    return _fix_of(code, SourceError, ParserUnavailable, ModelError)


def _fix_of(code: str, *families: type[ActiveKGError]) -> str:
    kinds = list(families)
    for kind in kinds:
        if getattr(kind, "code", None) == code:
            return kind.fix
        kinds += kind.__subclasses__()
    return ActiveKGError.fix


def first_line(error: BaseException) -> str:
    """What a library's exception says in its first line, to be quoted in a sentence."""
    said = str(error).strip()
    if not said:
        return type(error).__name__
    return printable(said.splitlines()[0].rstrip("."), _MOST_QUOTED)
