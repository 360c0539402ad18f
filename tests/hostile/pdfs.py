"""PDF files: endless streams, objects that contain themselves, forbidden actions."""

from __future__ import annotations

import io
import zlib

from reportlab.pdfgen.canvas import Canvas

from tests.hostile.file import Canary, HostileFile, zlibbed
from tests.hostile.pdf_file import build, one_page, page, shown, stream
from tests.unit.extraction.documents import encryption


def files(canary: Canary) -> list[HostileFile]:
    return [*_streams(), *_trees(), *_broken(), *_actions(canary), *_metadata()]


def _streams() -> list[HostileFile]:
    megabyte = b"q Q " * 250_000
    single = zlibbed(b" " * 10**6, 500)
    double = zlib.compress(zlibbed(b" " * 10**6, 20_000), 9)
    triple = zlib.compress(zlib.compress(zlibbed(b"\0" * 10**6, 20_000), 9), 9)
    form = (
        b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] "
        b"/Resources << /XObject << %s >> /Font << /F1 5 0 R >> >>"
    )
    doubling = {
        10 + i: stream(
            b"/X Do " * 10 if i < 9 else shown(b"ha"),
            form % (b"/X %d 0 R" % (11 + i) if i < 9 else b""),
        )
        for i in range(10)
    }
    cmap = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap "
    cmap += b"1 begincodespacerange <0000> <FFFF> endcodespacerange "
    cmap += b"100 beginbfrange " + b"<0000> <FFFF> <0000> " * 2000 + b"endbfrange endcmap end end"
    composite = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /ToUnicode 6 0 R"
    )
    composite += b" /DescendantFonts [7 0 R] >>"
    descendant = b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A"
    descendant += b" /CIDSystemInfo << /Registry (A) /Ordering (B) /Supplement 0 >> >>"
    flate = b"/Filter /FlateDecode"
    return [
        HostileFile(
            "pdf/flate-bomb.pdf", build({4: stream(single, flate)}), "no_text_layer|parser_crash"
        ),
        HostileFile(
            "pdf/double-flate-bomb.pdf",
            build({4: stream(double, b"/Filter [/FlateDecode /FlateDecode]")}),
            "parser_crash|parser_deadline",
        ),
        HostileFile(
            "pdf/triple-flate-bomb.pdf",
            build({4: stream(triple, b"/Filter [/FlateDecode /FlateDecode /FlateDecode]")}),
            "parser_crash|parser_deadline",
        ),
        HostileFile(
            "pdf/operators.pdf", build({4: stream(zlibbed(megabyte, 10), flate)}), "no_text_layer"
        ),
        HostileFile(
            "pdf/contents-5-times.pdf",
            build({3: page(b"[" + b"4 0 R " * 5 + b"]"), 4: stream(zlibbed(megabyte, 1), flate)}),
            "no_text_layer",
        ),
        HostileFile(
            "pdf/text-of-a-megabyte.pdf",
            build({4: stream(zlibbed(shown(b"word " * 100) * 1000, 2), flate)}),
            # All but the first line stand off the page.
            holds="word word",
        ),
        HostileFile(
            "pdf/xobject-in-itself.pdf",
            build(
                {
                    3: page(resources=b"/XObject << /X 6 0 R >>"),
                    4: stream(b"/X Do"),
                    6: stream(b"/X Do", form % b"/X 6 0 R"),
                }
            ),
            "no_text_layer",
        ),
        HostileFile(
            "pdf/xobjects-in-a-ring.pdf",
            build(
                {
                    3: page(resources=b"/XObject << /X 6 0 R >>"),
                    4: stream(shown(b"Ring") + b" /X Do"),
                    6: stream(b"/X Do", form % b"/X 7 0 R"),
                    7: stream(b"/X Do", form % b"/X 6 0 R"),
                }
            ),
            holds="Ring",
        ),
        HostileFile(
            "pdf/billion-xobjects.pdf",
            build(
                {3: page(resources=b"/XObject << /X 10 0 R >>"), 4: stream(b"/X Do"), **doubling}
            ),
            "corrupt",
        ),
        HostileFile(
            "pdf/deep-array.pdf", build({4: stream(b"[" * 10**6 + shown(b"Deep"))}), "no_text_layer"
        ),
        HostileFile("pdf/deep-object.pdf", build({6: b"[" * 10**6}), holds="Hello"),
        HostileFile(
            "pdf/character-map.pdf",
            build(
                {
                    4: stream(b"BT /F1 12 Tf <004100420043> Tj ET"),
                    5: composite,
                    6: stream(cmap),
                    7: descendant,
                }
            ),
            holds="ABC",
        ),
        HostileFile(
            "pdf/character-map-in-itself.pdf",
            build(
                {
                    4: stream(b"BT /F1 12 Tf <004100420043> Tj ET"),
                    5: composite,
                    6: stream(b"/X usecmap " + cmap, b"/UseCMap 6 0 R"),
                    7: descendant,
                }
            ),
            holds="ABC",
        ),
    ]


