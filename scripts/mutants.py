"""Change one thing in a module at a time, and list the changes that no test notices.

    python -m scripts.mutants roberta_sentiment/run/scheduler.py seldon_node/health.py --sample 40

Each change is made in a copy of the working tree and met by the module's own test files (`TESTS`).
A change survives if they pass; one that makes them fail or run too long is caught.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = "numpy hypothesis onnx onnxruntime tokenizers grpc flask requests prometheus_client"
"""Loaded once, before the fork of each run."""
TESTS = {
    "roberta_sentiment/model/layout.py": [
        "tests/roberta_sentiment/model/test_layout.py",
        "tests/roberta_sentiment/model/test_artifact.py",
    ],
    "roberta_sentiment/text/tokenizer.py": [
        "tests/roberta_sentiment/text/test_tokenizer.py",
        "tests/roberta_sentiment/text/test_long_texts.py",
    ],
    "roberta_sentiment/graph/signature.py": [
        "tests/roberta_sentiment/graph/test_signature.py",
        "tests/roberta_sentiment/model/test_exports.py",
    ],
    "seldon_node/feedback.py": [
        "tests/seldon_node/test_feedback.py",
        "tests/seldon_node/test_node.py",
    ],
    "seldon_node/truths.py": [
        "tests/seldon_node/test_truths.py",
        "tests/seldon_node/test_feedback.py",
    ],
}
"""Of modules whose test file has another name, or is slow."""
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    if isinstance(node, (ast.AugAssign, ast.If)):
        yield ast.Pass()
    changed = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            changed.ops = [COMPARISONS[type(op)]()]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS:
            changed.op = OPERATORS[type(op)]()
        case ast.BoolOp():
            changed.op = ast.Or() if isinstance(changed.op, ast.And) else ast.And()
        case ast.UnaryOp(op=ast.Not()):
            changed = changed.operand
        case ast.Constant(value=bool()):
            changed.value = not changed.value
        case ast.Constant(value=int() | float() as number):
            changed.value = number + 1
        case ast.If() | ast.While() if not isinstance(changed.test, ast.Compare):
            changed.test = ast.UnaryOp(ast.Not(), changed.test)
        case ast.Return(value=ast.expr()) if ast.unparse(changed) != "return None":
            changed.value = ast.Constant(None)
        case ast.Expr(value=ast.Call()) | ast.Raise():
            changed = ast.Pass()
        case _:
            return
    yield changed


def places(node: ast.AST) -> Iterator[ast.AST]:
    """A module's nodes without its annotations and string templates."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns") or isinstance(value, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from places(child)


def mutants(source: str) -> list[tuple[int, str, str, str]]:
    """Line, code before and after, and source of each change."""
    found = []
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in places(ast.parse(source)):
        for changed in changes(node):
            assert (
                isinstance(node, (ast.expr, ast.stmt)) and node.end_lineno and node.end_col_offset
            )
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            raw = source.encode()
            after = ast.unparse(ast.fix_missing_locations(changed))
            after = after.replace("\n", "\n" + " " * node.col_offset)
            if isinstance(node, ast.expr):
                after = f"({after})"
            whole = (raw[:start] + after.encode() + raw[end:]).decode()
            found.append((node.lineno, raw[start:end].decode(), after, whole))
    return found


def run_tests(tree: Path, tests: list[str], limit_s: float) -> bool:
    """Whether the tests pass in time, in a process of their own."""
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        out = os.open(tree / "mutants.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(out, 1), os.dup2(out, 2)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        os._exit(pytest.main([*options, *tests]))
    end = time.monotonic() + limit_s
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # servers that a failed test left behind too
    return (ended if ended[0] else os.waitpid(child, 0))[1] == 0


def tests_of(module: str) -> list[str]:
    path = Path(module)
    return TESTS.get(module) or [f"tests/{path.parent}/test_{path.stem}.py"]


def try_module(tree: Path, module: str, sample: int, seed: int) -> None:
    path, source, tests = tree / module, (ROOT / module).read_text(), tests_of(module)
    began = time.monotonic()
    if not run_tests(tree, tests, 300):
        sys.exit(f"{' '.join(tests)} fail without a change:\n{(tree / 'mutants.log').read_text()}")
    limit_s = 10 + 3 * (time.monotonic() - began)
    found = mutants(source)
    chosen = sorted(random.Random(seed).sample(range(len(found)), min(sample, len(found))))
    survivors = 0
    for number in chosen:
        line, before, after, changed = found[number]
        path.write_text(changed)
        os.utime(path, (number + 1, number + 1))  # bytecode is kept by time and size
        if run_tests(tree, tests, limit_s):
            survivors += 1
            print(f"{module}:{line}: {' '.join(before.split())}  ->  {after}", flush=True)
    path.write_text(source)
    print(f"{module}: {len(chosen)} of {len(found)} changes, {survivors} survived", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="+", metavar="MODULE")
    parser.add_argument("--sample", type=int, default=40, help="random changes a module")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # its threads sleep
    for library in LIBRARIES.split():
        importlib.import_module(library)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in listed.stdout.decode().splitlines():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        for module in options.modules:
            try_module(Path(folder), module, options.sample, options.seed)


if __name__ == "__main__":
    main()
