"""FLOPs (floating-point operations) of computations, and of a training step kernel by kernel.

One convention holds everywhere. A multiply-add is two FLOPs. Only convolutions, transposed convolutions and matrix
products are counted, in forward, backward and double backward passes, by the formulas of `torch.utils.flop_counter`.
So a transposed convolution counts at the resolution of its input. Biases, norms, activations, losses and optimizers
are not counted. Every product counts in full, even if factors are zero.

Operations for which torch has no formula count as nothing, such as products with a vector, and fused attention on a
CPU. The weight gradient of a grouped convolution counts as if the convolution had no groups.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from workers.models import Family


class FlopCounter(TorchDispatchMode):
    """Counts the FLOPs of everything that runs while it is entered, on any device; `total` is the count so far.

    torch's own FlopCounterMode also tracks modules. Because of that, it fails where `torch.autograd.grad` goes
    through a module whose inputs are leaves.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:
            return self._inside(func, args, kwargs)
        outputs = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=outputs)
        return outputs

    def _inside(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function without a formula, and count the operations that it is composed of."""
        if func is torch.ops.prim.device.default:  # dispatched like an operation, but only reads an attribute
            return func(*args, **kwargs)
        # Under inference_mode, functions such as `linear` arrive whole, and the products are inside them.
        with self:
            outputs = func.decompose(*args, **kwargs)
        return func(*args, **kwargs) if outputs is NotImplemented else outputs


def step_flops(family: Family, image: tuple[int, int, int], batch: int) -> dict[str, float]:
    """The FLOPs of one training step on `batch` images (channels, height, width), by the name of the prunable kernel.

    The step is that of the training loop: every loss in turn, each with its backward pass to the parameters of its
    own phase. If some losses are not due in every step, the FLOPs are the mean over a period of steps. FLOPs of no
    prunable kernel are under the key "", which is missing if there are none. Nothing is really computed: the family
    may be on the meta device, and does not change.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    double = _with_fake_tensors(family, fake)
    with fake, FlopCounter() as counter:
        meters = {name: _Meter(counter) for name in double.kernels()}
        for name, layers in double.layers().items():
            for layer in layers:
                meters[name].attach(layer)
        double.networks.train()
        for step in range(double.period):
            for loss in islice(double.losses(torch.empty(batch, *image), torch.Generator()), double.due(step)):
                loss.value.backward(inputs=double.parameters_of(loss.phase))
    flops = {name: meter.flops for name, meter in meters.items()}
    rest = counter.total - sum(flops.values())
    of_period = flops | {"": rest} if rest else flops
    return {name: count if double.period == 1 else count / double.period for name, count in of_period.items()}


def sparse_flops(per_kernel: Mapping[str, float], densities: Mapping[str, float]) -> float:
    """The FLOPs of a step in theory, if each kernel costs in proportion to its density.

    `per_kernel` comes from `step_flops`. A name without a density, such as "", counts in full.
    """
    return sum(flops * densities.get(name, 1.0) for name, flops in per_kernel.items())


def _with_fake_tensors(family: Family, fake: FakeTensorMode) -> Family:
    """A copy of the family whose weights and buffers are fake tensors: like tensors on the CPU, but without values.

    The meta device does not suffice, because autocast and generators do not support it.
    """
    stand_ins: dict[int, Any] = {}  # the memo of deepcopy: the copy of each tensor by the id of the original
    with fake:
        for parameter in family.networks.parameters():
            stand_in = torch.empty(parameter.shape, dtype=parameter.dtype)
            stand_ins[id(parameter)] = nn.Parameter(stand_in, parameter.requires_grad)
        for buffer in family.networks.buffers():
            stand_ins[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return copy.deepcopy(family, stand_ins)


class _Meter:
    """Measures the FLOPs of layers: it reads a counter when a layer starts and stops, forward and backward.

    `flops` is the total. If gradients are differentiated again, the meter also measures the graph of that pass.
    """

    def __init__(self, counter: FlopCounter) -> None:
        self.flops = 0
        self._counter = counter
        self._began = 0
        self._followed: set[Node | None] = set()

    def attach(self, layer: nn.Module) -> None:
        layer.register_forward_pre_hook(self._start)
        layer.register_forward_hook(lambda _, inputs, output: self._stop((output,), inputs))

    def _start(self, *_: object) -> None:
        self._began = self._counter.total

    def _stop(self, results: Sequence[Tensor | None], sources: Sequence[Tensor | None]) -> None:
        """Add the FLOPs since the start, and attach to the nodes of the graph behind `results`, up to `sources`."""
        self.flops += self._counter.total - self._began
        self._followed |= {source.grad_fn for source in sources if source is not None}
        pending = [result.grad_fn for result in results if result is not None]
        while pending:
            node = pending.pop()
            if node is not None and node not in self._followed:
                self._followed.add(node)
                node.register_prehook(self._start)
                node.register_hook(self._stop)
                pending.extend(following for following, _ in node.next_functions)
