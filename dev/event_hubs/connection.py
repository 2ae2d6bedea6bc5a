"""One connection: its SASL and AMQP layers, sessions, heartbeats, and the faults that affect all of it."""

import asyncio
import socket
import struct
from typing import Final, Literal, cast

from dev.event_hubs.amqp import (
    AMQP_HEADER,
    HEARTBEAT,
    SASL_HEADER,
    Begin,
    Close,
    Frame,
    FrameParser,
    Open,
    Performative,
    ProtocolHeader,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    error_value,
    frame,
)
from dev.event_hubs.amqp_values import AmqpError, symbols
from dev.event_hubs.broker import Broker
from dev.event_hubs.faults import Faults
from dev.event_hubs.session import Session
from dev.event_hubs.token import covers

_MAX_FRAME_SIZE: Final = 65536
_CHANNEL_MAX: Final = 4999
_IDLE_SECONDS: Final = 120.0
_SASL_OK: Final = 0
_SASL_AUTH: Final = 1
_CLOSE_SECONDS: Final = 30.0
"""How long to wait for the peer's close."""


class Connection(asyncio.Protocol):
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.max_frame_size = _MAX_FRAME_SIZE
        self.authorised_paths: set[str] = set()
        self._parser = FrameParser(_MAX_FRAME_SIZE)
        self._sessions: dict[int, Session] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._last_received = self._loop.time()
        self._congested = False
        self._closing = False
        self._silent_since_open = False
        self._frozen = False
        self._unsent: list[bytes] = []

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._silent_since_open = self.broker.faults.silent_open
        self.broker.join(self)
        self._check_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        for session in self._sessions.values():
            session.close()
        self.broker.peers.discard(self)

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        try:
            for item in self._parser.feed(data):
                if self._transport.is_closing():
                    return
                if isinstance(item, ProtocolHeader):
                    self._receive_header(item)
                else:
                    self._receive_frame(item)
        except AmqpError as error:
            self._close(error)

    # Incoming

    def _receive_header(self, header: ProtocolHeader) -> None:
        if header.data == SASL_HEADER:
            self._write(SASL_HEADER)
            self.send(0, SaslMechanisms(symbols("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")))
            return
        self._write(AMQP_HEADER)
        if header.data != AMQP_HEADER:
            # An unsupported protocol header is answered with a supported one (part 2 §2.2).
            self._transport.close()

    def _receive_frame(self, received: Frame) -> None:
        match received.performative:
            case None:
                pass
            case SaslInit():
                self._receive_sasl(received.performative)
            case Close():
                if not self._closing:
                    self.send(0, Close())
                self._transport.close()
            case _ if self._closing:
                pass
            case Open():
                self._receive_open(received.performative)
            case Begin():
                self._sessions[received.channel] = Session(self, received.channel, received.performative)
            case performative if received.channel in self._sessions:
                self._sessions[received.channel].receive(performative, received.payload)

    def _receive_sasl(self, init: SaslInit) -> None:
        code = _SASL_OK
        if init.mechanism == "PLAIN":
            _, name, key = (init.initial_response or b"").split(b"\0", 2)
            if (name.decode(), key.decode()) == (self.broker.key.name, self.broker.key.key):
                self.authorised_paths.add("")
            else:
                code = _SASL_AUTH
        self.send(0, SaslOutcome(code))

    def _receive_open(self, opening: Open) -> None:
        self.max_frame_size = min(_MAX_FRAME_SIZE, opening.max_frame_size or _MAX_FRAME_SIZE)
        self.send(0, Open("event-hubs", None, _MAX_FRAME_SIZE, _CHANNEL_MAX, int(_IDLE_SECONDS * 1000)))
        if opening.idle_timeout:
            self._send_heartbeat(opening.idle_timeout / 2000)

    def is_authorised(self, path: str) -> bool:
        """Whether a token put on this connection covers the path."""
        return any(covers(authorised, path.lower()) for authorised in self.authorised_paths)

    # Outgoing

    @property
    def writable(self) -> bool:
        return not (self._congested or self._frozen or self._closing)

    def send(self, channel: int, performative: Performative, payload: bytes = b"") -> None:
        self._write(frame(channel, performative, payload))

    def _write(self, data: bytes) -> None:
        if self._frozen:
            self._unsent.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def _pump(self) -> None:
        for session in self._sessions.values():
            session.pump()

    def _send_heartbeat(self, seconds: float) -> None:
        self._write(HEARTBEAT)
        self._timers["heartbeat"] = self._loop.call_later(seconds, self._send_heartbeat, seconds)

    def _check_idle(self) -> None:
        """Close after twice the announced idle timeout without a frame (part 2 §2.4.5)."""
        silence = self._loop.time() - self._last_received
        if silence >= 2 * _IDLE_SECONDS and not self._frozen:
            self._close(AmqpError("amqp:connection:forced", "Nothing was received within the idle timeout."))
        self._timers["idle"] = self._loop.call_later(_IDLE_SECONDS, self._check_idle)

    def _close(self, error: AmqpError) -> None:
        """Send the reason and wait for the peer's close: a reset could overtake it."""
        if not self._closing:
            self._closing = True
            self.send(0, Close(error_value(error.condition, error.description)))
            self._timers["close"] = self._loop.call_later(_CLOSE_SECONDS, self._transport.abort)

    def reset(self) -> None:
        """Break the connection like a failing network: send RST and nothing else."""
        if self._transport.is_closing():
            return
        self._closing = True
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # Faults

    def apply(self, faults: Faults) -> None:
        frozen = faults.frozen or (self._silent_since_open and faults.silent_open)
        if frozen == self._frozen:
            return
        self._frozen = frozen
        if frozen:
            self._transport.pause_reading()
            return
        unsent, self._unsent = self._unsent, []
        self._write(b"".join(unsent))
        self._transport.resume_reading()
        self._pump()

    def expire(self, what: Literal["connection", "link"]) -> None:
        if what == "connection":
            self._close(
                AmqpError(
                    "amqp:connection:forced",
                    "The connection was inactive for more than the allowed 300000 milliseconds.",
                )
            )
            return
        for session in self._sessions.values():
            session.expire_links()
