"""Texts in the encodings of their time, with nothing that says which."""

# ruff: noqa: RUF001

from __future__ import annotations

from pathlib import Path

import pytest

from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

GERMAN = (
    "Die Reisekosten werden nach der Rückkehr abgerechnet. Belege für Übernachtungen müssen "
    "beigefügt sein; für Frühstück gilt ein Höchstbetrag von fünf Euro. Größere Ausgaben sind "
    "vorher zu genehmigen."
)
POLISH = (
    "Pracownik może wnioskować o urlop najpóźniej trzy dni przed jego rozpoczęciem. Przełożony "
    "zatwierdza wniosek, a potem dział kadr wpisuje go do książki. Źle wypełnione wnioski wracają."
)
CZECH = (
    "Smlouva nabývá účinnosti dnem podpisu oběma stranami. Změny jsou možné jen písemně a musí "
    "být číslovány. Případné spory řeší příslušný soud v místě sídla žalovaného."
)
HUNGARIAN = (
    "A szerződés az aláírás napján lép hatályba. A felek a módosításokat írásban rögzítik, és "
    "évente egyszer felülvizsgálják. A késedelmes fizetés után kötbér jár, amelyet külön közölnek."
)
TURKISH = (
    "Çalışanlar yıllık izinlerini en geç üç gün önce bildirmelidir. Başvurular şube müdürüne "
    "yapılır; öğleden sonra gelen başvurular ertesi gün işleme alınır."
)
LITHUANIAN = (
    "Darbuotojai prašymą dėl atostogų pateikia prieš tris dienas. Vadovas jį patvirtina, o "
    "buhalterija išmoka priklausančią sumą už kiekvieną mėnesį."
)
RUSSIAN = (
    "Договор вступает в силу со дня подписания обеими сторонами. Изменения вносятся только в "
    "письменной форме. Споры рассматриваются судом по месту нахождения ответчика."
)
UKRAINIAN = (
    "Договір набирає чинності з дня його підписання обома сторонами. Зміни вносяться лише "
    "письмово. Ґрунтовні заперечення розглядає суд, якщо їх подано вчасно."
)
GREEK = (
    "Η σύμβαση τίθεται σε ισχύ από την ημέρα της υπογραφής της. Οι αλλαγές γίνονται μόνο "
    "γραπτώς και αριθμούνται με τη σειρά."
)
HEBREW = "ההסכם נכנס לתוקף ביום חתימתו על ידי שני הצדדים. שינויים ייעשו בכתב בלבד ויצורפו לנספח."
ARABIC = (
    "يدخل العقد حيز التنفيذ من تاريخ توقيعه من قبل الطرفين. تتم التعديلات كتابة فقط وترفق "
    "بالملحق الأول."
)
THAI = "สัญญานี้มีผลใช้บังคับตั้งแต่วันที่ลงนามโดยทั้งสองฝ่าย การแก้ไขต้องทำเป็นลายลักษณ์อักษรเท่านั้น"
CHINESE = "本合同自双方签字之日起生效。任何修改必须以书面形式进行,并作为附件。"
TAIWANESE = "本契約自雙方簽署之日起生效。任何修改必須以書面方式進行,並作為附件。"
JAPANESE = "この契約は、双方が署名した日から有効となります。変更は書面でのみ行うものとします。"
KOREAN = "이 계약은 양측이 서명한 날부터 효력이 발생합니다. 변경은 서면으로만 가능합니다."

CYRILLIC = ("cp1251", "koi8_r", "iso8859_5", "cp866", "mac_cyrillic")
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def read(
    folder: Path, data: bytes, content_type: str | None = None, name: str = "a.txt"
) -> ExtractedDocument:
    path = folder / "object"
    path.write_bytes(data)
    return extract_file(path, name, content_type, Limits())


def kinds(document: ExtractedDocument) -> list[str]:
    warnings = document.facts["warnings"]
    assert isinstance(warnings, list)
    return [str(each["kind"]) for each in warnings if isinstance(each, dict)]


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        (GERMAN, ("cp1252", "iso8859_15", "mac_roman", "cp850", "cp437", *WIDE)),
        (POLISH, ("cp1250", "iso8859_2", "cp852", "mac_latin2")),
        (CZECH, ("cp1250", "iso8859_2", "cp852", "mac_latin2")),
        (HUNGARIAN, ("cp1250", "iso8859_2", "cp852")),
        (TURKISH, ("cp1254", "iso8859_9", "cp857")),
        (LITHUANIAN, ("cp1257", "iso8859_13", "cp775")),
        (RUSSIAN, (*CYRILLIC, *WIDE)),
        (UKRAINIAN, ("cp1251", "koi8_u", "iso8859_5", "mac_cyrillic")),
        (GREEK, ("cp1253", "iso8859_7", "cp737", *WIDE)),
        (HEBREW, ("cp1255", "iso8859_8", "cp862", *WIDE)),
        (ARABIC, ("cp1256", "iso8859_6", *WIDE)),
        (THAI, ("cp874", "tis_620", *WIDE)),
        (CHINESE, ("gb18030", "gb2312", "hz", *WIDE)),
        (TAIWANESE, ("big5", "cp950", *WIDE)),
        (JAPANESE, ("cp932", "euc_jp", "iso2022_jp", *WIDE)),
        (KOREAN, ("cp949", "euc_kr", "iso2022_kr", *WIDE)),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_text_is_read_in_the_encoding_that_it_was_written_in(
    tmp_path: Path, text: str, encodings: tuple[str, ...]
) -> None:
    read_as = {}
    for encoding in encodings:
        written = text if encoding != "iso8859_5" else text.replace("Ґ", "Г")
        document = read(tmp_path, written.encode(encoding))
        if document.text != written:
            read_as[encoding] = (document.facts["encoding"], document.text[:20])
    assert read_as == {}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("合同自签字之日起生效", "gb18030"),
        ("出張のきまり", "euc_jp"),
        ("Договор аренды", "cp866"),
        ("عقد الإيجار", "iso8859_6"),
        ("Größe für Übung", "cp850"),
    ],
)
def test_a_few_words_are_enough(tmp_path: Path, text: str, encoding: str) -> None:
    assert read(tmp_path, text.encode(encoding)).text == text


