"""Images and audio: small pictures, transcripts and speech in valid file formats."""

import base64
import struct
import zlib

from dev.azure_openai.answer import Answer, Prompt, compose, count
from dev.azure_openai.model_request import ModelRequest
from dev.azure_openai.shapes import (
    Event,
    Json,
    Reply,
    Stream,
    Whole,
    encode,
    now,
    prompt_filter,
)

_IMAGE_TOKENS = 272
# An MPEG-1 Layer III frame of silence: 128 kbit/s at 44.1 kHz makes 417 bytes.
_MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)
_FRAMES_PER_WORD = 12


def images_generations(request: ModelRequest) -> Reply:
    """Respond to one request with PNG pictures of one colour. Raises ServiceError."""
    prompt = str(request.required("prompt"))
    compose(Prompt(prompt))
    images = [{"b64_json": _picture(prompt, index)} for index in range(int(request.body.get("n") or 1))]
    if "dall-e" in request.deployment:
        found: Json = {"content_filter_results": prompt_filter(), "prompt_filter_results": prompt_filter()}
        return Whole(
            encode({"created": now(), "data": [found | {"revised_prompt": prompt} | image for image in images]})
        )
    body: Json = {
        "background": "opaque",
        "created": now(),
        "data": images,
        "output_format": "png",
        "quality": request.body.get("quality") or "high",
        "size": request.body.get("size") or "1024x1024",
    }
    if not request.simulation.no_usage:
        words, tokens = count(prompt), _IMAGE_TOKENS * len(images)
        body["usage"] = {
            "input_tokens": words,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": words},
            "output_tokens": tokens,
            "total_tokens": words + tokens,
        }
    return Whole(encode(body))


def transcriptions(request: ModelRequest) -> Reply:
    """Respond to an upload with text that depends on its bytes. Raises ServiceError."""
    sound = request.required("file")
    answer = compose(Prompt(str(zlib.crc32(sound))))
    if request.body.get("response_format") == "text":
        return Whole(answer.text.encode() + b"\n", answer.tokens, "text/plain; charset=utf-8")
    body: Json = {"text": answer.text}
    if request.body.get("response_format") == "verbose_json":
        body |= {
            "task": "transcribe",
            "language": "english",
            "duration": float(answer.tokens),
            "segments": [],
        }
    elif "whisper" not in request.deployment and not request.simulation.no_usage:
        body["usage"] = _transcript_usage(len(sound), answer)
    return Whole(encode(body), answer.tokens)


def _transcript_usage(sound_bytes: int, answer: Answer) -> Json:
    heard = sound_bytes // 1000 + 1
    return {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": answer.tokens,
        "total_tokens": heard + answer.tokens,
    }


def speech(request: ModelRequest) -> Reply:
    """Respond to one request with MP3 frames of silence, more for a longer text. Raises ServiceError."""
    frames = max(count(str(request.required("input"))), 1) * _FRAMES_PER_WORD
    events = (Event(_MP3_FRAME, generated=True) for _ in range(frames))
    return Stream(events, lambda _: b"", content_type="audio/mpeg")


def _picture(prompt: str, index: int) -> str:
    """Return a PNG of 8 by 8 pixels in base64; its colour depends on the prompt."""
    colour = struct.pack(">I", zlib.crc32(f"{prompt}#{index}".encode()))[:3]
    rows = (b"\0" + colour * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    chunks = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(rows)) + _png_chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
