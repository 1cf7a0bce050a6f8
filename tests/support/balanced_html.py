"""HTML is read strictly: what is not balanced fails."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link"}
EVIL = "<script>alert('x')</script> & \"quoted\" 'so'"


class Balanced(HTMLParser):
    """Fails at a tag that closes nothing or the wrong thing; collects tags, ids, attributes and what each element says."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.said.append((self.open[-1] if self.open else "", data))

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.ids += [value or ""] if name == "id" else []
            self.links += (
                [value or ""] if name in ("src", "href", "xlink:href", "action", "data", "srcset") else []
            )
            self.handlers += [name] if name.startswith("on") else []

    @property
    def text(self) -> str:
        return " ".join(" ".join(data for tag, data in self.said if tag != "style").split())
