"""What our HTML pages share: one file that stands alone, without script, font or picture from anywhere else.

Everything that comes from data goes through ``text``. A content security policy in the page forbids scripts
and the network all the same.
"""

import base64
import re
from html import escape

from ..studies import LABELS

# What HTML cannot hold, or UTF-8 cannot write: a report may hold a NUL, a file name half a character.
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """Data as HTML text or as the value of an attribute."""
    return escape(_NOT_TEXT.sub("\ufffd", str(value)))


def whole_page(title: str, style: str, body: str, scheme: str = "light dark") -> str:
    """A page; ``title`` is data, ``style`` and ``body`` are ours.

    ``scheme``: the color schemes that it has.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        f'content="{scheme}">\n'
        f"<title>{text(title)}</title>\n<style>{BASE}{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{text(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def picture(data: bytes, alt: str) -> str:
    """A PNG or WebP inside the page; ``alt`` is data."""
    kind = "webp" if data[8:12] == b"WEBP" else "png"
    return f'<img alt="{text(alt)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def chip(label: str) -> str:
    """A label with its colour."""
    return f'<span class="chip {label if label in LABELS else "unknown"}">{text(label)}</span>'


BASE = """
:root { --ink: #1b1f24; --soft: #5d6670; --line: #d5dae0; --ground: #fff; --card: #f5f7f9;
  --normal: #0072b2; --abnormal: #c04f00; --unknown: #6b7480; --bad: #b00020; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
overflow-wrap: anywhere; }
main { max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { max-width: 60rem; margin: .3rem 0 .6rem; }
.notice { font-weight: 600; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; } dd ul { margin: 0; padding-left: 1.1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
overflow-wrap: normal; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line);
vertical-align: baseline; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; } tbody th { font-weight: normal; }
.missing { color: var(--soft); font-style: italic; }
.chip { color: #fff; border-radius: 3px; padding: 0 .4rem; font-size: .78rem; font-weight: 600; }
.chip.normal { background: var(--normal); }
.chip.abnormal { background: var(--abnormal); } .chip.unknown { background: var(--unknown); }
@media print { .chip, img { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
