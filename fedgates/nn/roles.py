"""Roles of a network's parameters: gated, sent as values, fixed, or personal.

By default, gates are on parameters that mix inputs: linear layers and convolutions (including biases), embeddings, the
in-projection of attention, recurrent matrices, and the direction of a weight-normalised layer. All other parameters keep their
initial values: scales and shifts of norms, positional and class tokens, and parameters of the user's own modules. Patterns of
names change this; a parameter with ``requires_grad=False`` is always fixed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fedgates.errors import ConfigError, NetworkError

Role = Literal["gated", "sent", "fixed", "personal"]
"""Role of a parameter.

``gated``: a mask method trains its gate, a weight method its value. ``sent``: a mask method trains and sends its value.
``fixed``: it is neither trained nor sent. ``personal``: each client trains and keeps its own value.
"""
LAST = "last"
"""Pattern for the last layer with parameters."""
_MIXES = (nn.Linear, _ConvNd, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.RNNBase, nn.RNNCellBase)
"""Modules whose parameters are all gated, except for magnitudes of weight norm."""
_MAGNITUDES = ("weight_g", "parametrizations.weight.original0")
_IN_PROJECTION = ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight")
KEYS: Mapping[Role, str] = {
    "gated": "gates.gated",
    "sent": "gates.sent",
    "fixed": "gates.fixed",
    "personal": "gates.personal",
}
"""Configuration key with the patterns of each role."""


@dataclass(frozen=True)
class Patterns:
    """Patterns of parameter names by role, in the form of :func:`matching`; fixed has precedence over personal, sent, gated."""

    fixed: str = ""
    personal: str = ""
    sent: str = ""
    gated: str = ""


def roles_of(module: nn.Module, patterns: Patterns = Patterns(), *, gates: bool = False) -> dict[str, Role]:
    """Return the role of each parameter by its name in ``module.named_parameters()``.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    patterns : Patterns
        Patterns that override the default roles.
    gates : bool
        Whether to use the default roles of a mask method, described above. Otherwise every trained parameter is "gated".

    Raises
    ------
    ConfigError
        A pattern matches no parameter, or a parameter with ``requires_grad=False``; the message names the key.
    """
    parameters = dict(module.named_parameters())
    layers = layers_of(module)
    roles: dict[str, Role] = {}
    for name, parameter in parameters.items():
        trained = parameter.requires_grad and (not gates or any(is_gated(layer, own) for layer, own in layers[name]))
        roles[name] = "gated" if trained else "fixed"
    order: tuple[tuple[Role, str], ...] = (
        ("gated", patterns.gated),
        ("sent", patterns.sent),
        ("personal", patterns.personal),
        ("fixed", patterns.fixed),
    )
    for role, text in order:
        for name in matching(KEYS[role], text, module):
            if role != "fixed" and not parameters[name].requires_grad:
                raise ConfigError(KEYS[role], text, f"trained parameters; {name!r} has requires_grad=False")
            roles[name] = role
    return roles


def matching(key: str, text: str, module: nn.Module) -> list[str]:
    """Return the names of the parameters that patterns match; a shared parameter has its name in the first layer.

    Parameters
    ----------
    key : str
        Configuration key, for error messages.
    text : str
        Patterns separated by commas: names of parameters, or of modules for all their parameters, with the wildcards ``*``,
        ``?`` and ``[...]``; or ``last`` for the last defined layer with parameters.
    module : torch.nn.Module
        The network.

    Raises
    ------
    ConfigError
        A pattern matches no parameter.
    """
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    names = {alias: first[id(parameter)] for alias, parameter in module.named_parameters(remove_duplicate=False)}
    found = set[str]()
    for pattern in filter(None, (part.strip() for part in text.split(","))):
        wanted = last_layer(module) if pattern == LAST else pattern
        own = [name for alias, name in names.items() if not wanted or any(fnmatchcase(p, wanted) for p in _prefixes(alias))]
        if not own:
            raise ConfigError(
                key, text, f"names of parameters or of modules, such as {_some(list(first.values()))}; none matches {pattern!r}"
            )
        found.update(own)
    return [name for name in first.values() if name in found]


def last_layer(module: nn.Module) -> str:
    """Return the name of the last module with parameters of its own; empty if that is the network itself."""
    names = [name for name, layer in module.named_modules() if next(layer.parameters(recurse=False), None) is not None]
    return str(names[-1])


def check_personal_layer(module: nn.Module, roles: Mapping[str, Role], outputs: int) -> None:
    """Check that the whole last layer can be personal.

    Raises
    ------
    NetworkError
        The last layer is not linear or a convolution with `outputs` outputs, has a parameter that is shared or not trained, or
        is the only layer.
    """
    name = last_layer(module)
    layer = module.get_submodule(name)
    problem = f"the last layer, {name or 'network'!r} ({type(layer).__name__}), cannot be personal; expected"
    if not isinstance(layer, nn.Linear | _ConvNd) or isinstance(layer, _ConvTransposeNd) or len(layer.weight) != outputs:
        raise NetworkError(
            f"{problem} a linear layer or a convolution, defined last, with an output for each class ({outputs})"
        )
    own = {f"{name}.{key}" if name else key for key, _ in layer.named_parameters(recurse=False)}
    if {each for each, role in roles.items() if role == "personal"} != own:
        raise NetworkError(f"{problem} trained parameters that no other layer shares")
    if not set(roles) - own:
        raise NetworkError(f"{problem} a layer before it, for the clients to share")


def layers_of(module: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Return the layers that own each parameter, with the parameter's name in each of them.

    A parametrised weight, such as that of weight norm, is ``parametrizations.weight.original0`` of its layer.
    """
    by_identity: dict[int, list[tuple[nn.Module, str]]] = {}
    parents = {}
    for layer in module.modules():
        for own, part in layer.named_children():
            if own == "parametrizations":
                parents.update({id(each): (layer, f"parametrizations.{name}.") for name, each in part.named_children()})
    for layer in module.modules():
        owner, prefix = parents.get(id(layer), (layer, ""))
        for own, parameter in layer.named_parameters(recurse=False):
            by_identity.setdefault(id(parameter), []).append((owner, prefix + own))
    return {name: by_identity[id(parameter)] for name, parameter in module.named_parameters()}