def _trees() -> list[HostileFile]:
    pages = b"<< /Type /Pages /Kids [%s] /Count %d >>"
    chain = {
        10 + i: b"<< /Type /Pages /Kids [%d 0 R] /Count 1 /Parent %d 0 R >>" % (11 + i, 9 + i)
        for i in range(5000)
    }
    own = stream(b"6 0 << >>", b"/Type /ObjStm /N 1 /First 4 /Extends 6 0 R")
    return [
        HostileFile(
            "pdf/page-tree-in-a-ring.pdf", build({2: pages % (b"2 0 R", 1)}), holds="Hello"
        ),
        HostileFile(
            "pdf/pages-in-a-ring.pdf",
            build(
                {
                    2: pages % (b"3 0 R 6 0 R", 2),
                    6: b"<< /Type /Pages /Kids [2 0 R 6 0 R] /Count 1 /Parent 6 0 R >>",
                }
            ),
            holds="Hello",
        ),
        HostileFile(
            "pdf/page-tree-5000-deep.pdf",
            build({2: pages % (b"10 0 R", 1), **chain, 5010: page()}),
            "corrupt",
        ),
        HostileFile(
            "pdf/claims-1000000-pages.pdf", build({2: pages % (b"3 0 R", 10**6)}), holds="Hello"
        ),
        HostileFile(
            "pdf/300000-pages.pdf",
            build({2: pages % (b"3 0 R " * 300_000, 300_000)}),
            holds="Hello",
        ),
        HostileFile(
            "pdf/claims-minus-pages.pdf", build({2: pages % (b"3 0 R", -5)}), holds="Hello"
        ),
        HostileFile("pdf/no-pages.pdf", build({2: pages % (b"", 0), 3: b"null"}), "corrupt"),
        HostileFile("pdf/page-outside-the-tree.pdf", build({2: pages % (b"", 0)}), holds="Hello"),
        HostileFile(
            "pdf/annotations-in-a-ring.pdf",
            build(
                {
                    1: b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>",
                    3: page(more=b"/Annots [6 0 R 7 0 R]"),
                    6: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (a) /V 6 0 R "
                    b"/Kids [7 0 R] /Parent 7 0 R >>",
                    7: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (b) "
                    b"/Kids [6 0 R] /Parent 6 0 R >>",
                }
            ),
            holds="Hello",
        ),
        HostileFile(
            "pdf/object-stream-in-itself.pdf",
            build({6: own, 3: page(more=b"/Annots 7 0 R")}, b"/XRefStm 0"),
            holds="Hello",
        ),
        HostileFile(
            "pdf/object-stream-of-2-billion.pdf",
            build({6: stream(b"7 0 << >>", b"/Type /ObjStm /N 2147483647 /First 2147483640")}),
            holds="Hello",
        ),
        HostileFile(
            "pdf/length-in-itself.pdf",
            build({4: b"<< /Length 4 0 R >>\nstream\n" + shown(b"Length") + b"\nendstream"}),
            holds="Length",
        ),
        HostileFile(
            "pdf/page-of-1e30-points.pdf",
            build(
                {
                    3: page(more=b"/UserUnit 1e30 /Rotate 2147483647").replace(
                        b"[0 0 612 792]", b"[-1e30 0 1e30 99999999999999999999]"
                    )
                }
            ),
            holds="Hello",
        ),
    ]


