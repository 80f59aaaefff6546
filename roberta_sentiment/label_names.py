"""Names of labels that differ between models, files and callers, such as NEGATIVE and negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def parse_label_map(text: str, labels: Sequence[str] | None = None) -> dict[str, str]:
    """Read `FROM=TO` pairs, separated by commas.

    Args:
        text: to read.
        labels: that names may stand for; None where they are not known.

    Raises:
        ValueError: a part is not a pair, or a name stands for two labels or for none of them.
    """
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, label = (piece.strip() for piece in part.partition("="))
        if not name or not equals or not label:
            raise ValueError(
                f"{part.strip()[:60]!r} is not of the form FROM=TO, such as LABEL_1=positive"
            )
        if found.setdefault(name, label) != label:
            raise ValueError(f"{name[:60]!r} stands for {found[name][:60]!r} and {label[:60]!r}")
        if labels is not None and label_named(label, labels, {}) is None:
            raise ValueError(f"{label[:60]!r} is not a label; labels are {', '.join(labels)[:150]}")
    return found


def label_named(name: str, labels: Sequence[str], label_map: Mapping[str, str]) -> str | None:
    """The label that a name stands for; None if unknown.

    Args:
        name: in any case, as long as only one label differs from it in nothing else.
        labels: of the model.
        label_map: what other names stand for; it comes first.
    """
    meant = label_map.get(name, name)
    alike = [label for label in labels if label.lower() == meant.lower()]
    return meant if meant in labels else alike[0] if len(alike) == 1 else None
