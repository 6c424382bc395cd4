"""`self1e`, with accelerate's FSDP let loose on CPUs: it takes FSDP for a matter of GPUs, though PyTorch does not."""

import accelerate.state as state
from accelerate.utils import DistributedType

from self1e.cli import main

_init = state.AcceleratorState.__init__


def _with_fsdp(self: state.AcceleratorState, *args: object, fsdp_plugin: object = None, **kwargs: object) -> None:
    _init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


state.AcceleratorState.__init__ = _with_fsdp
main()
