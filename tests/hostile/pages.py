"""HTML pages: endless nesting, attributes and entities, and what a browser fetches."""

from __future__ import annotations

from activekg_pipelines.extraction import Limits
from tests.hostile.file import Canary, HostileFile


def files(canary: Canary, limits: Limits) -> list[HostileFile]:
    return [*_shapes(limits), *_entities(canary), *_characters()]


def page(body: str, head: str = "") -> bytes:
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode()


def _shapes(limits: Limits) -> list[HostileFile]:
    wide_row = "<td>y</td>" * (limits.max_text_chars // 10)
    rows = "<tr><td>x</td></tr>" * (limits.max_text_chars // 10)
    unclosed = limits.max_text_chars // 40
    return [
        HostileFile(
            "html/100000-deep.html",
            page("<div>" * 100_000 + "At the bottom"),
            holds="At the bottom",
        ),
        HostileFile(
            "html/100000-deep-inline.html",
            page("<b>" * 100_000 + "At the bottom"),
            holds="At the bottom",
        ),
        HostileFile(
            "html/100000-deep-tables.html",
            page("<table><tr><td>" * 33_000 + "At the bottom"),
            holds="At the bottom",
        ),
        HostileFile(
            "html/250-deep.html", page("<div>" * 240 + "At the bottom"), holds="At the bottom"
        ),
        HostileFile(
            "html/100000-formats.html",
            page("<p>" + "<a><b><i><u>" * 25_000 + "Formatted"),
            holds="Formatted",
        ),
        HostileFile(
            "html/huge-attribute.html",
            page(f"<p title='{'a' * 20_000_000}'>After it"),
            "no_text_layer",
        ),
        HostileFile(
            "html/10000-attributes.html",
            page("<p " + " ".join(f"a{i}=1" for i in range(10_000)) + ">After"),
            holds="After",
        ),
        HostileFile("html/huge-text.html", page("<p>" + "a" * 11_000_000), "no_text_layer"),
        HostileFile(
            "html/wide-table.html",
            page(f"<table><tr>{wide_row}</tr>{rows}</table>After it"),
            holds="After it",
        ),
        HostileFile(
            "html/spans.html",
            page(
                "<table>"
                + "<tr>"
                + "<td colspan=999999999 rowspan=999999999>z" * 2000
                + "</tr>"
                + "<tr><td>x" * 2000
                + "</table>Spanned"
            ),
            holds="Spanned",
        ),
        HostileFile(
            "html/unclosed-comments.html", page("<p>Before" + "<!--" * 200_000), holds="Before"
        ),
        HostileFile(
            "html/unclosed-tags.html", page("<p>Before" + "<a href='" * 100_000), holds="Before"
        ),
        HostileFile(
            "html/deep-and-unclosed.html",
            page(
                "<div>" * 1000
                + "Before"
                + "".join(mark * unclosed for mark in ("<![CDATA[", "<!", "</", "<a "))
            ),
            holds="Before",
        ),
        HostileFile("html/headings.html", page("<h1>" * 20_000 + "Heading"), holds="Heading"),
        HostileFile("html/lists.html", page("<ul><li>" * 50_000 + "Item"), holds="Item"),
        HostileFile(
            "html/unclosed-script.html",
            page("<p>Before<script>" + "<!--<script>" * 50_000),
            holds="Before",
        ),
        HostileFile(
            "html/120000-breaks.html",
            page("Before" + "<br> " * 120_000 + "after"),
            "indexed|text_too_large",
        ),
        HostileFile(
            "html/spaces.html",
            page("<pre>a" + " " * (limits.max_text_chars // 2) + "b</pre>"),
            holds="a",
        ),
        HostileFile(
            "html/nothing-shown.html", page("<script>document.write('x')</script>"), "no_text_layer"
        ),
        HostileFile("html/doctype-alone.html", b"<!doctype html>", "no_text_layer"),
    ]


def _entities(canary: Canary) -> list[HostileFile]:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    url, uri = canary.url, canary.file.as_uri()
    fetching = "".join(
        f'<base href="{url}"><img src="{address}" srcset="{address} 2x">'
        f'<link rel=stylesheet href="{address}"><link rel=preload href="{address}">'
        f'<iframe src="{address}"></iframe><script src="{address}"></script>'
        f'<object data="{address}"></object><embed src="{address}">'
        f'<video src="{address}" poster="{address}"></video>'
        f'<style>@import url("{address}"); body {{ background: url("{address}") }}</style>'
        f'<svg><image href="{address}"/><use href="{address}#a"/></svg>'
        f'<body background="{address}">'
        f'<form action="{address}"><input type=image src="{address}"></form>'
        f'<a ping="{address}" href="{address}">x</a>'
        for address in (url, uri)
    )
    refresh = f'<meta http-equiv="refresh" content="0; url={url}"><link rel=canonical href="{url}">'
    return [
        HostileFile(
            "html/billion-laughs.html",
            f'<!DOCTYPE html [<!ENTITY l0 "lol">{laughs}]><html><body>Ha &l9;'.encode(),
            holds="Ha",
        ),
        HostileFile(
            "html/billion-laughs.xhtml",
            f'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY l0 "lol">{laughs}]>'
            '<html xmlns="http://www.w3.org/1999/xhtml">'
            "<body><p>Ha &l9;</p></body></html>".encode(),
            holds="Ha",
        ),
        HostileFile(
            "html/entity-file.xhtml",
            f'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY e SYSTEM "{uri}">]>'
            f"<html><body><p>Before &e; after</p></body></html>".encode(),
            holds="Before",
        ),
        HostileFile(
            "html/entity-http.xhtml",
            f'<?xml version="1.0"?><!DOCTYPE html SYSTEM "{url}" '
            f'[<!ENTITY e SYSTEM "{url}"> <!ENTITY % p SYSTEM "{url}"> %p;]>'
            "<html><body><p>Before &e; after</p></body></html>".encode(),
            holds="Before",
        ),
        HostileFile(
            "html/stylesheet.xhtml",
            f'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="{url}"?>'
            '<html xmlns:xi="http://www.w3.org/2001/XInclude"><body><p>Kept</p>'
            f'<xi:include href="{uri}"/></body></html>'.encode(),
            holds="Kept",
        ),
        HostileFile(
            "html/fetches.html",
            page(f"<p>A page that would fetch</p>{fetching}", refresh),
            holds="A page that would fetch",
        ),
        HostileFile(
            "html/frames.html",
            f'<html><frameset><frame src="{url}">'
            "<noframes>In frames</noframes></frameset>".encode(),
            "no_text_layer",
        ),
    ]


def _characters() -> list[HostileFile]:
    references = (
        "&#0; &#xD800; &#xDFFF; &#x110000; &#99999999999999999999; &#xFFFE; &#xFFFF; "
        "&#1; &#128; &bogus; &#x;"
    )
    return [
        HostileFile(
            "html/references.html", page(f"<p>Odd {references} references"), holds="references"
        ),
        HostileFile(
            "html/deep-references.html",
            page("<i>" * 1000 + f"<p>Odd {references} references"),
            holds="references",
        ),
        HostileFile("html/nul.html", page("<p>A\0B text with \0 NUL</p>"), holds="NUL"),
        HostileFile(
            "html/mixed-encodings.html",
            b"<html><meta charset=utf-8><body><p>caf\xe9 \xc3\xa9t\xc3\xa9 \xff\xfe mixed",
            holds="mixed",
        ),
        HostileFile(
            "html/false-charset.html",
            b"<html><meta charset=utf-16><body><p>Not UTF-16 at all",
            holds="Not UTF-16",
        ),
        HostileFile(
            "html/utf-7.html",
            b"<html><meta charset=utf-7><body><p>+ADw-script+AD4- in UTF-7",
            holds="in UTF-7",
        ),
        HostileFile(
            "html/unknown-charset.html",
            b"<html><meta charset=x-evil><body><p>Unknown caf\xe9",
            holds="Unknown",
        ),
        HostileFile(
            "html/codec-that-is-none.html",
            b"<html><meta charset=zlib_codec><body><p>No codec caf\xe9",
            holds="No codec",
        ),
        HostileFile(
            "html/surrogates.html",
            b"<html><body><p>Lone \xed\xa0\x80 and \xed\xb0\x80 surrogates",
            holds="surrogates",
        ),
        HostileFile(
            "html/long-title.html",
            page("<p>A title of a megabyte", f"<title>{'T' * 10**6}</title>"),
            title="T" * 300,
        ),
        HostileFile(
            "html/odd-title.html",
            page("<p>An odd title", "<title>a&#0;b \n\t &#xD800;c</title>"),
            holds="An odd title",
        ),
    ]
