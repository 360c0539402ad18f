"""Opens a Word file and finds the parts that hold its text.

python-docx opens it. What python-docx refuses (macro-enabled and strict Open XML files,
files with small faults) is opened as the ZIP of XML parts that it is.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from activekg_pipelines.errors import Corrupt, Encrypted, TextTooLarge
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.docx.word_xml import local
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

_OLE: Final = b"\xd0\xcf\x11\xe0"
# Reading a package with more parts than this is a bomb, not a document.
_MAX_PARTS: Final = 20_000
# Deflate packs a run of equal bytes at most so well (zlib's technical notes).
_MOST_DEFLATED: Final = 1032
_READ_BYTES: Final = 64 * 1024
_WITH_TEXT: Final = (".xml", ".rels", ".htm", ".html", ".xhtml", ".txt", ".mht", ".mhtml")


def _nothing(key: str) -> None:
    del key


class Related(NamedTuple):
    """A part that another one refers to by a relationship."""

    kind: str
    """The last word of the relationship's type."""
    name: str
    """Of the part in the ZIP file."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Source:
    """The root of a part with text in it, and what it refers to."""

    root: Any
    related: Callable[[str], Related | None] = _nothing
    """The part that a relationship's id stands for; None where there is none."""


@dataclass(slots=True)
class Package:
    """The XML roots of a Word file, by what they are for.

    Headers and footers stand in the order of their sections.
    """

    body: Source
    engine: str
    title: str | None = None
    has_media: bool = False
    headers: list[Source] = field(default_factory=list)
    footers: list[Source] = field(default_factory=list)
    footnotes: Source | None = None
    endnotes: Source | None = None
    comments: Source | None = None
    styles: Any = None
    numbering: Any = None
    attachments: list[str] = field(default_factory=list)
    """Names of the files in it."""
    warnings: list[DocumentWarning] = field(default_factory=list)

    def add(self, kind: str, source: Source) -> None:
        """Keep ``source`` if it holds text, styles or lists.

        It is the target of a relationship whose type ends in ``kind``.
        """
        if kind == "header":
            self.headers.append(source)
        elif kind == "footer":
            self.footers.append(source)
        elif kind in ("footnotes", "endnotes", "comments"):
            setattr(self, kind, source)
        elif kind in ("styles", "numbering"):
            setattr(self, kind, source.root)


_KINDS: Final = frozenset(
    {"header", "footer", "footnotes", "endnotes", "comments", "styles", "numbering"}
)
# Parts that stand inside the text of others.
_INSERTED: Final = frozenset({"chart", "chartEx", "diagramData", "aFChunk"})
_ATTACHED: Final = frozenset({"package", "oleObject"})


def open_package(file: Path | IO[bytes], limits: Limits) -> Package:
    """Open a Word file.

    Raises:
        Encrypted: it is an OLE container, as Word's password protection makes it.
        Corrupt: it is no ZIP, declares false sizes, or holds no Word document.
        TextTooLarge: its XML unpacks to more than ``limits.max_xml_bytes``.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return open_package(opened, limits)
    if file.read(4) == _OLE:
        raise Encrypted("The Word document is protected by a password.")
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive, limits)
            has_media = any(name.startswith("word/media/") for name in archive.namelist())
            package = _by_python_docx(file) or _by_zip(archive)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise Corrupt(f"The Word document is not a readable ZIP file: {error}.") from error
    package.has_media = has_media
    return package


def _check_members(archive: zipfile.ZipFile, limits: Limits) -> None:
    members = archive.infolist()
    if len(members) > _MAX_PARTS:
        raise Corrupt(f"The Word document has {len(members):,} parts, more than any real one.")
    xml = [member for member in members if member.filename.lower().endswith(_WITH_TEXT)]
    unpacked = sum(member.file_size for member in xml)
    if unpacked > limits.max_xml_bytes:
        raise TextTooLarge(
            f"The Word document unpacks to {unpacked:,} bytes of XML; {limits.max_xml_bytes:,} "
            "are allowed."
        )
    if any(member.flag_bits & 1 for member in members):
        raise Encrypted("The Word document's ZIP file is encrypted.")
    if any(
        member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members
    ):
        raise Corrupt("The Word document's ZIP file is packed in a way that Word does not use.")
    if not any(
        _slashed(member.filename).rpartition("/")[2].startswith("document") for member in members
    ):
        raise Corrupt("The file is a ZIP file but holds no Word document.")
    _check_sizes(archive, xml, limits)


def _check_sizes(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Unpack piece by piece what could hold far more than it declares.

    A member that is read at once is unpacked whole first.
    """
    if sum(member.compress_size for member in members) * _MOST_DEFLATED <= limits.max_xml_bytes:
        return
    for member in members:
        with archive.open(member) as file:
            while file.read(_READ_BYTES):
                pass


def _slashed(name: str) -> str:
    """A member's name as it is compared; some programs write backslashes."""
    return name.lower().replace("\\", "/").lstrip("/")


