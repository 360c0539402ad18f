"""A paragraph in each of several languages, and its encodings from before UTF-8."""

# ruff: noqa: RUF001 - letters of other alphabets are the point

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PARAGRAPHS = {
    "German": (
        "Die Prüfung der Rechnungen läuft über das Büro in Köln. Für größere Beträge müssen "
        "zwei Personen unterschreiben. Rückfragen beantwortet die Abteilung bis spätestens "
        "Freitag; danach schließt die Buchführung."
    ),
    "French": (
        "La réunion a été reportée à la semaine prochaine, car plusieurs élèves étaient "
        "absents. Le dîner sera servi près de la fenêtre, où l'on voit le château. Nous "
        "espérons que cela vous conviendra très bien."
    ),
    "Spanish": (
        "Mañana por la mañana se abrirá la oficina más pequeña de la ciudad. ¿Quién puede "
        "ayudar con la traducción del año pasado? El niño llegó después, según dijo su mamá, y "
        "no pidió ninguna explicación."
    ),
    "Polish": (
        "Książka leży na półce obok łóżka. Wczoraj wieczorem żółty autobus spóźnił się o "
        "dziesięć minut, więc musieliśmy iść pieszo. Proszę sprawdzić, czy wszystkie "
        "zamówienia zostały już wysłane do klientów."
    ),
    "Czech": (
        "Příliš mnoho řidičů dnes čekalo u křižovatky. Kůň žluťoučký běžel přes louku a děti "
        "ho pozorovaly z okna školy. Smlouvu je třeba podepsat nejpozději do konce měsíce, "
        "jinak přestane platit."
    ),
    "Hungarian": (
        "Az őszi szünet után a gyerekek újra iskolába mennek. A szőlő érett, és a fűszeres "
        "gyümölcs illata betölti a házat. Kérjük, győződjön meg arról, hogy minden szükséges "
        "adatot megadott."
    ),
    "Russian": (
        "Завтра утром откроется новая библиотека на главной улице города. Жители смогут брать "
        "книги и читать газеты. Просим проверить все документы до конца недели и сообщить об "
        "ошибках."
    ),
    "Bulgarian": (
        "Утре сутринта ще бъде открита новата библиотека на главната улица. Жителите ще могат "
        "да вземат книги и да четат вестници. Моля, проверете всички документи до края на "
        "седмицата."
    ),
    "Greek": (
        "Το πρωί θα ανοίξει η νέα βιβλιοθήκη στον κεντρικό δρόμο της πόλης. Οι κάτοικοι θα "
        "μπορούν να δανείζονται βιβλία. Παρακαλούμε ελέγξτε όλα τα έγγραφα μέχρι το τέλος της "
        "εβδομάδας."
    ),
    "Turkish": (
        "Yarın sabah şehrin ana caddesinde yeni kütüphane açılacak. Çocuklar öğleden sonra "
        "bahçede oynuyor ve güneş ışığı ağaçların arasından geçiyordu. Lütfen bütün belgeleri "
        "hafta sonuna kadar gözden geçirin."
    ),
    "Japanese": (
        "明日の朝、町の大通りに新しい図書館が開きます。"
        "住民は本を借りたり、新聞を読んだりすることができます。"
        "週末までにすべての書類を確認してください。間違いがあれば、すぐにお知らせください。"
    ),
    "Simplified Chinese": (
        "明天早上，城市的主要街道上将开放一座新的图书馆。居民可以借书，也可以阅读报纸。"
        "请在周末之前检查所有文件，如果发现错误，请立即通知我们的办公室。"
    ),
    "Traditional Chinese": (
        "明天早上，城市的主要街道上將開放一座新的圖書館。居民可以借書，也可以閱讀報紙。"
        "請在週末之前檢查所有文件，如果發現錯誤，請立即通知我們的辦公室。"
    ),
    "Portuguese": (
        "A reunião foi adiada para amanhã porque as opiniões ainda são muito diferentes. Não "
        "há razão para preocupação, disse a diretora. As informações sobre os preços estão na "
        "última página do relatório."
    ),
    "Italian": (
        "La città più bella è quella che non abbiamo ancora visto. Perciò partirà lunedì e "
        "tornerà venerdì, se ci sarà abbastanza tempo. La qualità del servizio è già "
        "migliorata rispetto all'anno scorso."
    ),
    "Swedish": (
        "På måndag öppnar det nya biblioteket vid torget. Både äldre och yngre får låna böcker "
        "där. Kontrollera gärna alla uppgifter före fredag, så att vi hinner rätta felen i tid."
    ),
    "Danish": (
        "På mandag åbner det nye bibliotek ved torvet. Både ældre og yngre må låne bøger der. "
        "Kontrollér venligst alle oplysninger før fredag, så vi kan nå at rette fejlene."
    ),
    "Slovak": (
        "Zajtra ráno otvoria na hlavnej ulici novú knižnicu. Obyvatelia si budú môcť "
        "požičiavať knihy a čítať noviny. Skontrolujte, prosím, všetky doklady do konca týždňa "
        "a ohláste každú chybu."
    ),
    "Croatian": (
        "Sutra ujutro otvara se nova knjižnica u glavnoj ulici. Građani će moći posuđivati "
        "knjige i čitati novine. Molimo provjerite sve dokumente do kraja tjedna i javite nam "
        "što još nedostaje."
    ),
    "Ukrainian": (
        "Завтра вранці на головній вулиці міста відкриється нова бібліотека. Мешканці зможуть "
        "брати книги й читати газети. Просимо перевірити всі документи до кінця тижня та "
        "повідомити про помилки."
    ),
    "Korean": (
        "내일 아침 도시의 큰 거리에 새 도서관이 문을 엽니다. 주민들은 책을 빌리고 신문을 읽을 "
        "수 있습니다. 주말까지 모든 서류를 확인해 주시고 잘못된 곳이 있으면 바로 알려 주십시오."
    ),
}

