"""Several processes that train together: features over one dimension of a mesh, rows of the batches over the other.

    torchrun --nproc-per-node 4 -m semascope train … --data-parallel 2

makes a mesh of 2 × 2: neighbours in the dimension "features" have other features and see the same rows, neighbours in
"data" have the same features and see other rows. `semascope.team` says what the exchanges mean; here they are made, by
NCCL between GPUs and by gloo otherwise. Decisions of the host go through gloo in any case: no GPU is waited for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from semascope.errors import ConfigError, ProcessError
from semascope.launch import launched
from semascope.team import ALONE, Item, Key, Team, Value

# How long a process waits for another one: longer than the slowest step, checkpoint or check of a store may take.
PATIENCE = timedelta(minutes=15)


@contextmanager
def joined(*, data_parallel: int = 1, device: str = "auto", patience: timedelta = PATIENCE) -> Generator[Team]:
    """The team of the processes that torchrun started, or that of one where it did not.

    ``data_parallel``: into how many parts the rows of a batch are divided; the features are divided among the processes
    that see the same rows. ``device``: "cpu", or each its own GPU where there are any. Raises ConfigError where that
    does not come out even, ProcessError when another process ends.
    """
    launch = launched()
    if data_parallel < 1 or launch.size % data_parallel:
        raise ConfigError(
            f"{launch.size} processes cannot see a batch in {data_parallel} parts: start a multiple of {data_parallel} "
            "with torchrun --nproc-per-node, or choose another --data-parallel"
        )
    if launch.size == 1:
        yield ALONE
        return
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"each of {launch.size} processes has a device of its own, not {device}: leave --device out")
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        if launch.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {launch.local_rank} of this machine needs a GPU of its own, and PyTorch sees "
                f"{torch.cuda.device_count()}: start at most that many with torchrun --nproc-per-node"
            )
        torch.cuda.set_device(launch.local_rank)
    former = signal.signal(signal.SIGTERM, _end)
    with _loss_is_named(patience):
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=patience)
        mesh = init_device_mesh(
            "cuda" if on_gpus else "cpu",
            (data_parallel, launch.size // data_parallel),
            mesh_dim_names=("data", "features"),
        )
    yield Mesh(mesh.get_group("features"), mesh.get_group("data"), patience)
    # After an error there is nobody to take leave of: the end of the process tells the others.
    dist.destroy_process_group()
    signal.signal(signal.SIGTERM, former)


class Mesh(Team):
    """This process among several. ``bytes_received``: by kind of exchange, counted from the tensors."""

    def __init__(self, features: dist.ProcessGroup, rows: dist.ProcessGroup, patience: timedelta = PATIENCE) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()
        self.feature_parts, self.feature_part = features.size(), features.rank()
        self.row_parts, self.row_part = rows.size(), rows.rank()
        self._features, self._rows, self._all = features, rows, dist.group.WORLD
        self._patience = patience
        self.bytes_received: dict[str, float] = {}
        assert self._all is not None
        for group in (features, rows):
            # PyTorch gives the groups of a mesh its own default.
            dist.distributed_c10d._set_pg_timeout(patience, group)  # pyright: ignore[reportPrivateUsage]

    def sum_features(self, partial: Tensor) -> Tensor:
        return partial if self.feature_parts == 1 else _Sum.apply(partial, self, self._features)

    def sum_rows(self, partial: Tensor) -> Tensor:
        return partial if self.row_parts == 1 else _Sum.apply(partial, self, self._rows)

    def sum_all(self, partial: Tensor) -> Tensor:
        return _Sum.apply(partial, self, self._all)

    def used_by_features(self, parameter: Tensor) -> Tensor:
        return parameter if self.feature_parts == 1 else _Used.apply(parameter, self, self._features)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        if self.row_parts == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                continue
            if not parameter.grad.is_sparse:
                parameter.grad = self.reduce(parameter.grad.contiguous(), self._rows)
                continue
            # The rows that anybody touched, the same list for all, and the sums there.
            gradient = parameter.grad.coalesce()
            touched_F = torch.zeros(len(parameter), dtype=torch.uint8, device=gradient.device)
            touched_F[gradient.indices()[0]] = 1
            rows_T = self.reduce(touched_F, self._rows, dist.ReduceOp.MAX).nonzero().flatten()
            places_F = touched_F.long().cumsum(0) - 1
            sums_TD = gradient.values().new_zeros(len(rows_T), *parameter.shape[1:])
            sums_TD[places_F[gradient.indices()[0]]] = gradient.values()
            self.reduce(sums_TD, self._rows)
            parameter.grad = torch.sparse_coo_tensor(
                rows_T[None], sums_TD, parameter.shape, is_coalesced=True, check_invariants=False
            )

    def norm(self, norms: Sequence[Tensor], held: Sequence[bool]) -> Tensor:
        squares = torch.stack(list(norms)).square()
        own = torch.stack([square for square, by_part in zip(squares, held, strict=True) if by_part]).sum()
        common = [square for square, by_part in zip(squares, held, strict=True) if not by_part]
        return torch.stack([self.sum_features(own), *common]).sum().sqrt()

    def align(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._count("broadcast", tensor, self.rank > 0)
            with _loss_is_named(self._patience):
                dist.broadcast(tensor.detach(), 0)

    def least(self, value: Tensor) -> Tensor:
        return self.reduce(value.clone(), self._all, dist.ReduceOp.MIN)

    def latest(self, value_F: Tensor) -> Tensor:
        return value_F if self.row_parts == 1 else self.reduce(value_F, self._rows, dist.ReduceOp.MAX)

    def by_features(self, count: int) -> list[int]:
        return self._gather(torch.tensor(count), self._features).tolist()

    def total(self, count: int) -> int:
        return int(self.reduce(torch.tensor(count), self._all))

    def total_rows(self, count: int) -> int:
        return count if self.row_parts == 1 else int(self.reduce(torch.tensor(count), self._rows))

    def gather_features(self, values: Tensor) -> Tensor:
        return self._gather(values, self._features)

    def gather_all(self, values_K: Tensor) -> Tensor:
        counts = self._gather(torch.tensor(len(values_K)), self._all).tolist()
        padded_K = values_K.new_zeros(max(counts))
        padded_K[: len(values_K)] = values_K
        gathered = self._gather(padded_K, self._all)
        return torch.cat([values[:count] for values, count in zip(gathered, counts, strict=True)])

    def compute_each(
        self, items: Iterable[Item], compute: Callable[[Item], Mapping[Key, Tensor]]
    ) -> Iterator[tuple[Item, Mapping[Key, Tensor]]]:
        remaining = iter(items)
        while turn := list(islice(remaining, self.size)):
            own = {key: t.contiguous() for key, t in compute(turn[self.rank]).items()} if self.rank < len(turn) else {}
            described: list[Any] = [None] * self.size
            with _loss_is_named(self._patience):
                dist.all_gather_object(described, [(key, t.shape, t.dtype, t.device.type) for key, t in own.items()])
            for source, item in enumerate(turn):
                found: dict[Key, Tensor] = {}
                for key, shape, dtype, device in described[source]:
                    found[key] = own[key] if source == self.rank else torch.empty(shape, dtype=dtype, device=device)
                    self._count("broadcast", found[key], source != self.rank)
                    with _loss_is_named(self._patience):
                        dist.broadcast(found[key], source)
                yield item, found

    def agree(self, value: Value) -> Value:
        said = [value]
        with _loss_is_named(self._patience):
            dist.broadcast_object_list(said, 0)
        return said[0]

    def wait(self) -> None:
        self.total(0)

    def reduce(
        self, tensor: Tensor, group: dist.ProcessGroup | None, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM
    ) -> Tensor:
        """Reduce a tensor over a group, in place."""
        self._count("all-reduce", tensor, 2 * (1 - 1 / dist.get_world_size(group)))
        with _loss_is_named(self._patience):
            dist.all_reduce(tensor, operation, group)
        return tensor

    def _gather(self, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        gathered = tensor.new_empty(dist.get_world_size(group), *tensor.shape)
        self._count("all-gather", tensor, len(gathered) - 1)
        with _loss_is_named(self._patience):
            dist.all_gather(list(gathered.unbind()), tensor.contiguous(), group)
        return gathered

    def _count(self, kind: str, tensor: Tensor, times: float) -> None:
        self.bytes_received[kind] = self.bytes_received.get(kind, 0) + times * tensor.nbytes


class _Sum(torch.autograd.Function):
    """The sum over a group; its gradient is that of every summand."""

    @staticmethod
    def forward(ctx: Any, partial: Tensor, mesh: Mesh, group: dist.ProcessGroup) -> Tensor:
        del ctx
        return mesh.reduce(partial.contiguous().clone(), group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        del ctx
        return gradients[0], None, None


class _Used(torch.autograd.Function):
    """The tensor itself; its gradient is the sum of what each of the group has."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, mesh: Mesh, group: dist.ProcessGroup) -> Tensor:
        ctx.mesh, ctx.group = mesh, group
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.mesh.reduce(gradients[0].contiguous().clone(), ctx.group), None, None


@contextmanager
def _loss_is_named(patience: timedelta) -> Generator[None]:
    """What PyTorch raises when another process is gone, as our error."""
    try:
        yield
    except RuntimeError as error:
        late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
        how = f"does not answer since {patience.total_seconds() / 60:g} minutes" if late else "ended"
        raise ProcessError(f"another process of this training {how}") from error


def _end(number: int, frame: object) -> None:
    """torchrun ends the others with SIGTERM when one process has failed."""
    del number, frame
    raise ProcessError("torchrun ended this process, because another one failed or it was told to")
