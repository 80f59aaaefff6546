"""REST: Seldon's API, and that of the Open Inference Protocol."""

from __future__ import annotations

import dataclasses
import threading

import requests
from urllib3.exceptions import InvalidHeader, MaxRetryError, NewConnectionError
from urllib3.util import Retry

from ab import wire_v2
from ab.endpoint import Endpoint
from ab.transport.reply import Outcome, Reply
from ab.wire import Message, puid_of

CONNECT_TIMEOUT_S = 5.0

_NOT_RUN_REASONS = frozenset({"NOT_READY", "OVERLOADED"})
_DETAIL = 200


class RestTransport:
    """Calls over HTTP, one connection pool a thread.

    Args:
        endpoint: where to.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = (min(CONNECT_TIMEOUT_S, timeout), timeout)
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def predict(self, message: Message) -> Reply:
        """Send a request."""
        if self._endpoint.model is not None:
            return self._post(self._endpoint.infer, wire_v2.infer_request(message))
        return self._post(f"{self._endpoint.base}/api/v1.0/predictions", message)

    def feedback(self, message: Message) -> Reply:
        """Send feedback; any body that comes with 200 is accepted."""
        return self._post(f"{self._endpoint.base}/api/v1.0/feedback", message, needs_body=False)

    def disconnect(self) -> None:
        """Drop this thread's connections; the next call opens a new one."""
        self._session().close()

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions:
            session.close()

    def _post(self, url: str, message: Message, *, needs_body: bool = True) -> Reply:
        puid = puid_of(message)
        headers = {"Seldon-Puid": puid} if puid else {}
        try:
            response = self._session().post(
                url,
                json=message,
                headers={**headers, **dict(self._endpoint.headers)},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return _of_exception(error)
        reply = _of_response(response, needs_body=needs_body)
        if self._endpoint.model is None:
            return reply
        route = response.headers.get(wire_v2.ROUTE, "")
        return dataclasses.replace(reply, message=wire_v2.as_seldon(reply.message, route))

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            self._sessions.append(session)
        return session


def _of_exception(error: requests.RequestException) -> Reply:
    detail = f"{type(error).__name__}: {error}"[:_DETAIL]
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return Reply(Outcome.UNREACHABLE, detail=detail)
    if isinstance(error, requests.Timeout):
        return Reply(Outcome.TIMEOUT, detail=detail)
    return Reply(Outcome.CUT, detail=detail)


def _of_response(response: requests.Response, *, needs_body: bool) -> Reply:
    status = str(response.status_code)
    body = _json(response)
    if response.status_code == requests.codes.ok:
        if body is None and needs_body:
            return Reply(Outcome.CUT, status, detail="the answer is not a JSON object")
        return Reply(Outcome.ANSWERED, status, body or {})
    failure = body.get("status") if body else None
    failure = failure if isinstance(failure, dict) else {"info": (body or {}).get("error")}
    reason, info = str(failure.get("reason", "")), str(failure.get("info") or response.text)
    wait = retry_after(response.headers.get("Retry-After"))
    detail = " ".join(f"{reason} {info}".split())[:_DETAIL]
    return Reply(_outcome(response.status_code, reason, wait), status, body or {}, detail, wait)


def _outcome(status: int, reason: str, wait: float | None) -> Outcome:
    if status == requests.codes.too_many_requests:
        return Outcome.REFUSED
    if status == requests.codes.service_unavailable and (
        wait is not None or reason in _NOT_RUN_REASONS
    ):
        return Outcome.REFUSED
    if requests.codes.bad_request <= status < requests.codes.internal_server_error:
        return Outcome.REJECTED
    return Outcome.FAILED


def retry_after(value: str | None) -> float | None:
    """Seconds to wait from a Retry-After header, a number or a date; None without a right one."""
    try:
        return None if value is None else float(Retry().parse_retry_after(value))
    except InvalidHeader:
        return None


def _json(response: requests.Response) -> dict[str, object] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
