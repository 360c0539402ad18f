"""What is known about files that hold no document: their extensions and first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Signature:
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


SIGNATURES: Final = (
    Signature(b"\x89PNG\r\n\x1a\n", "A PNG image"),
    Signature(b"\xff\xd8\xff", "A JPEG image"),
    Signature(b"GIF87a", "A GIF image"),
    Signature(b"GIF89a", "A GIF image"),
    Signature(b"II*\x00", "A TIFF image"),
    Signature(b"MM\x00*", "A TIFF image"),
    Signature(b"BM", "A bitmap image"),
    Signature(b"8BPS", "A Photoshop image"),
    Signature(b"WEBP", "A WebP image", offset=8),
    Signature(b"WAVE", "A WAV recording", offset=8),
    Signature(b"AVI ", "An AVI video", offset=8),
    Signature(b"ftyp", "An MP4 video or HEIC image", offset=4),
    Signature(b"\x1aE\xdf\xa3", "A Matroska video"),
    Signature(b"OggS", "An Ogg recording"),
    Signature(b"fLaC", "A FLAC recording"),
    Signature(b"ID3", "An MP3 recording"),
    Signature(b"\x1f\x8b", "A gzip archive"),
    Signature(b"BZh", "A bzip2 archive"),
    Signature(b"\xfd7zXZ\x00", "An xz archive"),
    Signature(b"\x28\xb5\x2f\xfd", "A Zstandard archive"),
    Signature(b"7z\xbc\xaf\x27\x1c", "A 7-Zip archive"),
    Signature(b"Rar!\x1a\x07", "A RAR archive"),
    Signature(b"ustar", "A tar archive", offset=257),
    Signature(b"{\\rtf", "A rich text (RTF) document"),
    Signature(b"%!PS-Adobe", "A PostScript file"),
    Signature(b"\x7fELF", "A Linux program"),
    Signature(b"MZ", "A Windows program"),
    Signature(b"\xca\xfe\xba\xbe", "A Java class or macOS program"),
    Signature(b"\xcf\xfa\xed\xfe", "A macOS program"),
    Signature(b"\x00asm", "A WebAssembly program"),
    Signature(b"SQLite format 3\x00", "An SQLite database"),
    Signature(b"PAR1", "A Parquet file"),
    Signature(b"ARROW1", "An Arrow file"),
    Signature(b"Obj\x01", "An Avro file"),
    Signature(b"\x89HDF\r\n\x1a\n", "An HDF5 file"),
    Signature(b"\x93NUMPY", "A NumPy array"),
    Signature(b"wOFF", "A font"),
    Signature(b"wOF2", "A font"),
    Signature(b"OTTO", "A font"),
    Signature(b"\x00\x01\x00\x00\x00", "A font"),
)

_KINDS: Final = {
    "An image": "png jpg jpeg jpe jfif gif bmp tif tiff webp ico icns heic heif avif psd ai eps "
    "svg svgz raw cr2 nef"
    " dng xcf jp2 jxl tga",
    "A recording": "mp3 wav flac ogg oga opus m4a aac wma aif aiff mid midi amr",
    "A video": "mp4 m4v mov avi mkv webm wmv flv mpg mpeg 3gp mts m2ts vob",
    "An archive": "zip gz tgz bz2 tbz2 xz txz zst lz4 lzma 7z rar tar jar war ear apk ipa whl egg "
    "cab iso dmg img deb"
    " rpm msi crx",
    "A program": "exe dll so dylib bin o obj lib sys class pyc pyd wasm elf",
    "A spreadsheet": "xls xlsx xlsm xlsb xlt xltx ods numbers",
    "A presentation": "ppt pptx pptm pps ppsx pot potx odp key",
    "A word processor file other than .docx": "doc dot odt ott rtf pages wpd wps sxw",
    "A book file": "epub mobi azw azw3 djvu fb2",
    "A drawing": "vsd vsdx odg dwg dxf dgn stl step stp iges skp blend",
    "A mailbox or message file": "eml msg pst ost mbox",
    "A font": "ttf otf woff woff2 eot ttc",
    "A data file": "parquet avro orc arrow feather h5 hdf5 hdf npy npz pkl pickle joblib mat rds "
    "rdata sav dta sqlite"
    " sqlite3 db mdb accdb dbf json jsonl ndjson geojson xml xsd xsl xslt yaml yml toml ini cfg "
    "conf plist tsv sql"
    " dump bak ipynb proto pcap",
    "A model file": "safetensors onnx pt pth ckpt gguf tflite keras",
    "A program's source": "py pyi js mjs cjs ts tsx jsx css scss sass less java kt scala c h cc "
    "cpp hpp cs go rs rb php"
    " pl swift sh bash zsh ps1 bat cmd r m lua dart vue gradle cmake tf",
    "A map or layer file": "shp shx prj kml kmz gpx gpkg tpk mbtiles",
    "A key or certificate": "pem crt cer der p12 pfx jks asc gpg pgp sig",
    "A temporary file": "tmp swp part crdownload lock",
}

UNSUPPORTED_EXTENSIONS: Final = {
    extension: kind for kind, extensions in _KINDS.items() for extension in extensions.split()
}
"""Extension (lower case, without the dot) to what such a file is, with an article."""
