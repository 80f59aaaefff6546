"""All checks in their order; one whose ground is missing is not run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from roberta_sentiment.errors import SentimentError, first_line
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.verify import files, runs
from roberta_sentiment.tools.verify.result import Result, Status, failed, skipped
from roberta_sentiment.tools.verify.subject import Subject
from roberta_sentiment.tools.verify.testdata import check_test_data


@dataclasses.dataclass(frozen=True)
class Check:
    """A check and what must hold before it says anything.

    Attributes:
        name: for people.
        function: the check.
        needs: names of checks that must not have failed.
    """

    name: str
    function: Callable[[Subject], Result]
    needs: tuple[str, ...] = ()


_DEFAULT = Settings()

FILES, CHECKSUMS, INPUTS = "files", "checksums", "inputs and output"
LABELS, TOKENIZER, TABLES = "labels", "tokenizer", "embedding tables"
FINITE, HEAD, LIMIT = "finite scores", "head", "position limit"
BATCHES, REFERENCE, DATA = "batched equals alone", "published answers", "sample data"

CHECKS = (
    Check(FILES, files.check_files),
    Check(CHECKSUMS, files.check_checksums, (FILES,)),
    Check(INPUTS, files.check_inputs, (CHECKSUMS,)),
    Check(LABELS, files.check_labels, (INPUTS,)),
    Check(TOKENIZER, files.check_tokenizer, (INPUTS,)),
    Check(TABLES, files.check_tables, (INPUTS,)),
    Check(FINITE, runs.check_finite, (LABELS, TOKENIZER, TABLES)),
    Check(HEAD, runs.check_head, (FINITE,)),
    Check(LIMIT, runs.check_position_limit, (FINITE,)),
    Check(BATCHES, runs.check_batches, (LIMIT,)),
    Check(REFERENCE, runs.check_reference, (FINITE,)),
    Check(DATA, check_test_data, (FINITE,)),
)


def verify(path: Path, settings: Settings = _DEFAULT) -> Iterator[tuple[str, Result]]:
    """Check a model directory.

    Args:
        path: the directory.
        settings: of the server.

    Yields:
        Name and result of each check, as soon as it is done.
    """
    subject = Subject(path, settings)
    unmet: set[str] = set()
    for check in CHECKS:
        missing = [name for name in check.needs if name in unmet]
        if missing:
            result = skipped(f"not run, as it builds on: {', '.join(missing)}")
        else:
            result = _run(check, subject)
        if missing or result.status is Status.FAILED:
            unmet.add(check.name)
        yield check.name, result


def _run(check: Check, subject: Subject) -> Result:
    try:
        return check.function(subject)
    except SentimentError as error:
        cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
        return failed(f"{error.message}{cause}")
    except Exception as error:  # whatever is in the directory, the other checks run
        return failed(f"the check itself broke off: {type(error).__name__}: {first_line(error)}")