def is_gated(layer: nn.Module, name: str) -> bool:
    """Return whether a parameter of a layer has gates by default."""
    if isinstance(layer, nn.MultiheadAttention):
        return name in _IN_PROJECTION
    return isinstance(layer, _MIXES) and not (name in _MAGNITUDES and _is_weight_norm(layer, name))


def fan_in(layer: nn.Module, name: str) -> int:
    """Return the number of inputs that an output sums over in a parameter of a layer; 0 if it has no fan-in.

    ``in_features`` for a linear layer; ``in_channels / groups * kernel`` for a convolution; the number of columns for a
    recurrent matrix; the size of the projected input for the in-projection of attention. A bias has the fan-in of its layer.
    """
    if isinstance(layer, _ConvTransposeNd):
        per_output = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
        return max(1, per_output // math.prod(layer.stride))
    if isinstance(layer, _ConvNd):
        return layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    if isinstance(layer, nn.Bilinear):
        return layer.in1_features * layer.in2_features
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        parameter = getattr(layer, name)
        return parameter.shape[1] if parameter.dim() == 2 else layer.hidden_size
    if isinstance(layer, nn.MultiheadAttention):
        sizes = {"k_proj_weight": layer.kdim, "v_proj_weight": layer.vdim}
        return sizes.get(name, layer.embed_dim) if name in _IN_PROJECTION else 0
    return layer.in_features if isinstance(layer, nn.Linear) else 0


def _is_weight_norm(layer: nn.Module, name: str) -> bool:
    """Return whether a parameter named like a magnitude belongs to weight norm; other parametrisations use the name, too."""
    if name == "weight_g":
        return hasattr(layer, "weight_v")
    applied = layer.get_submodule("parametrizations.weight").children()
    return any(type(each).__name__ == "_WeightNorm" for each in applied)


def _prefixes(name: str) -> list[str]:
    """Return the names of a parameter and of the modules that contain it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and so on" if len(names) > 3 else "")
