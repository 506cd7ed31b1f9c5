"""The notices of a program: what each linked crate is under, and the words that its licence wants to travel with it, as
a Debian copyright file.

Where a crate offers a choice, the one is taken whose text the crate has, the shortest first. Of the Apache License the
text is Debian's own file; it asks for notices only where there is a NOTICE file.
"""

import re
import textwrap
from collections import namedtuple

from supply import programs

# What a text is, by words that no other has. The order is that of preference.
TEXTS = {
    "MIT": r"Permission\s+is\s+hereby\s+granted,\s+free\s+of\s+charge",
    "MIT-0": r"MIT No Attribution",
    "0BSD": r"Permission to use, copy, modify, and/or distribute this software for any\s+purpose with or without fee is hereby granted\.",
    "ISC": r"Permission to use, copy, modify, and/?\s*(?:and|or)/?\s*(?:or)?\s*distribute this software|ISC License",
    "BSD-2-Clause": r"Redistributions? (?:of|in) source",
    "BSD-3-Clause": r"(?s)Redistributions? (?:of|in) source.*(?:Neither the name|names? of)",
    "Zlib": r"provided 'as-is'",
    "BSL-1.0": r"Boost Software License",
    "Unicode-3.0": r"UNICODE LICENSE V3",
    "Unlicense": r"free and unencumbered software",
    "Apache-2.0": r"(?s)Apache License.*Version 2\.0",
    "Apache-2.0 WITH LLVM-exception": r"(?s)Apache License.*LLVM Exceptions",
}
# What stands for the text: its place in Debian, or that none is asked for.
APACHE = "The text of the Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0."
WITHOUT_TEXT = {
    "Apache-2.0": APACHE,
    "Apache-2.0 WITH LLVM-exception": APACHE,
    "0BSD": "Zero-Clause BSD: asks for no notice.",
    "MIT-0": "MIT No Attribution: asks for no notice.",
}
# The whole of the Apache License, which Debian wants to be named and not repeated.
APACHE_TEXT = re.compile(
    r"[ \t]*Apache License\s+Version 2\.0, January 2004.*?END OF TERMS AND CONDITIONS"
    r"(?:\s+APPENDIX: How to apply.*?limitations under the License\.)?",
    re.DOTALL,
)

FILES = re.compile(r"^(?:LICEN[CS]E|COPYING|NOTICE|UNLICENSE|COPYRIGHT)", re.IGNORECASE)
COPYRIGHT = re.compile(r"^\W{0,6}((?:copyright\b(?!\s+(?:notice|holders))|\(c\)|©).*\b(?:\d{4}|by|the|\w+ \w+).*)$", re.IGNORECASE | re.MULTILINE)

# For crates that name MIT and bring no text of it.
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

# `names` are what it is for; `chosen` the licences; `texts` their words.
Notice = namedtuple("Notice", "name chosen copyrights texts")


class Missing(Exception):
    """A licence of which no text can be given."""


def alternatives(expression):
    """An SPDX expression as the sets of licences, each of which is enough."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)

    def either():
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = found + both()
        return found

    def both():
        found = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = [left | right for right in one() for left in found]
        return found

    def one():
        token = tokens.pop(0)
        if token == "(":
            found = either()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(expression)
            return found
        if token in (")", "AND", "OR", "WITH"):
            raise ValueError(expression)
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return [frozenset([token])]

    try:
        found = either()
    except IndexError:
        raise ValueError(expression) from None
    if tokens:
        raise ValueError(expression)
    return found


def is_under(text):
    """The licences that a text gives."""
    found = {name for name, words in TEXTS.items() if re.search(words, text)}
    if "BSD-3-Clause" in found:
        found.discard("BSD-2-Clause")
    return found


def notice(crate):
    """What a crate's licence wants to be said. Raises `Missing` where that cannot be had."""
    if not crate.licence:
        raise Missing(f"{crate.key}: names no licence")
    files = {
        path.name: path.read_text(encoding="utf-8", errors="replace").strip()
        for path in sorted(crate.folder.iterdir())
        if FILES.match(path.name) and path.is_file() and path.suffix != ".rs"
    }
    order = list(TEXTS)
    have = {name for text in files.values() for name in is_under(text)} | set(WITHOUT_TEXT) | {"MIT"}
    possible = [one for one in alternatives(crate.licence) if one <= have]
    if not possible:
        raise Missing(f"{crate.key}: no text of {crate.licence}")
    chosen = min(possible, key=lambda one: sorted(order.index(name) for name in one))
    return notice_of(crate, chosen, files)


def notice_of(crate, chosen, files):
    wanted = sorted(chosen - set(WITHOUT_TEXT))
    texts, copyrights = [], []
    for name, text in files.items():
        if name.upper().startswith("NOTICE") or is_under(text) & set(wanted):
            texts.append(APACHE_TEXT.sub(APACHE, text))
        # The Apache License has an example of a copyright line at its end.
        if "Apache-2.0" not in is_under(text):
            copyrights += [" ".join(found.split()) for found in COPYRIGHT.findall(text)]
    if "MIT" in wanted and not any("MIT" in is_under(text) for text in texts):
        texts.append(MIT.strip())
    if not copyrights:
        copyrights = [", ".join(crate.authors) or f"the authors of {crate.name}"]
    return Notice(crate.key, sorted(chosen), tuple(dict.fromkeys(copyrights)), tuple(dict.fromkeys(texts)))


def part_notice(part, crate):
    texts = [APACHE_TEXT.sub(APACHE, (crate.folder / name).read_text(encoding="utf-8").strip()) for name in part.texts]
    copyrights = [" ".join(found.split()) for text in texts for found in COPYRIGHT.findall(text)]
    return Notice(f"{part.name} {part.version}", [part.licence], tuple(dict.fromkeys(copyrights)), tuple(texts))


def notices(found):
    """Of all that is linked and not ours."""
    for crate in found.values():
        if crate.linked and not crate.ours:
            yield notice(crate)
    for part, crate in programs.parts(found):
        yield part_notice(part, crate)
    yield Notice(
        "the Rust standard library",
        ["MIT"],
        ("The Rust Project Developers, and the authors of " + ", ".join(programs.STANDARD_LIBRARY),),
        (MIT.strip(),),
    )


def copyright_file(head, found):
    """A Debian copyright file: `head`, which is about our own files, and a paragraph for each different notice."""
    groups = {}
    for one in notices(found):
        groups.setdefault((tuple(one.chosen), one.copyrights, one.texts), []).append(one.name)
    paragraphs = [head.strip()]
    for (chosen, copyrights, texts), names in groups.items():
        paragraphs.append(paragraph(names, " and ".join(chosen), copyrights, texts))
    return "\n\n".join(paragraphs) + "\n"


def paragraph(names, licence, copyrights, texts):
    files = [f"vendor/{name.replace(' ', '-').replace('@', '-')}/*" for name in names]
    words = "\n\n".join([*texts, *(said for name, said in WITHOUT_TEXT.items() if name in re.split(" and | AND ", licence))])
    return "\n".join(
        [
            "Files: " + "\n       ".join(textwrap.wrap(" ".join(files), 110, break_long_words=False, break_on_hyphens=False)),
            "Copyright: " + "\n           ".join(copyrights),
            f"License: {licence}",
            *(f" {line.rstrip()}" if line.strip() else " ." for line in words.splitlines()),
        ]
    )
