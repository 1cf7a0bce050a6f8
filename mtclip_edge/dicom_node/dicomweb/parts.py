"""The parts of a multipart/related body, one after the other, none larger than a film may be."""

from collections.abc import Iterator
from email.message import Message

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

MOST = 500  # parts of one request


class BadBody(Exception):
    """A body that is no multipart of DICOM parts; ``status``: of HTTP."""

    def __init__(self, what: str, status: int = 400):
        self.status = status
        super().__init__(what)


def boundary_of(content_type: str) -> bytes:
    """Errors: BadBody."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/related":
        raise BadBody("expected multipart/related", 415)
    kind, boundary = message.get_param("type"), message.get_param("boundary")
    if kind not in (None, "application/dicom"):
        raise BadBody("expected parts of type application/dicom", 415)
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise BadBody("expected a boundary of 1 to 70 letters")
    return boundary.encode("latin-1", "replace")


class Parts:
    """Feed it what arrives; it gives parts as they become whole. ``largest``: bytes of one."""

    def __init__(self, boundary: bytes, largest: int):
        self._largest, self._count = largest, 0
        self._part: bytearray | None = None
        self._whole: list[bytes] = []
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Errors: BadBody."""
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise BadBody("its parts cannot be told apart") from None
        yield from self._given()

    def finish(self) -> None:
        """Errors: BadBody where the body ends early."""
        if not self._ended:
            raise BadBody("it ends early")

    def _given(self) -> Iterator[bytes]:
        whole, self._whole = self._whole, []
        yield from whole

    def _begin(self) -> None:
        self._count += 1
        if self._count > MOST:
            raise BadBody(f"more than {MOST} parts", 413)
        self._part = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        if len(self._part) + end - start > self._largest:
            raise BadBody(f"a part of more than {self._largest / 1e6:.0f} MB", 413)
        self._part += data[start:end]

    def _end(self) -> None:
        assert self._part is not None
        self._whole.append(bytes(self._part))
        self._part = None

    def _finish(self) -> None:
        self._ended = True
