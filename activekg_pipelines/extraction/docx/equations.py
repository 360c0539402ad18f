r"""Writes Word's equations (Office MathML) as LaTeX, as Markdown has them.

What a line can say stays a line: V/t and x^2, where LaTeX has \frac{V}{t} and x^{2}.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from activekg_pipelines.extraction.docx.word_xml import child, is_on, local, value

_ATOM: Final = re.compile(r"[A-Za-z]|\d+(?:[.,]\d+)?")
_TOUCHING: Final = re.compile(r"[\w}\])\\]")
_COMMAND_END: Final = re.compile(r"\\[A-Za-z]+$")
_LINE: Final = re.compile(r"\w+/\w+")
_SPACES: Final = re.compile(r" {2,}")


class _Piece(NamedTuple):
    text: str
    in_line: str | None = None
    """A simple fraction as a line, which needs room on both sides."""


def equation(element: Any) -> str:
    """Return the m:oMath ``element`` as text; in dollar signs where it has commands."""
    text = _SPACES.sub(" ", _inside(element)).strip()
    return f"${text}$" if "\\" in text else text


def _inside(element: Any) -> str:
    """What stands below ``element``, in order; None has nothing."""
    if element is None:
        return ""
    pieces = [piece for node in element if (piece := _piece(node)).text]
    text = ""
    for index, piece in enumerate(pieces):
        following = pieces[index + 1].text if index + 1 < len(pieces) else ""
        has_room = not _TOUCHING.match(text[-1:]) and not _TOUCHING.match(following[:1])
        written = piece.in_line if piece.in_line is not None and has_room else piece.text
        # A command ends at the first character that is no letter.
        needs_space = _COMMAND_END.search(text) and written[:1].isalnum()
        text += (" " if needs_space else "") + written
    return text


def _piece(node: Any) -> _Piece:
    name = local(node)
    if name is None or name.endswith("Pr"):
        return _Piece("")
    if name == "t":
        return _Piece(_letters(node.text or ""))
    if name == "f":
        return _fraction(node)
    write = _WRITERS.get(name)
    return _Piece(_inside(node) if write is None else write(node))


def _letters(text: str) -> str:
    written = ""
    for letter in text:
        command = _COMMANDS.get(letter)
        if command is None:
            needs_space = _COMMAND_END.search(written) and letter.isalnum()
            written += (" " if needs_space else "") + letter
        else:
            written += f"{'' if not written or written[-1] == ' ' else ' '}\\{command}"
    return written + " " if _COMMAND_END.search(written) else written


def _part(node: Any, name: str) -> str:
    return _inside(child(node, name)).strip()


def _property(node: Any, group: str, name: str) -> str | None:
    return value(child(node, group), name)


def _fraction(node: Any) -> _Piece:
    above, below = _part(node, "num"), _part(node, "den")
    kind = _property(node, "fPr", "type")
    if kind == "noBar":
        return _Piece(rf"\binom{{{above}}}{{{below}}}")
    is_simple = _ATOM.fullmatch(above) and _ATOM.fullmatch(below)
    return _Piece(rf"\frac{{{above}}}{{{below}}}", f"{above}/{below}" if is_simple else None)


def _script(mark: str, text: str) -> str:
    if not text:
        return ""
    return f"{mark}{text}" if len(text) == 1 and text.isalnum() else f"{mark}{{{text}}}"


def _base(node: Any) -> str:
    text = _part(node, "e")
    # Only one letter, number or pair of brackets can carry a script by itself.
    is_one = _ATOM.fullmatch(text) or re.fullmatch(r"\\[A-Za-z]+|\([^()]*\)|\w+", text)
    if is_one:
        return text
    return f"({text})" if _LINE.fullmatch(text) else f"{{{text}}}"


def _scripts(node: Any) -> str:
    return _base(node) + _script("_", _part(node, "sub")) + _script("^", _part(node, "sup"))


def _scripts_before(node: Any) -> str:
    before = _script("_", _part(node, "sub")) + _script("^", _part(node, "sup"))
    return "{}" + before + _base(node)


def _root(node: Any) -> str:
    is_hidden = is_on(child(child(node, "radPr"), "degHide"))
    degree = "" if is_hidden else _part(node, "deg")
    return rf"\sqrt{f'[{degree}]' if degree else ''}{{{_part(node, 'e')}}}"


def _big(node: Any) -> str:
    """A sum, product or integral over something."""
    properties = child(node, "naryPr")
    # Without a sign it is an integral, says the standard.
    sign = value(properties, "chr") if child(properties, "chr") is not None else "∫"
    limits = _script("_", _part(node, "sub")) + _script("^", _part(node, "sup"))
    return f"{_letters(sign or '').strip()}{limits} {_part(node, 'e')}"


def _brackets(node: Any) -> str:
    properties = child(node, "dPr")
    opening, between, closing = (
        default if child(properties, name) is None else value(properties, name) or ""
        for name, default in (("begChr", "("), ("sepChr", "|"), ("endChr", ")"))
    )
    inside = between.join(_inside(part).strip() for part in node if local(part) == "e")
    opening, closing = (_letters(sign).strip() for sign in (opening, closing))
    opening, closing = (f"\\{sign}" if sign in ("{", "}") else sign for sign in (opening, closing))
    if "\\frac" in inside or "\\begin" in inside or "\\binom" in inside:
        return rf"\left{opening or '.'}{inside}\right{closing or '.'}"
    return f"{_apart(opening, inside)}{inside}{closing}"


def _apart(command: str, following: str) -> str:
    is_joined = _COMMAND_END.search(command) and following[:1].isalnum()
    return f"{command} " if is_joined else command


def _function(node: Any) -> str:
    name, argument = _part(node, "fName"), _part(node, "e")
    first = re.match(r"[A-Za-z]+", name)
    if first and first[0] in _FUNCTIONS:
        name = f"\\{name}"
    is_joined = name[-1:].isalnum() and argument[:1] not in ("(", "{", "[")
    return f"{name}{' ' if is_joined else ''}{argument}"


def _limit(mark: str) -> Callable[[Any], str]:
    return lambda node: _base(node) + _script(mark, _part(node, "lim"))


def _rows(node: Any) -> str:
    """A matrix, or equations one above the other."""
    lines = [
        " & ".join(_inside(cell).strip() for cell in row if local(cell) == "e")
        if local(row) == "mr"
        else _inside(row).strip()
        for row in node
        if local(row) in ("mr", "e")
    ]
    return r"\begin{matrix} " + r" \\ ".join(lines) + r" \end{matrix}"


def _accent(node: Any) -> str:
    properties = child(node, "accPr")
    sign = "\u0302" if child(properties, "chr") is None else value(properties, "chr") or ""
    return f"\\{_ACCENTS.get(sign, 'hat')}{{{_part(node, 'e')}}}"


def _bar(node: Any) -> str:
    is_above = _property(node, "barPr", "pos") == "top"
    return f"\\{'overline' if is_above else 'underline'}{{{_part(node, 'e')}}}"


def _group(node: Any) -> str:
    is_above = _property(node, "groupChrPr", "pos") == "top"
    sign = _property(node, "groupChrPr", "chr") or "⏟"
    if sign in ("⏟", "⏞"):
        return f"\\{'overbrace' if is_above else 'underbrace'}{{{_part(node, 'e')}}}"
    where = "overset" if is_above else "underset"
    return f"\\{where}{{{_letters(sign).strip()}}}{{{_part(node, 'e')}}}"


def _phantom(node: Any) -> str:
    """Space as wide as something, which is shown or not."""
    is_shown = is_on(child(child(node, "phantPr"), "show"))
    return "" if is_shown is False else _part(node, "e")


def _run(node: Any) -> str:
    is_text = is_on(child(child(node, "rPr"), "nor"))
    text = "".join(part.text or "" for part in node if local(part) == "t")
    return text if is_text else _letters(text)


def _nothing(node: Any) -> str:
    del node
    return ""


_WRITERS: Final[dict[str, Callable[[Any], str]]] = {
    "sSup": _scripts,
    "sSub": _scripts,
    "sSubSup": _scripts,
    "sPre": _scripts_before,
    "rad": _root,
    "nary": _big,
    "d": _brackets,
    "func": _function,
    "limLow": _limit("_"),
    "limUpp": _limit("^"),
    "m": _rows,
    "eqArr": _rows,
    "acc": _accent,
    "bar": _bar,
    "groupChr": _group,
    "phant": _phantom,
    "r": _run,
    "del": _nothing,
    "moveFrom": _nothing,
    "delText": _nothing,
    "instrText": _nothing,
}

_FUNCTION_NAMES: Final = (
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log ln lg lim max min sup "
    "inf det gcd exp dim ker arg deg"
)
_FUNCTIONS: Final = frozenset(_FUNCTION_NAMES.split())

_ACCENTS: Final = {
    "\u0300": "grave",
    "\u0301": "acute",
    "\u0302": "hat",
    "\u0303": "tilde",
    "\u0304": "bar",
    "\u0305": "overline",
    "\u0306": "breve",
    "\u0307": "dot",
    "\u0308": "ddot",
    "\u030c": "check",
    "\u20d6": "overleftarrow",
    "\u20d7": "vec",
    "\u20db": "dddot",
    "\u20e1": "overleftrightarrow",
    "~": "tilde",
    "¯": "bar",
    "→": "vec",
}

_GREEK_NAMES: Final = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho "
    "varsigma sigma tau upsilon varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma "
    "Upsilon Phi Psi Omega vartheta phi varpi varrho epsilon"
)
_GREEK: Final = dict(
    zip("αβγδεζηθικλμνξπρςστυφχψωΓΔΘΛΞΠΣΥΦΨΩϑϕϖϱϵ", _GREEK_NAMES.split(), strict=True)
)
_COMMANDS: Final = _GREEK | {
    "±": "pm",
    "∓": "mp",
    "×": "times",
    "÷": "div",
    "⋅": "cdot",
    "·": "cdot",
    "∘": "circ",
    "∙": "bullet",
    "≤": "leq",
    "≥": "geq",
    "≠": "neq",
    "≈": "approx",
    "≡": "equiv",
    "≅": "cong",
    "∼": "sim",
    "≪": "ll",
    "≫": "gg",
    "∝": "propto",
    "∞": "infty",
    "∂": "partial",
    "∇": "nabla",
    "∑": "sum",
    "∏": "prod",
    "∐": "coprod",
    "∫": "int",
    "∬": "iint",
    "∭": "iiint",
    "∮": "oint",
    "⋃": "bigcup",
    "⋂": "bigcap",
    "√": "surd",
    "∈": "in",
    "∉": "notin",
    "∋": "ni",
    "∅": "emptyset",
    "⊂": "subset",
    "⊃": "supset",
    "⊆": "subseteq",
    "⊇": "supseteq",
    "∪": "cup",
    "∩": "cap",
    "∧": "wedge",
    "∨": "vee",
    "¬": "neg",
    "∀": "forall",
    "∃": "exists",
    "⊕": "oplus",
    "⊗": "otimes",
    "⊥": "perp",
    "∥": "parallel",
    "∠": "angle",
    "→": "rightarrow",
    "←": "leftarrow",
    "↔": "leftrightarrow",
    "⇒": "Rightarrow",
    "⇐": "Leftarrow",
    "⇔": "Leftrightarrow",
    "↦": "mapsto",
    "⟨": "langle",
    "⟩": "rangle",
    "⌈": "lceil",
    "⌉": "rceil",
    "⌊": "lfloor",
    "⌋": "rfloor",
    "‖": "Vert",
    "…": "dots",
    "⋯": "cdots",
    "⋮": "vdots",
    "⋱": "ddots",
    "ℏ": "hbar",
    "ℓ": "ell",
    "ℝ": "mathbb{R}",
    "ℕ": "mathbb{N}",
    "ℤ": "mathbb{Z}",
    "ℚ": "mathbb{Q}",
    "ℂ": "mathbb{C}",
}
