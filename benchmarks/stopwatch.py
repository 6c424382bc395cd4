"""How much time of the processor the steps of a training took."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class Stopwatch(TrainerCallback, ExportableState):
    """The seconds of the processor that training steps took, all threads added up, whatever else the machine did.

    Checkpoints keep them, so that a resumed run knows its earlier ones.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {"seconds": self.seconds}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Takes the seconds of the checkpoint.

        Raises:
            RuntimeError: When it has none.
        """
        if state.global_step:
            kept = state.stateful_callbacks.get(type(self).__name__)
            if kept is None:
                raise RuntimeError(f"how long {args.output_dir} was trained is not known: choose another --output")
            self.seconds = kept["attributes"]["seconds"]

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Starts."""
        self._start = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Stops."""
        self.seconds += time.process_time() - self._start
