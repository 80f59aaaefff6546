"""MLServer's worker processes end with the main one, which leaves them behind when it is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading

from mlserver import MLModel, ModelSettings
from mlserver.registry import MultiModelRegistry


class EndWithParent(MLModel):  # type: ignore[misc]  # upstream is untyped
    """A model for worker processes alone: MLServer runs no other code of ours in them."""

    async def load(self) -> bool:
        """End this process when its parent has ended."""
        threading.Thread(target=_end_with_parent, daemon=True).start()
        return True


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


async def watch(registry: MultiModelRegistry) -> None:
    """Load that model into the workers, if there are any; those that replace them get it too."""
    settings = ModelSettings(name="end-with-parent", implementation=EndWithParent)
    for hook in registry._on_model_load:
        if hook.__name__ == "load_model":
            await hook(EndWithParent(settings))
