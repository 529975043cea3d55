# SPDX-License-Identifier: Apache-2.0
"""Writing SVG: shapes and text, one element a line, numbers with two decimals."""

import contextlib
from xml.sax.saxutils import escape, quoteattr

FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
CHARACTER = 0.59  # of the font's size: usual text in the widest of them is narrower on average


def text_width(text, size):
    """At most as many pixels does `text` take."""
    return len(text) * size * CHARACTER


def _attributes(values):
    for key, value in values.items():
        if value is not None:
            if isinstance(value, float):
                value = f"{value:.2f}".rstrip("0").rstrip(".")
            yield f" {key.rstrip('_').replace('_', '-')}={quoteattr(str(value))}"


class Drawing:
    """Elements in the order in which they are drawn. Attributes: class_ is class, data_x data-x."""

    def __init__(self, width):
        self.width = width
        self.height = 0
        self._lines = []

    def element(self, name, body="", title=None, **attributes):
        if title:
            body = f"<title>{escape(title)}</title>{body}"
        start = f"<{name}{''.join(_attributes(attributes))}"
        self._lines.append(f"{start}>{body}</{name}>" if body else f"{start}/>")

    def raw(self, line):
        self._lines.append(line)

    def mark(self):
        """This place in the order."""
        return len(self._lines)

    @contextlib.contextmanager
    def at(self, mark):
        """What is drawn in here comes at that place. Marks behind it are not valid any more."""
        later = self._lines[mark:]
        del self._lines[mark:]
        yield
        self._lines += later

    def rect(self, x, y, width, height, **attributes):
        self.element("rect", x=float(x), y=float(y), width=float(width), height=float(height),
                     **attributes)

    def line(self, x1, y1, x2, y2, **attributes):
        self.element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)

    def text(self, x, y, text, size=12, **attributes):
        self.element("text", escape(text), x=float(x), y=float(y), font_size=size, **attributes)

    def write(self):
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="{FONT}" fill="#1a1a1a">'
        )
        return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *self._lines, "</svg>\n"])
