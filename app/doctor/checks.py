"""Doctor: the checks, one after the other, as far as the ones before make sense of them."""

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
HELD_S: Final = 0.1
BUFFERS: Final = (
    'In API Management, <forward-request buffer-response="false"/> is needed and bodies must not be logged; other '
    "gateways have a switch for response buffering."
)


class Doctor:
    """Two calls, and what comes before and after them."""

    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report

    def run(self) -> None:
        """Make all checks; what they find goes to the report. Raises ImportError without the openai package."""
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
                except (openai.OpenAIError, ValueError) as fault:  # a ValueError: what came is no JSON
                    self._report.fail(name, _reason(fault))
                    break  # what stops the one stops the other
            if hub is not None and calls:
                self._records(hub, calls)
        finally:
            client.close()
            if hub is not None:
                hub.close()

    def _listener(self) -> Listener | None:
        options = self._options
        if not options.conn_str and not options.namespace:
            self._report.note("records", "not looked for: give --hub-conn-str or --hub-namespace to have them compared")
            return None
        try:
            return Listener(options.conn_str, options.namespace, options.hub)
        except (ValueError, KeyError):
            wanted = "--hub-conn-str is no connection string that" if options.conn_str else "no --hub-name"
            self._report.fail("records", f"not looked for: {wanted} names a hub")
            return None

    def _reachable(self) -> bool:
        try:
            status, body, seconds = self._get("/health/live")
            ready, body, _ = self._get("/health/ready") if status == 200 else (0, b"", 0.0)
        except (OSError, ValueError) as fault:  # URLError is an OSError; ValueError: no URL at all
            self._report.fail("reachable", f"no connection: {getattr(fault, 'reason', None) or fault}")
            return False
        if status != 200:
            self._report.note(
                "reachable", f"something answers, but /health/live with {status}: API Management does not show it?"
            )
            return True
        self._report.ok("reachable", f"/health/live answered in {milliseconds(seconds)}")
        try:
            records = json.loads(body)["records"]
            waiting = f"{records['backlog']} records wait, the oldest for {records['oldest_seconds']:.0f} s"
            lost = ", ".join(f"{count} {reason}" for reason, count in records["lost"].items())
        except (ValueError, KeyError, TypeError):
            self._report.fail("ready", f"/health/ready answered {ready}, and not as this proxy does")
            return True
        (self._report.ok if ready == 200 else self._report.fail)("ready", f"{ready}: {waiting}")
        if lost:
            self._report.note("ready", f"records were lost since it started: {lost}")
        return True

    def _keys(self) -> None:
        path = f"/openai/models?api-version={self._options.api_version}"
        try:
            status, _, _ = self._get(path, self._options.key_header, f"wrong-{secrets.token_hex(8)}")
        except OSError as fault:
            self._report.fail("keys", f"no answer to a wrong key: {fault}")
            return
        if status in (401, 403):
            self._report.ok("keys", f"a wrong key is refused ({status})")
        elif self._options.key:
            self._report.fail("keys", f"a wrong key is let in ({status}): anyone could call")
        else:
            self._report.note("keys", f"let in without a key ({status}): anyone who reaches it can call")

    def _get(self, path: str, header: str = "accept", value: str = "application/json") -> tuple[int, bytes, float]:
        """Status, body and seconds. Raises OSError, or ValueError for what is no URL."""
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
            raise OSError(f"what answers does not speak HTTP ({type(fault).__name__})") from fault

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
            raise ValueError(f"what answers gives no completion but {raw.headers.get('content-type', 'nothing')}")
        seen.content = completion.choices[0].message.content or ""
        seen.usage = completion.usage.model_dump(exclude_none=True) if completion.usage else None
        usage = completion.usage
        tokens = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else "no usage"
        self._report.ok("call", f"{completion.model} answered after {milliseconds(seen.end)}, {tokens}")
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
            self._report.fail("stream", "it ended without any text")
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
            self._report.fail(check, "no x-trace-id in the answer: this address leads past the proxy")
        elif found != seen.trace_id:
            self._report.note(check, f"trace {found}: something on the way began a trace of its own")
        else:
            self._report.ok(check, f"trace {found}, region {headers.get('x-ms-region') or 'unknown'}")
        seen.trace_id = found or seen.trace_id

    def _one_by_one(self, seen: Seen) -> None:
        count = len(seen.tokens_at)
        within = milliseconds(seen.tokens_at[-1] - seen.tokens_at[0])
        if count < ENOUGH:
            self._report.note("one by one", f"{count} chunks are too few to tell")
        elif seen.held:
            self._report.fail(
                "one by one",
                f"all {count} chunks came at once, within {within}: something on the way holds the stream. {BUFFERS}",
            )
        elif seen.lots <= count / 4:
            self._report.note(
                "one by one",
                f"{count} chunks came in {seen.lots} lots within {within}: the content filter's doing (asynchronous "
                "filtering ends it), or that of something on the way",
            )
        else:
            self._report.ok("one by one", f"{count} chunks arrived {seen.lots} times, over {within}")

    def _records(self, hub: Listener, calls: Sequence[Seen]) -> None:
        start = time.perf_counter()
        for seen in calls:
            record = hub.wait(seen.trace_id, RECORD_S - (time.perf_counter() - start))
            name = "of the stream" if seen.stream else "of the call"
            if record is None:
                why = f": {hub.fault}" if hub.fault else f" within {RECORD_S:.0f} s"
                self._report.fail("records", f"none {name} arrived at the hub{why}")
                continue
            wrong = differences(record, seen)
            if wrong:
                self._report.fail("records", f"the one {name} differs from what was seen: {'; '.join(wrong)}")
            else:
                self._report.ok(
                    "records", f"the one {name} arrived and says the same, usage {record.get('usage_source')}"
                )
            over = generated_over(record)
            if seen.held and over is not None and over > HELD_S:
                self._report.note(
                    "one by one",
                    f"the proxy passed it on over {milliseconds(over)}: what holds it stands before the proxy",
                )


def _trace(seen: Seen) -> dict[str, str]:
    """A trace of the doctor's own, to be found again in the answer and at the hub."""
    return {"traceparent": f"00-{seen.trace_id}-{secrets.token_hex(8)}-01"}


def _reason(fault: "OpenAIError | ValueError") -> str:
    """What went wrong with a call, and what it may come from."""
    import openai

    match fault:
        case openai.APITimeoutError():
            return "no answer in time"
        case openai.APIConnectionError():
            return f"the connection failed: {fault.__cause__ or fault}"
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            hint = "the key is not one that is let in, or the proxy's own is not"
        case openai.NotFoundError():
            hint = "no such deployment, or an api-version that does not know the operation"
        case openai.RateLimitError():
            hint = "the deployment's quota is used up for now"
        case openai.APIStatusError() if fault.status_code in (502, 504):
            hint = "the proxy, or what is before it, gets no answer"
        case _:
            hint = ""
    body = getattr(fault, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return f"{getattr(fault, 'status_code', '')} {said or fault}{f' ({hint})' if hint else ''}".strip()
