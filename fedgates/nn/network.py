"""Flat vectors over the parameters of any torch network.

A :class:`Network` moves the parameters of a module and their gradients into flat buffers, and makes the module's parameters
views of these; forward and backward are those of the module. There is a buffer for each trained role
(:mod:`fedgates.nn.roles`). A method writes the weights to run as a vector ``[d]`` (``weights``) and reads their gradient as
another (``gradient``). Parameters that are sent as values, and personal parameters, have their own vectors (``tail`` and
``head``), which methods do not see.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fedgates.errors import NetworkError
from fedgates.models.batch_norm import drop_running_statistics
from fedgates.models.modes import parts_in_evaluation_mode, set_mode
from fedgates.models.probe import run
from fedgates.nn.channels_last import Kernel, channels_last, kernels, refresh
from fedgates.nn.copies import GroupedLinear, grouped, linear_layers
from fedgates.nn.flat_parameters import FlatParameters, ParameterSlice
from fedgates.nn.roles import Role, fan_in, layers_of, roles_of
from fedgates.types import TaskKind


class Network:
    """A module whose trained parameters are views of flat vectors.

    Parameters
    ----------
    module : torch.nn.Module
        The module; its trained parameters must be float32, and a parameter that several layers share is counted once. The
        module is modified in place: norms use batch statistics (:func:`fedgates.models.batch_norm.drop_running_statistics`).
        Do not create a second network from the same module, which would take the parameters from the first.
    device : torch.device or str
        Device of the parameters.
    roles : mapping, optional
        Roles of the parameters by name; by default, all trained parameters are "gated" (:func:`fedgates.nn.roles.roles_of`).
    task : str
        Task that the outputs are for (:data:`fedgates.types.TaskKind`).

    Attributes
    ----------
    weights, gradient : Tensor
        Shape ``[d]``, float32: the gated parameters that the module runs with, and the sum of their gradients.
    slices : tuple of ParameterSlice
        Positions of the parameters in ``weights``, in order.
    size : int
        Number of parameters d in ``weights``.
    tail : FlatParameters
        The t parameters that are sent as values.
    head : FlatParameters
        The h personal parameters.
    fixed : tuple of str
        Names of the parameters that are never trained.

    Raises
    ------
    NetworkError
        The module has no parameter to train, or a trained parameter is not float32 or has no shape yet.

    Examples
    --------
    >>> network = Network(nn.Linear(3, 2))
    >>> network.size, [each.name for each in network.slices]
    (8, ['weight', 'bias'])
    >>> _ = network.weights.zero_()
    >>> network(torch.ones(1, 3)).tolist()
    [[0.0, 0.0]]
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device | str = "cpu",
        *,
        roles: Mapping[str, Role] | None = None,
        task: TaskKind = "classes",
    ) -> None:
        self._evaluating = parts_in_evaluation_mode(module)
        drop_running_statistics(module)
        self.module, self.task = module.to(device), task
        self.device = torch.device(device)
        roles = roles_of(module) if roles is None else roles
        parameters = dict(module.named_parameters())
        _check_shapes(parameters, roles)
        if not any(role == "gated" and parameters[name].numel() for name, role in roles.items()):
            raise NetworkError(_nothing_to_train(roles))
        fans = _fans(module)
        self._weights, self.tail, self.head = (
            FlatParameters({name: p for name, p in parameters.items() if roles[name] == role}, fans, self.device)
            for role in ("gated", "sent", "personal")
        )
        self.weights, self.gradient, self.slices = self._weights.values, self._weights.gradient, self._weights.slices
        self.size = len(self.weights)
        self.fixed = tuple(name for name in parameters if roles[name] == "fixed")
        for name in self.fixed:
            parameters[name].requires_grad_(False)  # noqa: FBT003  # torch's stub names no parameter
        self._parameters = parameters
        self._layers = linear_layers(module, {each.name for each in self.slices})
        self._kernels = kernels(module) if self.device.type == "cpu" else set()
        self._channels_last = list[Kernel]()
        self._grouped = list[GroupedLinear]()
        self._buffers = self.weights[None][:0], self.gradient[None][:0]

    @property
    def initial(self) -> Tensor:
        """Initial ``weights`` of the module, ``[d]``."""
        return self._weights.initial

    def zero_gradients(self) -> None:
        """Set all gradients to zero."""
        for flat in (self._weights, self.tail, self.head):
            flat.gradient.zero_()

    @contextmanager
    def channels_last(self) -> Iterator[None]:
        """Run convolutions in the channels-last memory format within the context, which is faster on a CPU."""
        if self._channels_last:
            yield
            return
        found = [
            (self._parameters[each.name], flat.values[each.part].view(each.shape), flat.gradient[each.part].view(each.shape))
            for flat in (self._weights, self.tail, self.head)
            for each in flat.slices
            if each.name in self._kernels
        ]
        try:
            with channels_last(found) as self._channels_last:
                yield
        finally:
            self._channels_last = []

    @property
    def has_copies(self) -> bool:
        """Whether several :meth:`copies` can run together: all parameters are trained and belong to linear layers."""
        return self._layers is not None

    @contextmanager
    def copies(self, count: int) -> Iterator[None]:
        """Make ``weights`` and ``gradient`` ``[count, d]`` within the context, with a row for each copy of the network.

        A single copy is the network itself. Several copies start with undefined weights, run on inputs ``[count * n, ...]``
        with n examples of each copy in turn (:mod:`fedgates.nn.copies`), and get their gradients from :meth:`backward`.
        """
        weights, gradient = self.weights, self.gradient
        try:
            if count == 1:
                self.weights, self.gradient = weights[None], gradient[None]
                yield
                return
            self.weights, self.gradient = (buffer[:count] for buffer in self._buffers_of(count))
            rows = {each.name: (_rows(self.weights, each), _rows(self.gradient, each)) for each in self.slices}
            with grouped(self._layers or {}, rows) as self._grouped:
                yield
        finally:
            self.weights, self.gradient = weights, gradient

    def backward(self, losses: Tensor) -> None:
        """Compute the gradients of several copies from their losses, ``[count]``."""
        losses.sum().backward()  # type: ignore[no-untyped-call]
        for layer in self._grouped:
            layer.end_pass()

    def _buffers_of(self, count: int) -> tuple[Tensor, Tensor]:
        """Return buffers for weights and gradients of at least `count` copies, reused from one group of clients to the next."""
        if len(self._buffers[0]) < count:
            self._buffers = torch.empty(count, self.size, device=self.device), torch.zeros(count, self.size, device=self.device)
        return self._buffers

    def train(self, mode: bool = True) -> None:  # noqa: FBT001, FBT002  # as torch's
        """Put the module into training mode, except for layers that its function has put into evaluation mode."""
        parts = self.module.modules()  # torch's train() would set every submodule in each step, even if nothing changes
        if any(part.training != (mode and part not in self._evaluating) for part in parts):
            set_mode(self.module, training=mode, fixed=self._evaluating)

    def eval(self) -> None:
        """Put the module into evaluation mode."""
        self.train(mode=False)

    @contextmanager
    def only_head(self) -> Iterator[None]:
        """Make backward compute only the gradient of the head within the context."""
        shared = [self._parameters[each.name] for flat in (self._weights, self.tail) for each in flat.slices]
        trained = [parameter for parameter in shared if parameter.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)  # noqa: FBT003
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)  # noqa: FBT003

    def __call__(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Return the outputs with the current weights, logits or numbers, for inputs ``[n, ...]`` (several by name)."""
        refresh(self._channels_last)
        return run(self.module, x)

    def digest(self, *extra: bytes) -> bytes:
        """Return a digest of eight bytes that identifies the network.

        It depends on the names, shapes and roles of the parameters in order, on the values of fixed parameters and of
        persistent buffers, and on `extra` data that server and clients share.

        Raises
        ------
        NetworkError
            A fixed parameter or a buffer is sparse.
        """
        h = hashlib.blake2b(digest_size=8)
        for role, flat in (("", self._weights), ("sent ", self.tail), ("personal ", self.head)):
            for each in flat.slices:
                h.update(f"{role}{each.name}{each.shape};".encode())
        saved = self.module.state_dict(keep_vars=True)
        fixed = [("fixed", name, self._parameters[name]) for name in self.fixed]
        buffers = [("buffer", name, buffer) for name, buffer in self.module.named_buffers() if name in saved]
        for kind, name, value in fixed + buffers:
            if value.layout != torch.strided:
                raise NetworkError(f"{kind} {name!r} has layout {value.layout}, expected torch.strided")
            h.update(f"{kind} {name}{tuple(value.shape)}{value.dtype};".encode())
            h.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        for data in extra:
            h.update(hashlib.blake2b(data, digest_size=16).digest())
        return h.digest()


def _rows(values: Tensor, each: ParameterSlice) -> Tensor:
    return values[:, each.part].view(-1, *each.shape)


def _check_shapes(parameters: Mapping[str, nn.Parameter], roles: Mapping[str, Role]) -> None:
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.UninitializedParameter):
            raise NetworkError(f"parameter {name!r} has no shape yet; run the network once before you federate it")
        if roles[name] != "fixed" and parameter.dtype != torch.float32:
            raise NetworkError(f"parameter {name!r} is {parameter.dtype}, expected torch.float32")


def _nothing_to_train(roles: Mapping[str, Role]) -> str:
    if not roles:
        return "the network has no parameters"
    names = ", ".join([*roles][:3])
    return f"the network has no parameter to train: all of {names}, ... are fixed or sent (add some to gates.gated)"


def _fans(module: nn.Module) -> dict[str, int]:
    return {name: max(fan_in(layer, own) for layer, own in owners) for name, owners in layers_of(module).items()}
