"""FrameReader: follows the bytes of one direction of a WebSocket connection (RFC 6455 §5.2) and changes none.

It gives whole text messages, but of sound only the size: nothing else is read of it, and it is nearly all there is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TEXT: Final = 0x1
CLOSE: Final = 0x8
PREFIX: Final = 512
"""Bytes of a message by which it is told whether it is sound."""
MAX_READ: Final = 16 * 1024 * 1024
"""Limit on a message that is read; it passes all the same."""
_SOUND: Final = re.compile(
    rb'\s*\{[^{}\[\]]*?"type"\s*:\s*"(?:input_audio_buffer\.append|response\.(?:output_)?audio\.delta)"'
    rb'|\s*\{\s*(?:"event_id"\s*:\s*"[^"]*"\s*,\s*)?"audio"\s*:\s*"'
)
_CONTENT: Final = re.compile(rb'"(?:audio|delta)"\s*:\s*"')
_TYPE: Final = re.compile(rb'"type"\s*:\s*"([\w.]+)"')
_APPEND: Final = b"input_audio_buffer.append"


@dataclass(frozen=True, slots=True)
class Message:
    """A text message, whole, or what its beginning tells of one that is sound or too long to read."""

    text: bytes
    whole: bool
    sound_bytes: int = 0
    """The sound in it, decoded."""


class FrameReader:
    """Call `feed` for all bytes in order."""

    def __init__(self, max_message: int | None = None) -> None:
        """`max_message` is the limit on a message in bytes, None without one."""
        self._max = max_message
        self._head = bytearray()
        self._left = 0
        self._mask = b""
        self._masked = 0
        self._opcode = 0
        self._final = True
        self._in_frame = False
        self._close = b""
        self._parts: list[bytes] = []
        self._kept = 0
        self._size = 0
        self._text = False
        self._sound: bool | None = None
        self.border = 0
        """In the bytes last fed, where the last whole frame ends; 0 if none does."""
        self.too_large_at: int | None = None
        """In the bytes last fed, where the frame begins that exceeds the limit."""
        self.close_code: int | None = None
        """The code of the close frame that passed: 1005 without one in it (§7.1.5)."""

    @property
    def at_border(self) -> bool:
        """Whether the bytes so far end with a whole frame."""
        return not self._in_frame and not self._head

    def feed(self, data: bytes) -> list[Message]:
        """The messages that end in these bytes."""
        self.border = 0
        return list(self._feed(data))

    def _feed(self, data: bytes) -> Iterator[Message]:
        at, end = 0, len(data)
        while at < end:
            if not self._in_frame:
                began = at - len(self._head)
                at = self._take_head(data, at)
                if not self._in_frame:
                    return
                if self._max is not None and self._size + self._left > self._max:
                    self.too_large_at = max(0, began)
                    return
            taken = min(self._left, end - at)
            if taken:
                self._take(data, at, taken)
                at += taken
                self._left -= taken
            if self._left == 0:
                self._in_frame = False
                self.border = at
                if (message := self._end_frame()) is not None:
                    yield message

    def _take_head(self, data: bytes, at: int) -> int:
        """Read a frame's head, as far as it is there; return where its payload begins."""
        head = self._head
        while True:
            needed = 2
            if len(head) >= 2:
                length = head[1] & 0x7F
                needed = 2 + {126: 2, 127: 8}.get(length, 0) + (4 if head[1] & 0x80 else 0)
                if len(head) >= needed:
                    break
            if at >= len(data):
                return at
            more = data[at : at + needed - len(head)]
            head += more
            at += len(more)
        extended = {126: 2, 127: 8}.get(length, 0)
        self._left = int.from_bytes(head[2 : 2 + extended]) if extended else length
        self._mask, self._masked = bytes(head[2 + extended : needed]), 0
        opcode, self._final = head[0] & 0x0F, bool(head[0] & 0x80)
        if 0 < opcode < CLOSE:
            self._text = opcode == TEXT
        self._opcode = opcode
        self._in_frame = True
        head.clear()
        return at

    def _take(self, data: bytes, at: int, size: int) -> None:
        """Keep what will be read of a payload."""
        if self._opcode >= CLOSE:
            if self._opcode == CLOSE:
                self._close += self._unmasked(data[at : at + size], self._masked)
            self._masked += size
            return
        if self._text and not self._sound and self._kept < MAX_READ:
            wanted = size if self._sound is False else min(size, max(0, PREFIX - self._kept))
            self._keep(data, at, wanted)
            if self._sound is None and self._kept >= PREFIX:
                self._sound = _SOUND.match(b"".join(self._parts)) is not None
                if not self._sound:
                    self._keep(data, at + wanted, size - wanted, self._masked + wanted)
        self._masked += size
        self._size += size

    def _keep(self, data: bytes, at: int, size: int, masked: int | None = None) -> None:
        if size:
            self._parts.append(self._unmasked(data[at : at + size], self._masked if masked is None else masked))
            self._kept += size

    def _unmasked(self, payload: bytes, offset: int) -> bytes:
        if not self._mask:
            return payload
        turn = offset % 4
        mask = self._mask[turn:] + self._mask[:turn]
        size = len(payload)
        key = int.from_bytes((mask * (size // 4 + 1))[:size])
        return (int.from_bytes(payload) ^ key).to_bytes(size)

    def _end_frame(self) -> Message | None:
        if self._opcode >= CLOSE:
            if self._opcode == CLOSE:
                self.close_code = int.from_bytes(self._close[:2]) or 1005
            return None
        if not self._final:
            return None
        text, size, kept, is_text = b"".join(self._parts), self._size, self._kept, self._text
        sound = self._sound
        self._parts, self._size, self._kept, self._sound = [], 0, 0, None
        if not is_text:
            return None
        if sound or (sound is None and _SOUND.match(text)):
            found = _CONTENT.search(text)
            encoded = size - found.end() - 2 if found else 0
            return Message(text[:PREFIX], whole=False, sound_bytes=max(0, encoded) * 3 // 4)
        return Message(text, whole=kept == size)


def type_of(message: Message) -> str:
    """The event's type by the beginning of its message: for messages that are not whole."""
    found = _TYPE.search(message.text)
    return found[1].decode() if found else _APPEND.decode() if b'"audio"' in message.text[:64] else ""


def close_frame(code: int, reason: str, masked: bool) -> bytes:
    """A close frame; a client's is masked, with a key of zeros, since nothing on the way needs protection from it."""
    payload = code.to_bytes(2) + reason.encode()[:123]
    if masked:
        return bytes((0x80 | CLOSE, 0x80 | len(payload))) + b"\0\0\0\0" + payload
    return bytes((0x80 | CLOSE, len(payload))) + payload