@pytest.mark.parametrize(
    "sign", ["© 2026", "20 °C", "10 µm", "§ 5", "½ cup", "£100", "• one", "São Paulo"]
)
def test_a_sign_in_an_english_text_makes_it_no_other_language(tmp_path: Path, sign: str) -> None:
    line = "Whoever travels for the company books early and takes the train where it can be had.\n"
    for text in (sign, line * 50 + sign, sign + "\n" + line * 50 + "end"):
        assert read(tmp_path, text.encode("cp1252")).text == text


def test_chinese_between_shifts_is_read(tmp_path: Path) -> None:
    """RFC 1922, with line ends that end a shift."""
    shifted = [bytes(byte & 0x7F for byte in line.encode("gb2312")) for line in ("合同", "附件")]
    data = b"No. 7: \x1b$)A\x0e" + shifted[0] + b"\x0f (2026)\n\x1b$)A\x0e" + shifted[1] + b"\n"
    document = read(tmp_path, data)
    assert document.text == "No. 7: 合同 (2026)\n附件"
    assert document.facts["encoding"] == "iso2022_cn"


def test_format_strings_with_tildes_and_braces_are_no_chinese(tmp_path: Path) -> None:
    text = 'Print with (format t "~{~a~^, ~}" items), or "~{ab~}" and "~{cd".'
    assert read(tmp_path, text.encode()).text == text
    assert read(tmp_path, b"~~{ stays").text == "~~{ stays"


def test_what_little_speaks_for_is_called_doubtful(tmp_path: Path) -> None:
    for data in ("Zaïre".encode("cp437"), "Istrië, Provincie De".encode("cp850")):
        document = read(tmp_path, data)
        assert kinds(document) == ["encoding_doubtful"]
        assert document.facts["warnings"] == [
            {"kind": "encoding_doubtful", "detail": document.facts["encoding"]}
        ]
    assert kinds(read(tmp_path, GERMAN.encode("cp1252"))) == []
    assert kinds(read(tmp_path, RUSSIAN.encode("koi8_r"))) == []


def test_a_declared_charset_settles_a_close_guess(tmp_path: Path) -> None:
    data = "Istrië, Provincie De".encode("cp850")
    document = read(tmp_path, data, "text/plain; charset=ibm850")
    assert document.text == "Istrië, Provincie De"
    assert document.facts["encoding_guessed"] is False
    assert kinds(document) == []
    markdown = read(tmp_path, data, 'text/markdown; Charset="IBM850"', "a.md")
    assert markdown.text == "Istrië, Provincie De"


@pytest.mark.parametrize(
    "declared",
    [
        "utf-8",
        "iso-8859-1",
        "utf-16",
        "no-such-charset",
        "rot13",
        "undefined",
        "idna",
        "koi8-r\r\nX: y",
        "",
    ],
)
def test_a_declared_charset_that_is_wrong_is_not_believed(tmp_path: Path, declared: str) -> None:
    document = read(tmp_path, RUSSIAN.encode("cp1251"), f"text/plain; charset={declared}")
    assert document.text == RUSSIAN


def test_utf8_is_stronger_than_a_declared_charset(tmp_path: Path) -> None:
    document = read(tmp_path, GERMAN.encode(), "text/plain; charset=iso-8859-1")
    assert (document.text, document.facts["encoding"]) == (GERMAN, "utf-8")


def test_a_damaged_byte_does_not_garble_a_legacy_file(tmp_path: Path) -> None:
    data = (JAPANESE * 3000).encode("euc_jp")
    late = len((JAPANESE * 2800).encode("euc_jp"))
    document = read(tmp_path, data[:late] + b"\xff" + data[late:])
    assert document.text == JAPANESE * 2800 + "\ufffd" + JAPANESE * 200
    assert kinds(document) == ["bytes_replaced"]
    early = read(tmp_path, data[:20] + b"\xff" + data[20:])
    assert early.text == JAPANESE[:10] + "\ufffd" + JAPANESE[10:] + JAPANESE * 2999
    assert kinds(early) == ["bytes_replaced"]


def test_a_first_word_is_no_magic_number(tmp_path: Path) -> None:
    text = "BMP obrázky nemôžu byť komprimované, pretože ich žiadny program neprečíta."
    assert read(tmp_path, text.encode("cp1250")).text == text


def test_stored_text_is_composed(tmp_path: Path) -> None:
    assert read(tmp_path, "Cafe\u0301 und U\u0308bung, 각".encode()).text == "Café und Übung, 각"
