"""Doctor: the checks in order; it skips those that make no sense after an earlier failure."""

import http.client
import json
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from app.doctor.options import Options
from app.doctor.records import Listener, differences, generated_over
from app.doctor.report import Report, milliseconds
from app.doctor.seen import Seen

if TYPE_CHECKING:
    from openai import AzureOpenAI, OpenAIError

PROMPT: Final = "Count from 1 to 60 in digits, a space between them, and say nothing else."
RECORD_S: Final = 30.0
ENOUGH: Final = 8
SPREAD_S: Final = 0.1
BUFFERING_HINT: Final = (
    'In API Management, <forward-request buffer-response="false"/> is needed and bodies must not be logged; other '
    "gateways have a switch for response buffering."
)


class Doctor:
    """Two calls, and the checks before and after them."""

    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report

    def run(self) -> None:
        """Run all checks and write their results to the report. Raises ImportError without the openai package."""
        import openai

        options = self._options
        print(f"{options.url}, deployment {options.deployment}, api-version {options.api_version}\n")
        if not self._reachable():
            return
        self._keys()
        other = {} if options.key_header == "api-key" else {options.key_header: options.key}
        client = openai.AzureOpenAI(
            azure_endpoint=options.url,
            api_key=(options.key if not other else "") or "none",
            api_version=options.api_version,
            max_retries=0,
            timeout=options.seconds,
            default_headers=other,
        )
        hub = self._listener()
        calls = []
        try:
            for name, make in (("call", self._whole), ("stream", self._streamed)):
                try:
                    calls.append(make(client))
                except (openai.OpenAIError, ValueError) as fault:  # ValueError: the response is not JSON
                    self._report.fail(name, _reason(fault))
                    break  # the second call would fail the same way
            if hub is not None and calls:
                self._records(hub, calls)
        finally:
            client.close()
            if hub is not None:
                hub.close()

    def _listener(self) -> Listener | None:
        options = self._options
        if not options.conn_str and not options.namespace:
            self._report.note("records", "not checked: give --hub-conn-str or --hub-namespace to compare them")
            return None
        try:
            return Listener(options.conn_str, options.namespace, options.hub)
        except (ValueError, KeyError):
            why = "--hub-conn-str is not a connection string that names a hub" if options.conn_str else "no --hub-name"
            self._report.fail("records", f"not checked: {why}")
            return None

    def _reachable(self) -> bool:
        try:
            status, body, seconds = self._get("/health/live")
            ready, body, _ = self._get("/health/ready") if status == 200 else (0, b"", 0.0)
        except (OSError, ValueError) as fault:  # URLError is an OSError; ValueError: not a URL
            self._report.fail("reachable", f"no connection: {getattr(fault, 'reason', None) or fault}")
            return False
        if status != 200:
            self._report.note("reachable", f"/health/live responded {status}: does API Management not expose it?")
            return True
        self._report.ok("reachable", f"/health/live responded in {milliseconds(seconds)}")
        try:
            records = json.loads(body)["records"]
            waiting = f"{records['backlog']} records in the backlog, the oldest {records['oldest_seconds']:.0f} s old"
            lost = ", ".join(f"{count} {reason}" for reason, count in records["lost"].items())
        except (ValueError, KeyError, TypeError):
            self._report.fail("ready", f"/health/ready responded {ready}, but not in this proxy's format")
            return True
        (self._report.ok if ready == 200 else self._report.fail)("ready", f"{ready}: {waiting}")
        if lost:
            self._report.note("ready", f"records lost since it started: {lost}")
        return True

    def _keys(self) -> None:
        path = f"/openai/models?api-version={self._options.api_version}"
        try:
            status, _, _ = self._get(path, self._options.key_header, f"wrong-{secrets.token_hex(8)}")
        except OSError as fault:
            self._report.fail("keys", f"no response to a wrong key: {fault}")
            return
        if status in (401, 403):
            self._report.ok("keys", f"a wrong key is refused ({status})")
        elif self._options.key:
            self._report.fail("keys", f"a wrong key is accepted ({status}): anyone could call")
        else:
            self._report.note("keys", f"no key is needed ({status}): anyone who can reach it can call")

    def _get(self, path: str, header: str = "accept", value: str = "application/json") -> tuple[int, bytes, float]:
        """Status, body and seconds. Raises OSError, or ValueError if the URL is invalid."""
        opener = urllib.request.build_opener()
        opener.addheaders = [(header, value)]
        start = time.perf_counter()
        try:
            with opener.open(self._options.url + path, timeout=self._options.seconds) as answer:
                return answer.status, answer.read(), time.perf_counter() - start
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read(), time.perf_counter() - start
        except http.client.HTTPException as fault:
            raise OSError(f"the response is not HTTP ({type(fault).__name__})") from fault

    def _whole(self, client: "AzureOpenAI") -> Seen:
        seen, start = Seen(secrets.token_hex(16), stream=False), time.perf_counter()
        raw = client.chat.completions.with_raw_response.create(
            model=self._options.deployment,
            messages=[{"role": "user", "content": PROMPT}],
            extra_headers=_trace(seen),
        )
        completion = raw.parse()
        seen.end = time.perf_counter() - start
        if not getattr(completion, "choices", None):
            raise ValueError(f"no completion but {raw.headers.get('content-type', 'nothing')}")
        seen.content = completion.choices[0].message.content or ""
        seen.usage = completion.usage.model_dump(exclude_none=True) if completion.usage else None
        usage = completion.usage
        tokens = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else "no usage"
        self._report.ok("call", f"{completion.model} responded after {milliseconds(seen.end)}, {tokens}")
        self._headers("call", seen, raw.headers)
        return seen

    def _streamed(self, client: "AzureOpenAI") -> Seen:
        seen, start = Seen(secrets.token_hex(16), stream=True), time.perf_counter()
        raw = client.chat.completions.with_raw_response.create(
            model=self._options.deployment,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            extra_headers=_trace(seen),
        )
        for chunk in raw.parse():
            at = time.perf_counter() - start
            seen.first_chunk = at if seen.first_chunk is None else seen.first_chunk
            delta = chunk.choices[0].delta if chunk.choices else None
            if delta is not None and delta.content:
                seen.content += delta.content
                seen.tokens_at.append(at)
        seen.end = time.perf_counter() - start
        if not seen.tokens_at:
            self._report.fail("stream", "it ended without text")
            return seen
        self._report.ok(
            "stream",
            f"first chunk after {milliseconds(seen.first_chunk)}, first token after {milliseconds(seen.tokens_at[0])}, "
            f"all {len(seen.tokens_at)} chunks with text after {milliseconds(seen.end)}",
        )
        self._headers("stream", seen, raw.headers)
        self._one_by_one(seen)
        return seen

    def _headers(self, check: str, seen: Seen, headers: Mapping[str, str]) -> None:
        found = headers.get("x-trace-id", "")
        if not re.fullmatch("[0-9a-f]{32}", found):
            self._report.fail(check, "no x-trace-id in the response: this address bypasses the proxy")
        elif found != seen.trace_id:
            self._report.note(check, f"trace {found}: something in between started its own trace")
        else:
            self._report.ok(check, f"trace {found}, region {headers.get('x-ms-region') or 'unknown'}")
        seen.trace_id = found or seen.trace_id

    def _one_by_one(self, seen: Seen) -> None:
        count = len(seen.tokens_at)
        within = milliseconds(seen.tokens_at[-1] - seen.tokens_at[0])
        if count < ENOUGH:
            self._report.note("one by one", f"{count} chunks are too few to tell")
        elif seen.buffered:
            self._report.fail(
                "one by one",
                f"all {count} chunks arrived together, within {within}: something buffers the stream. {BUFFERING_HINT}",
            )
        elif seen.batches <= count / 4:
            self._report.note(
                "one by one",
                f"{count} chunks arrived in {seen.batches} batches within {within}: caused by the content filter "
                "(asynchronous filtering avoids it), or by buffering in between",
            )
        else:
            self._report.ok("one by one", f"{count} chunks arrived in {seen.batches} batches, over {within}")

    def _records(self, hub: Listener, calls: Sequence[Seen]) -> None:
        start = time.perf_counter()
        for seen in calls:
            record = hub.wait(seen.trace_id, RECORD_S - (time.perf_counter() - start))
            name = "of the stream" if seen.stream else "of the call"
            if record is None:
                why = f": {hub.fault}" if hub.fault else f" within {RECORD_S:.0f} s"
                self._report.fail("records", f"no record {name} arrived at the hub{why}")
                continue
            wrong = differences(record, seen)
            if wrong:
                self._report.fail("records", f"the record {name} differs from what was received: {'; '.join(wrong)}")
            else:
                self._report.ok("records", f"the record {name} arrived and matches, usage {record.get('usage_source')}")
            over = generated_over(record)
            if seen.buffered and over is not None and over > SPREAD_S:
                self._report.note(
                    "one by one",
                    f"the proxy sent it over {milliseconds(over)}: the buffering is in front of the proxy",
                )


def _trace(seen: Seen) -> dict[str, str]:
    """A traceparent by which the response and the record can be recognized."""
    return {"traceparent": f"00-{seen.trace_id}-{secrets.token_hex(8)}-01"}


def _reason(fault: "OpenAIError | ValueError") -> str:
    """What went wrong with a call, and the likely cause."""
    import openai

    match fault:
        case openai.APITimeoutError():
            return "no response in time"
        case openai.APIConnectionError():
            return f"the connection failed: {fault.__cause__ or fault}"
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            hint = "the client's key is refused, or the proxy's own key is"
        case openai.NotFoundError():
            hint = "no such deployment, or an api-version without this operation"
        case openai.RateLimitError():
            hint = "the deployment's quota is used up for now"
        case openai.APIStatusError() if fault.status_code in (502, 504):
            hint = "the proxy, or a gateway in front of it, gets no response"
        case _:
            hint = ""
    body = getattr(fault, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return f"{getattr(fault, 'status_code', '')} {said or fault}{f' ({hint})' if hint else ''}".strip()