def _broken() -> list[HostileFile]:
    good = one_page(b"Still readable")
    at = good.index(b"xref\n")
    loop = b"xref\n0 0\ntrailer\n<< /Size 9 /Root 1 0 R /Prev %d >>\n"
    start = len(build({}, xref=b"")) - len(b"startxref\n%d\n%%%%EOF\n" % 700)
    return [
        HostileFile(
            "pdf/junk-before-header.pdf",
            one_page(b"After junk").join([b"junk\n" * 500, b""]),
            holds="After junk",
        ),
        HostileFile(
            "pdf/megabytes-of-junk.pdf", b"junk\n" * 230_000 + good, holds="Still readable"
        ),
        HostileFile("pdf/cut-table.pdf", good[: at + 30], "corrupt"),
        HostileFile("pdf/no-table.pdf", good[:at], "corrupt"),
        HostileFile("pdf/cut-in-half.pdf", good[: at // 2], "corrupt"),
        HostileFile(
            "pdf/start-beyond-end.pdf",
            good[: good.index(b"startxref")] + b"startxref\n99999999999\n%%EOF",
            holds="Still readable",
        ),
        HostileFile("pdf/table-before-itself.pdf", build({}, xref=loop % start), holds="Hello"),
        HostileFile(
            "pdf/table-of-2-billion.pdf",
            good.replace(b"xref\n0 1\n", b"xref\n0 2147483647\n"),
            holds="Still readable",
        ),
        HostileFile(
            "pdf/table-stream-of-2-billion.pdf",
            build(
                {},
                xref=b"9 0 obj\n"
                + stream(
                    zlib.compress(bytes(50)),
                    b"/Type /XRef /W [1 8 8] /Size 2147483647 /Index [0 2147483647] "
                    b"/Root 1 0 R /Filter /FlateDecode",
                )
                + b"\nendobj\n",
            ),
            holds="Hello",
        ),
        HostileFile("pdf/nothing-but-a-header.pdf", b"%PDF-1.7\n", "corrupt"),
        HostileFile("pdf/header-and-zeros.pdf", b"%PDF-1.7\n" + bytes(10**6), "corrupt"),
        HostileFile("pdf/headers.pdf", b"%PDF-1.7\n" * 20_000, "corrupt"),
        HostileFile("pdf/encrypted.pdf", _encrypted(), "encrypted"),
        HostileFile(
            "pdf/unknown-encryption.pdf",
            build({}, b"/Encrypt << /Filter /Evil /V 99 >> /ID [(a) (a)]"),
            "encrypted",
        ),
    ]


def _encrypted() -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, encrypt=encryption("password"), invariant=True)
    canvas.drawString(72, 700, "Secret")
    canvas.save()
    return out.getvalue()


def _actions(canary: Canary) -> list[HostileFile]:
    url, file = canary.url.encode(), str(canary.file).encode()
    actions = {
        "javascript": b"<< /S /JavaScript "
        b"/JS (app.launchURL\\('%s'\\); this.submitForm\\('%s'\\);) >>" % (url, url),
        "launch": b"<< /S /Launch /F (/bin/sh) "
        b"/Unix << /F (/bin/sh) >> /Win << /F (cmd.exe) /P (/c calc) >> >>",
        "uri": b"<< /S /URI /URI (%s) >>" % url,
        "submit": b"<< /S /SubmitForm /F << /FS /URL /F (%s) >> >>" % url,
        "other-file": b"<< /S /GoToR /F (%s) /D [0 /Fit] >>" % file,
        "import": b"<< /S /ImportData /F (%s) >>" % file,
    }
    found = [
        HostileFile(
            f"pdf/action-{name}.pdf",
            build(
                {
                    1: b"<< /Type /Catalog /Pages 2 0 R /OpenAction 6 0 R /AA << /WC 6 0 R >> "
                    b"/Names << /JavaScript << /Names [(a) 6 0 R] >> >> "
                    b"/AcroForm << /Fields [7 0 R] >> >>",
                    3: page(more=b"/AA << /O 6 0 R /C 6 0 R >> /Annots [7 0 R]"),
                    6: action,
                    7: b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (f) /V (Filled) "
                    b"/Rect [0 0 99 9] /A 6 0 R /AA << /K 6 0 R /F 6 0 R /V 6 0 R /C 6 0 R >> >>",
                }
            ),
            holds="Hello",
        )
        for name, action in actions.items()
    ]
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Ref << /F (%s) /Page 0 >>" % file
    return [
        *found,
        HostileFile(
            "pdf/embedded-file.pdf",
            build(
                {
                    1: b"<< /Type /Catalog /Pages 2 0 R "
                    b"/Names << /EmbeddedFiles << /Names [(evil.exe) 6 0 R] >> >> >>",
                    6: b"<< /Type /Filespec /F (evil.exe) /EF << /F 7 0 R >> >>",
                    7: stream(b"MZ" + bytes(1000), b"/Type /EmbeddedFile"),
                }
            ),
            holds="Hello",
        ),
        HostileFile(
            "pdf/stream-from-file.pdf",
            build(
                {
                    3: page(b"[4 0 R 6 0 R 7 0 R]"),
                    6: stream(b"", b"/F (%s)" % file),
                    7: stream(b"", b"/F << /FS /URL /F (%s) >>" % url),
                }
            ),
            holds="Hello",
        ),
        HostileFile(
            "pdf/page-from-file.pdf",
            build(
                {
                    3: page(resources=b"/XObject << /X 6 0 R >>"),
                    4: stream(shown(b"Here") + b" /X Do"),
                    6: stream(b"", form),
                }
            ),
            holds="Here",
        ),
        HostileFile(
            "pdf/xfa.pdf",
            build(
                {
                    1: b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [] /XFA 6 0 R >> >>",
                    6: stream(
                        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "%s">]>'
                        b'<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/">&e;</xdp:xdp>'
                        % canary.file.as_uri().encode()
                    ),
                }
            ),
            holds="Hello",
        ),
        HostileFile(
            "pdf/xmp.pdf",
            build(
                {
                    1: b"<< /Type /Catalog /Pages 2 0 R /Metadata 6 0 R >>",
                    6: stream(
                        b'<!DOCTYPE x [<!ENTITY e SYSTEM "%s">]><x>&e;</x>' % url,
                        b"/Type /Metadata /Subtype /XML",
                    ),
                }
            ),
            holds="Hello",
        ),
    ]


def _metadata() -> list[HostileFile]:
    def titled(name: str, title: bytes, expected: str | None) -> HostileFile:
        data = build(
            {6: b"<< /Title %s /Author [1 2] /CreationDate << >> /Producer 6 0 R >>" % title},
            b"/Info 6 0 R",
        )
        return HostileFile(f"pdf/title-{name}.pdf", data, holds="Hello", title=expected)

    return [
        titled("number", b"42", None),
        titled("array", b"[(a) (b)]", None),
        titled("itself", b"6 0 R", None),
        titled("name", b"/Evil", "Evil"),
        titled("of-a-megabyte", b"(" + b"T" * 10**6 + b")", "T" * 300),
        titled("with-nul", b"(a\\000b)", "ab"),
        titled("with-surrogates", b"<FEFF0041D8000042DC000043>", None),
        titled("cut", b"<FEFF00410042D8>", "AB"),
        titled("of-white-space", b"(\\n\\t  \\r)", None),
        HostileFile("pdf/info-in-itself.pdf", build({6: b"6 0 R"}, b"/Info 6 0 R"), holds="Hello"),
    ]
