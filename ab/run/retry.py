"""When to send again, and how long to wait before."""

from __future__ import annotations

import random

from ab.transport.reply import Reply

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0


def pause_s(tries: int, tried: int, reply: Reply) -> float | None:
    """Seconds before the next try; None when there should be none.

    Retry-After counts; without it the pause doubles, with jitter, so that callers that failed
    together don't return together.

    Args:
        tries: of one message, at most.
        tried: tries so far, at least 1.
        reply: the end of the last.
    """
    if reply.is_final or tried >= tries:
        return None
    if reply.retry_after is not None:
        return min(reply.retry_after, _LONGEST_PAUSE_S)
    pause = min(_FIRST_PAUSE_S * 2.0 ** (tried - 1), _LONGEST_PAUSE_S)
    return pause * random.uniform(0.5, 1)  # noqa: S311  spread, not a secret
