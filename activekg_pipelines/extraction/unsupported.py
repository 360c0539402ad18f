"""What files are that no format reads, by their extension and their first bytes.

The formats' own extensions and magic go before what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from activekg_pipelines.extraction.decode import looks_like_text

OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""Starts a compound file: legacy Office documents, and encrypted new ones."""
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
"""One of these starts a ZIP file, and so every newer Office document."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """``magic`` at byte ``offset`` means ``kind``."""

    magic: bytes
    kind: str
    offset: int = 0

    @property
    def is_weak(self) -> bool:
        """Whether a text could start with the same bytes by chance, as "BM" or "MZ"."""
        return len(self.magic) < 4 or self.magic.isalnum()

    def matches(self, head: bytes) -> bool:
        return head.startswith(self.magic, self.offset)


_SIGNATURES: Final = (
    _Signature(b"\x89PNG\r\n\x1a\n", "A PNG image"),
    _Signature(b"\xff\xd8\xff", "A JPEG image"),
    _Signature(b"GIF87a", "A GIF image"),
    _Signature(b"GIF89a", "A GIF image"),
    _Signature(b"II*\x00", "A TIFF image"),
    _Signature(b"MM\x00*", "A TIFF image"),
    _Signature(b"BM", "A bitmap image"),
    _Signature(b"8BPS", "A Photoshop image"),
    _Signature(b"WEBP", "A WebP image", offset=8),
    _Signature(b"WAVE", "A WAV recording", offset=8),
    _Signature(b"AVI ", "An AVI video", offset=8),
    _Signature(b"ftyp", "An MP4 video or HEIC image", offset=4),
    _Signature(b"\x1aE\xdf\xa3", "A Matroska video"),
    _Signature(b"OggS", "An Ogg recording"),
    _Signature(b"fLaC", "A FLAC recording"),
    _Signature(b"ID3", "An MP3 recording"),
    _Signature(b"\x1f\x8b", "A gzip archive"),
    _Signature(b"BZh", "A bzip2 archive"),
    _Signature(b"\xfd7zXZ\x00", "An xz archive"),
    _Signature(b"\x28\xb5\x2f\xfd", "A Zstandard archive"),
    _Signature(b"7z\xbc\xaf\x27\x1c", "A 7-Zip archive"),
    _Signature(b"Rar!\x1a\x07", "A RAR archive"),
    _Signature(b"ustar", "A tar archive", offset=257),
    _Signature(b"{\\rtf", "A rich text (RTF) document"),
    _Signature(b"%!PS-Adobe", "A PostScript file"),
    _Signature(b"\x7fELF", "A Linux program"),
    _Signature(b"MZ", "A Windows program"),
    _Signature(b"\xca\xfe\xba\xbe", "A Java class or macOS program"),
    _Signature(b"\xcf\xfa\xed\xfe", "A macOS program"),
    _Signature(b"\x00asm", "A WebAssembly program"),
    _Signature(b"SQLite format 3\x00", "An SQLite database"),
    _Signature(b"PAR1", "A Parquet file"),
    _Signature(b"ARROW1", "An Arrow file"),
    _Signature(b"Obj\x01", "An Avro file"),
    _Signature(b"\x89HDF\r\n\x1a\n", "An HDF5 file"),
    _Signature(b"\x93NUMPY", "A NumPy array"),
    _Signature(b"wOFF", "A font"),
    _Signature(b"wOF2", "A font"),
    _Signature(b"OTTO", "A font"),
    _Signature(b"\x00\x01\x00\x00\x00", "A font"),
)

_ZIP_MEMBERS: Final = (
    (b"xl/workbook", "An Excel workbook (.xlsx)"),
    (b"ppt/presentation", "A PowerPoint presentation (.pptx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "An OpenDocument file"),
    (b"mimetypeapplication/epub+zip", "An EPUB book"),
    (b"META-INF/MANIFEST.MF", "A Java archive"),
    (b"AndroidManifest.xml", "An Android application"),
    (b"visio/document", "A Visio drawing (.vsdx)"),
)

_KINDS: Final = {
    "An image": (
        "png jpg jpeg jpe jfif gif bmp tif tiff webp ico icns heic heif avif psd ai eps svg "
        "svgz raw cr2 nef dng xcf jp2 jxl tga"
    ),
    "A recording": "mp3 wav flac ogg oga opus m4a aac wma aif aiff mid midi amr",
    "A video": "mp4 m4v mov avi mkv webm wmv flv mpg mpeg 3gp mts m2ts vob",
    "An archive": (
        "zip gz tgz bz2 tbz2 xz txz zst lz4 lzma 7z rar tar jar war ear apk ipa whl egg cab "
        "iso dmg img deb rpm msi crx"
    ),
    "A program": "exe dll so dylib o obj lib sys class pyc pyd wasm elf",
    "A spreadsheet": "xls xlsx xlsm xlsb xlt xltx ods numbers",
    "A presentation": "ppt pptx pptm pps ppsx pot potx odp key",
    "A word processor file other than .docx": "doc dot odt ott rtf pages wpd wps sxw",
    "A book file": "epub mobi azw azw3 djvu fb2",
    "A drawing": "vsd vsdx odg dwg dxf dgn stl step stp iges skp blend",
    "A mailbox or message file": "eml msg pst ost mbox",
    "A font": "ttf otf woff woff2 eot ttc",
    "A data file": (
        "parquet avro orc arrow feather h5 hdf5 hdf npy npz pkl pickle joblib mat rds rdata "
        "sav dta sqlite sqlite3 db mdb accdb dbf json jsonl ndjson geojson xml xsd xsl xslt "
        "yaml yml toml ini cfg conf plist tsv sql ipynb proto pcap"
    ),
    "A model file": "safetensors onnx pt pth ckpt gguf tflite keras",
    "A program's source": (
        "py pyi js mjs cjs ts tsx jsx css scss sass less java kt scala c h cc cpp hpp cs go "
        "rs rb php pl swift sh bash zsh ps1 bat cmd r m lua dart vue gradle cmake tf"
    ),
    "A map or layer file": "shp shx prj kml kmz gpx gpkg tpk mbtiles",
    "A key or certificate": "pem crt cer der p12 pfx jks asc gpg pgp sig",
    "A temporary file": "tmp swp part crdownload lock",
}

KINDS_BY_EXTENSION: Final = {
    extension: kind for kind, extensions in _KINDS.items() for extension in extensions.split()
}
"""Extension (lower case, without the dot) to what such a file is, with an article."""


def kind_by_head(head: bytes) -> str | None:
    """Return what a file that starts so is, with an article; None if unknown."""
    if head.startswith(OLE):
        return "A legacy Office document (.doc, .xls, .ppt)"
    if head.startswith(ZIP):
        return kind_inside_zip(head) or "A ZIP archive"
    for signature in _SIGNATURES:
        if signature.matches(head) and not (signature.is_weak and looks_like_text(head)):
            return signature.kind
    return None


def kind_inside_zip(head: bytes) -> str | None:
    """Return what a ZIP file is by the names of its first members; None if unknown."""
    return next((kind for member, kind in _ZIP_MEMBERS if member in head), None)
