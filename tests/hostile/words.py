"""Word files: bombs of ZIP and XML, entities that fetch, names that escape."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib

from activekg_pipelines.extraction import Limits
from tests.hostile.file import Canary, HostileFile, deflated
from tests.hostile.word_file import (
    DOCUMENT,
    PACKAGE,
    core_properties,
    document,
    paragraph,
    raw_zip,
    relationship,
    word,
)
from tests.unit.extraction.documents import STRICT_W, W


def files(canary: Canary, limits: Limits) -> list[HostileFile]:
    return [
        *_bombs(limits),
        *_xml(limits),
        *_inserted(limits),
        *_entities(canary),
        *_packages(canary),
    ]


def _bombs(limits: Limits) -> list[HostileFile]:
    spaces = b" " * 1_000_000
    gigabyte = deflated(spaces, 1000)
    real = document(paragraph("Hidden in a lie"))
    plain = real.encode()
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    honest = stream.compress(plain) + stream.flush()
    parts = [(f"word/part{i}.xml", gigabyte, limits.max_xml_bytes // 50, 8) for i in range(200)]
    picture = relationship("image", "media/image1.bin")
    return [
        HostileFile(
            "word/gigabyte.docx", raw_zip([(DOCUMENT, gigabyte, 10**9, 8)]), "text_too_large"
        ),
        HostileFile(
            "word/gigabyte-called-small.docx", raw_zip([(DOCUMENT, gigabyte, 1000, 8)]), "corrupt"
        ),
        HostileFile(
            "word/small-called-4-gigabytes.docx",
            raw_zip([(DOCUMENT, honest, 0xFFFFFFF0, 8)]),
            "text_too_large",
        ),
        HostileFile(
            "word/one-body-for-all.docx",
            raw_zip([(DOCUMENT, gigabyte, 1000, 8), *parts], one_body=True),
            "text_too_large",
        ),
        HostileFile(
            "word/nested-zips.docx",
            word(paragraph("Zips in zips"), more=[("word/embeddings/a.zip", _nested())]),
            holds="Zips in zips",
        ),
        HostileFile(
            "word/huge-picture.docx",
            word(
                paragraph("Beside a huge picture"),
                relationships=picture,
                more=[("word/media/image1.bin", bytes(limits.max_xml_bytes * 4))],
            ),
            holds="Beside a huge picture",
        ),
        HostileFile(
            "word/many-parts.docx",
            raw_zip((f"word/p{i}.xml", b"\x03\x00", 0, 8) for i in range(30_000)),
            "corrupt",
        ),
        HostileFile(
            "word/claims-65535-parts.docx",
            raw_zip([(DOCUMENT, honest, len(plain), 8)], count=65_535),
            "corrupt",
        ),
        HostileFile("word/bzip2.docx", _compressed_by(zipfile.ZIP_BZIP2, real), "corrupt"),
        HostileFile("word/lzma.docx", _compressed_by(zipfile.ZIP_LZMA, real), "corrupt"),
        HostileFile(
            "word/unknown-method.docx", raw_zip([(DOCUMENT, honest, len(plain), 99)]), "corrupt"
        ),
        HostileFile("word/cut.docx", word(paragraph("text") * 1000)[:600], "corrupt"),
    ]


def _inserted(limits: Limits) -> list[HostileFile]:
    """Parts inside the text that are huge, or stand there again and again."""

    def refer(element: str, kind: str, target: str) -> tuple[str, str]:
        found = relationship(kind, target)
        key = found.partition('Id="')[2].partition('"')[0]
        return f"<w:p><w:r><w:t>x</w:t>{element.format(key)}</w:r></w:p>", found

    room = limits.max_xml_bytes
    chunk, to_chunk = refer("</w:r></w:p><w:altChunk w:id='{}'/><w:p><w:r>", "aFChunk", "c.html")
    chart, to_chart = refer("<w:chart w:id='{}'/>", "chart", "chart.xml")
    point = "<pt idx='1'><v>1</v></pt>"
    return [
        HostileFile(
            "word/huge-inserted-page.docx",
            word(chunk, relationships=to_chunk, more=[("word/c.html", b" " * (room * 2))]),
            "text_too_large",
        ),
        HostileFile(
            "word/page-inserted-often.docx",
            word(
                chunk * 500,
                relationships=to_chunk,
                more=[("word/c.html", f"<p>{'y' * (limits.max_text_chars // 100)}</p>")],
            ),
            "text_too_large",
        ),
        HostileFile(
            "word/chart-of-many-series.docx",
            word(
                paragraph("Beside a chart") + chart * 100,
                relationships=to_chart,
                more=[
                    (
                        "word/chart.xml",
                        f"<c>{f'<ser><val>{point * 3}</val></ser>' * (room // 200)}</c>",
                    )
                ],
            ),
            holds="Beside a chart",
        ),
    ]


def _nested() -> bytes:
    inner = b"0" * 1_000_000
    for depth in range(10):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for copy in range(10):
                archive.writestr(
                    zipfile.ZipInfo(f"{depth}-{copy}.zip"), inner, zipfile.ZIP_DEFLATED
                )
        inner = stream.getvalue()
    return inner


def _compressed_by(method: int, xml: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(DOCUMENT), xml, method)
    return stream.getvalue()


def _xml(limits: Limits) -> list[HostileFile]:
    deep = "<w:sdt><w:sdtContent>" * 50_000
    valid = "<w:sdt><w:sdtContent>" * 120
    room = limits.max_xml_bytes
    cells = "<w:tc><w:tcPr><w:gridSpan w:val='64'/></w:tcPr></w:tc>"
    notes = "".join(
        f"<w:footnoteReference w:id='{i}'/>" for i in range(limits.max_text_chars // 50)
    )
    ragged = (
        f"<w:tr>{'<w:tc><w:p/></w:tc>' * (room // 200)}</w:tr>"
        + f"<w:tr><w:tc>{paragraph('x')}</w:tc></w:tr>" * (room // 500)
    )
    return [
        HostileFile(
            "word/100000-deep.docx", word(xml=f"<w:document {W}><w:body>{deep}"), "corrupt"
        ),
        HostileFile(
            "word/240-deep.docx",
            word(valid + paragraph("At the bottom") + "</w:sdtContent></w:sdt>" * 120),
            holds="At the bottom",
        ),
        HostileFile(
            "word/huge-text-node.docx", word(paragraph("a" * (room // 2))), "text_too_large"
        ),
        HostileFile(
            "word/huge-attribute.docx",
            word(xml=f"<w:document {W} a='{'b' * (room // 2)}'/>"),
            "empty",
        ),
        HostileFile(
            "word/wide-table.docx",
            word(f"<w:tbl>{ragged}</w:tbl>{paragraph('After it')}"),
            holds="After it",
        ),
        HostileFile(
            "word/merged-cells.docx",
            word(f"<w:tbl><w:tr>{cells * (room // 500)}</w:tr></w:tbl>{paragraph('End')}"),
            holds="End",
        ),
        HostileFile(
            "word/many-notes.docx",
            word(f"<w:p><w:r>{notes}<w:t>Noted</w:t></w:r></w:p>"),
            holds="Noted",
        ),
        HostileFile("word/damaged.docx", word(xml=b"<w:document"), "corrupt"),
        HostileFile(
            "word/no-namespace.docx", word(xml="<w:document><w:body/></w:document>"), "corrupt"
        ),
        HostileFile(
            "word/nul-and-surrogates.docx", word(paragraph("bad &#0; &#xD800; &#xFFFF;")), "corrupt"
        ),
        HostileFile(
            "word/utf-7.docx",
            word(xml=b'<?xml version="1.0" encoding="UTF-7"?>+ADw-w:document+AD4-'),
            "corrupt",
        ),
        HostileFile(
            "word/long-title.docx",
            word(paragraph("A title of a megabyte"), core=f"<dc:title>{'T' * 10**6}</dc:title>"),
            title="T" * 300,
        ),
        HostileFile(
            "word/odd-title.docx",
            word(
                paragraph("An odd title"),
                core="<dc:title>\u202ea\u0085b\ufeff\n\tc\ufffe</dc:title><dc:creator>\u0001</dc:creator>".replace(
                    "\u0001", "x" * 10**5
                ).replace("\ufffe", ""),
            ),
            title="\u202ea b c",
        ),
        HostileFile(
            "word/damaged-properties.docx",
            word(paragraph("No properties"), core="<dc:title>"),
            holds="No properties",
        ),
    ]


def _entities(canary: Canary) -> list[HostileFile]:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<!DOCTYPE w:document [<!ENTITY l0 "lol">{laughs}]>'
    quadratic = f'<!DOCTYPE w:document [<!ENTITY q "{"q" * 50_000}">]>'
    uri = canary.file.as_uri()
    found: list[HostileFile] = [
        HostileFile(
            "word/billion-laughs.docx",
            word(xml=document(paragraph("Ha: &l9;"), doctype=bomb)),
            "corrupt",
        ),
        HostileFile(
            "word/quadratic-entities.docx",
            word(xml=document(paragraph("&q;" * 20_000), doctype=quadratic)),
            "corrupt",
        ),
        HostileFile(
            "word/laughing-properties.docx",
            word(
                paragraph("Without laughing"),
                core="<dc:title/>",
                more=[
                    (
                        "docProps/core.xml",
                        core_properties(
                            "<dc:title>&l9;</dc:title>",
                            bomb.replace("w:document", "cp:coreProperties"),
                        ),
                    )
                ],
            ),
            holds="Without laughing",
        ),
    ]
    for name, target in (("file", uri), ("http", canary.url)):
        entity = f'<!DOCTYPE w:document [<!ENTITY e SYSTEM "{target}">]>'
        parameter = f'<!DOCTYPE w:document [<!ENTITY % p SYSTEM "{target}"> %p;]>'
        subset = f'<!DOCTYPE w:document SYSTEM "{target}">'
        include = (
            f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{target}" parse="text"/>'
        )
        sheet = f'<?xml-stylesheet type="text/xsl" href="{target}"?>'
        found += [
            HostileFile(
                f"word/entity-{name}.docx",
                word(xml=document(paragraph("Before &e; after"), doctype=entity)),
                holds="Before",
            ),
            HostileFile(
                f"word/parameter-entity-{name}.docx",
                word(xml=document(paragraph("Kept"), doctype=parameter)),
                holds="Kept",
            ),
            HostileFile(
                f"word/external-subset-{name}.docx",
                word(xml=document(paragraph("Kept"), doctype=subset)),
                holds="Kept",
            ),
            HostileFile(
                f"word/xinclude-{name}.docx",
                word(xml=document(paragraph("Kept") + include, doctype=sheet)),
                holds="Kept",
            ),
            HostileFile(
                f"word/linked-{name}.docx",
                word(
                    paragraph("Kept"),
                    relationships="".join(
                        relationship(kind, target, mode)
                        for kind in ("image", "header", "attachedTemplate", "styles")
                        for mode in ("External",)
                    ),
                ),
                holds="Kept",
            ),
            HostileFile(
                f"word/entity-in-types-{name}.docx",
                word(
                    paragraph("Kept"),
                    more=[
                        (
                            "[Content_Types].xml",
                            f'<!DOCTYPE Types [<!ENTITY e SYSTEM "{target}">]>'
                            f'<Types xmlns="{PACKAGE}/content-types">&e;</Types>',
                        )
                    ],
                ),
                holds="Kept",
            ),
        ]
    return found


def _packages(canary: Canary) -> list[HostileFile]:
    outside = str(canary.file)
    link = zipfile.ZipInfo(DOCUMENT)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    tricks = [
        (name, f"{canary.secret} by name")
        for name in (
            f"../../../../../..{outside}",
            outside,
            "C:\\Windows\\system.ini",
            "..\\..\\evil.xml",
            "word/../../evil.xml",
            "word/" + "n" * 60_000,
            "con",
            "a:b",
            "\N{PILE OF POO}",
        )
    ]
    linked = io.BytesIO()
    with zipfile.ZipFile(linked, "w") as archive:
        archive.writestr(link, outside)
    targets = "".join(
        relationship("header", target)
        for target in (
            f"../../../../../..{outside}",
            outside,
            canary.file.as_uri(),
            canary.url,
            "../word/document.xml",
        )
    )
    macro = "application/vnd.ms-word.document.macroEnabled.main+xml"
    return [
        HostileFile(
            "word/names-that-leave.docx",
            word(paragraph("Names that leave"), more=tricks),
            holds="Names that leave",
        ),
        HostileFile(
            "word/targets-that-leave.docx",
            word(paragraph("Targets that leave"), relationships=targets),
            holds="Targets that leave",
        ),
        HostileFile("word/symbolic-link.docx", linked.getvalue(), "corrupt"),
        HostileFile(
            "word/two-documents.docx",
            word(paragraph("the first"), more=[(DOCUMENT, document(paragraph("Which one?")))]),
            holds="Which one?",
        ),
        HostileFile(
            "word/backslashes.docx", _renamed(word(paragraph("Backslashes"))), holds="Backslashes"
        ),
        HostileFile(
            "word/macros.docm",
            word(
                paragraph("With macros"),
                main=macro,
                relationships=relationship("vbaProject", "vbaProject.bin"),
                more=[("word/vbaProject.bin", b"\xd0\xcf\x11\xe0" * 100)],
            ),
            holds="With macros",
        ),
        HostileFile(
            "word/strict.docx", word(paragraph("Strict"), namespace=STRICT_W), holds="Strict"
        ),
        HostileFile(
            "word/own-header.docx",
            word(paragraph("Its own header"), relationships=relationship("header", "document.xml")),
            holds="Its own header",
        ),
        HostileFile("word/blank.docx", word("<w:p/>"), "empty"),
    ]


def _renamed(data: bytes) -> bytes:
    """The same file as some Windows programs write it, with backslashes for slashes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(stream, "w") as target:
        for member in source.infolist():
            info = zipfile.ZipInfo("placeholder")
            info.filename = member.filename.replace("/", "\\")
            target.writestr(info, source.read(member))
    return stream.getvalue()