_UNMARKED = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_WESTERN = ("cp1252", "iso8859-1", "cp850", "mac_roman", "utf-16", "utf-16-le")
_CENTRAL = ("cp1250", "iso8859-2", "cp852", "utf-16")
_CYRILLIC = (
    "cp1251", "koi8-r", "cp866", "iso8859-5", "mac_cyrillic", "utf-16", *_UNMARKED,
)  # fmt: skip
_ENCODINGS = {
    "German": _WESTERN,
    "French": _WESTERN,
    "Spanish": _WESTERN,
    "Portuguese": _WESTERN,
    "Italian": _WESTERN,
    "Swedish": _WESTERN,
    "Danish": _WESTERN,
    "Polish": _CENTRAL,
    "Slovak": _CENTRAL,
    "Croatian": _CENTRAL,
    "Ukrainian": ("cp1251", "koi8-u", "iso8859-5", "mac_cyrillic", "utf-16"),
    "Czech": _CENTRAL,
    "Hungarian": _CENTRAL,
    "Russian": _CYRILLIC,
    "Bulgarian": _CYRILLIC,
    "Greek": ("cp1253", "iso8859-7", "utf-16", *_UNMARKED),
    "Turkish": ("cp1254", "iso8859-9", "cp857", "utf-16"),
    "Japanese": ("shift_jis", "euc_jp", "iso2022_jp", "utf-16", *_UNMARKED),
    "Simplified Chinese": ("gb18030", "hz", "utf-16", *_UNMARKED),
    "Traditional Chinese": ("big5", "utf-16", *_UNMARKED),
    "Korean": ("euc_kr", "iso2022_kr", "utf-16", *_UNMARKED),
}


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as a file of it would hold it."""

    name: str
    encoding: str
    text: str

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.text.encode(self.encoding)


def encoded_texts() -> Iterator[EncodedText]:
    """Every paragraph in each of its encodings.

    Each time its first sentence, all of it, and a list of its sentences.
    """
    for language, paragraph in _PARAGRAPHS.items():
        sentences = (
            [part + "。" for part in paragraph.split("。") if part] if "。" in paragraph else None
        )
        sentences = sentences or [part.strip() + "." for part in paragraph.split(". ")]
        forms = {
            "one sentence": sentences[0],
            "a paragraph": paragraph,
            "a list": "\r\n- ".join(["", *sentences] * 5),
        }
        for encoding in _ENCODINGS[language]:
            for form, text in forms.items():
                yield EncodedText(f"{language}, {form}", encoding, text)