def _by_python_docx(file: IO[bytes]) -> Package | None:
    import docx

    try:
        document = docx.Document(file)
        package = Package(
            body=_source(document.part), engine="python-docx", title=_core_title(document)
        )
        for kind, part in _ordered_parts(document.part):
            if kind in _KINDS:
                package.add(kind, _source(part))
            elif kind in _ATTACHED:
                package.attachments.append(str(part.partname).lstrip("/"))
    # It raises whatever its parsers do; reading the ZIP decides what is damaged.
    except Exception:  # noqa: BLE001 - parsers raise anything
        return None
    return package


def _core_title(document: Any) -> str | None:
    # python-docx makes properties with a title of its own for a file that has none.
    relationships = document.part.package.rels.values()
    if not any(each.reltype.endswith("/core-properties") for each in relationships):
        return None
    try:
        return document.core_properties.title or None
    # Core properties are a part of their own; one with a fault is no reason to lose the
    # text.
    except Exception:  # noqa: BLE001 - parsers raise anything
        return None


def _ordered_parts(main_part: Any) -> Iterator[tuple[str, Any]]:
    relationships = {key: value for key, value in main_part.rels.items() if not value.is_external}
    for key in _in_section_order(main_part.element, relationships):
        yield relationships[key].reltype.rpartition("/")[2], relationships[key].target_part


def _source(part: Any) -> Source:
    def related(key: str) -> Related | None:
        found = part.rels.get(key)
        if found is None or found.is_external:
            return None
        target = found.target_part
        name = str(target.partname).lstrip("/")
        return Related(found.reltype.rpartition("/")[2], name, target.blob)

    return Source(_root_of(part), related)


def _root_of(part: Any) -> Any:
    element = getattr(part, "element", None)
    return parse_xml(part.blob) if element is None else element


def _by_zip(archive: zipfile.ZipFile) -> Package:
    members = _Members(archive)
    tops = dict(members.related("").values())
    main = tops.get("officeDocument", "word/document.xml")
    body = members.root(main)
    if body is None or local(body) != "document":
        raise Corrupt("The file is a ZIP file but holds no Word document.")
    package = Package(body=members.source(body, main), engine="lxml")
    relationships = members.related(main)
    for key in _in_section_order(body, relationships):
        kind, name = relationships[key]
        if kind in _ATTACHED:
            package.attachments.append(name)
        elif kind in _KINDS and (root := _intact(members, name, package)) is not None:
            package.add(kind, members.source(root, name))
    core = _intact(members, tops["core-properties"], package) if "core-properties" in tops else None
    package.title = None if core is None else core.findtext("{*}title")
    return package


def _intact(members: _Members, name: str, package: Package) -> Any:
    try:
        return members.root(name)
    except Corrupt:
        package.warnings.append(DocumentWarning(WarningKind.PART_DAMAGED, detail=name))
        return None


class _Members:
    """The parts of a ZIP file, whatever their names' case and slashes."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {_slashed(name): name for name in archive.namelist()}

    def read(self, name: str) -> bytes | None:
        """What the part holds; None without one."""
        actual = self._names.get(name.lower())
        return None if actual is None else self._archive.read(actual)

    def root(self, name: str) -> Any:
        """The root element of a part; None without one.

        Raises:
            Corrupt: it is not well-formed.
        """
        data = self.read(name)
        return None if data is None else parse_xml(data)

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """The relationships of a part, or of the file itself ("")."""
        folder, base = posixpath.split(name)
        return _relationships(self.root(posixpath.join(folder, "_rels", f"{base}.rels")), folder)

    def source(self, root: Any, name: str) -> Source:
        """The part with what stands inside its text, read now: the file will be closed."""
        try:
            relationships = self.related(name)
        except Corrupt:
            relationships = {}
        inserted = {
            key: Related(kind, target, data)
            for key, (kind, target) in relationships.items()
            if kind in _INSERTED and (data := self.read(target)) is not None
        }
        return Source(root, inserted.get)


def _relationships(root: Any, folder: str) -> dict[str, tuple[str, str]]:
    """Relationship id to (last word of its type, name of the target part)."""
    found: dict[str, tuple[str, str]] = {}
    for element in [] if root is None else root:
        target = element.get("Target") or ""
        if isinstance(element.tag, str) and element.get("TargetMode") != "External":
            name = (
                target.lstrip("/")
                if target.startswith("/")
                else posixpath.normpath(posixpath.join(folder, target))
            )
            found[element.get("Id") or ""] = ((element.get("Type") or "").rpartition("/")[2], name)
    return found


def _in_section_order(body: Any, relationships: dict[str, Any]) -> list[str]:
    """Relationship ids, each once.

    Those of headers and footers stand in the order in which sections use them.
    """
    used = [
        value
        for element in body.iter("{*}headerReference", "{*}footerReference")
        for name, value in element.attrib.items()
        if name.endswith("}id")
    ]
    return list(
        dict.fromkeys([key for key in used if key in relationships] + sorted(relationships))
    )


def parse_xml(data: bytes) -> Any:
    """Parse one part, without entities, network or libxml2's limits lifted.

    Raises:
        Corrupt: it is not well-formed.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise Corrupt(f"The Word document's XML is damaged: {error}.") from error
