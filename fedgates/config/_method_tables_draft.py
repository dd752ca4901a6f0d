"""Tables and configuration classes of the methods, one section a method, to be moved beside each method's code."""

from typing import Literal

from fedgates.config.fields import key
from fedgates.config.run_config import (
    PENALTY_ONLY,
    TARGET_ONLY,
    DensityConfig,
    MaskConfig,
    RunConfig,
    WeightConfig,
)
from fedgates.config.tables import DensityTable, Table

# --- strategies/fedpm.py


class FedPMTable(Table):
    """FedPM, and the methods that are built on it."""

    straight_through: Literal["identity", "authors-code"] = key(
        "identity", "Gradient of a mask with respect to theta: identity, or multiplied by theta as in the authors' code."
    )
    eps: float = key(
        0.001,
        "Theta is clipped to [eps, 1 - eps] before training; for one-bit-gates the eps of the last round.",
        ge=1e-6,
        le=0.499,
    )
    prior: float = key(1.0, "Both parameters lambda0 of the Beta prior of a gate.", ge=1, le=1_000_000)
    reset_every: int = key(
        0,
        "Rounds between resets of the prior; the method's default is ceil(1 / fraction-train), the authors' code has 1.",
        ge=0,
        le=1_000_000_000,
        method_default=0,
    )
    score_init: Literal["half", "normal"] = key("half", "Start: theta is 0.5 everywhere, or scores are drawn from N(0, 1).")


class FedPMConfig(MaskConfig):
    """Keys of FedPM."""

    density: DensityTable = DensityTable()
    fedpm: FedPMTable = FedPMTable()

    unused = MaskConfig.unused | PENALTY_ONLY


# --- strategies/fedmask.py


class FedMaskConfig(FedPMConfig):
    """Keys of FedMask: FedPM's, with a start that is always normal and masks that are not samples."""

    unused = FedPMConfig.unused | {"fedpm.score-init", "wire.sampled-extra-bits"}


# --- strategies/one_bit_gates.py


class OneBitGatesTable(Table):
    """One-bit gates."""

    initial_eps: float = key(
        0.1, "Eps of the first round, which falls geometrically to fedpm.eps in the last.", ge=1e-6, le=0.499
    )


class OneBitGatesConfig(DensityConfig, FedPMConfig):
    """Keys of one-bit gates: FedPM's, the density control's, and their own."""

    one_bit_gates: OneBitGatesTable = OneBitGatesTable()

    # trimmed votes, or counts corrected for flips, have another mean than theta, whose mean is held
    unused = MaskConfig.unused | {"density.penalty", "server.trim", "privacy.flip-probability"}

    @property
    def default_dual_learning_rate(self) -> float:
        """The same for every target: clipped gates feel little of lambda at any."""
        return 20.0

    def clip(self, server_round: int) -> float:
        """Return the eps of a round: geometric from ``one-bit-gates.initial-eps`` to ``fedpm.eps``."""
        first, last = self.one_bit_gates.initial_eps, self.fedpm.eps
        done = self.progress(server_round) if self.num_server_rounds > 1 else 1.0
        return float(first * (last / first) ** done)


# --- strategies/entropy_gates.py


class EntropyGatesTable(Table):
    """Entropy-regularised L0 gates."""

    gate_learning_rate: float = key(0.1, "Step size of Adam on the gates; learning-rate is that of SGD on the weights.", gt=0)
    initial_density: float = key(0.9, "Probability P(z != 0) of every gate before the first round.", ge=0.001, le=0.999)


class EntropyGatesConfig(DensityConfig, WeightConfig):
    """Keys of entropy gates: the weight methods', the density control's, and their own."""

    entropy_gates: EntropyGatesTable = EntropyGatesTable()

    unused = WeightConfig.unused | {"uplink", "density.penalty"}
    default_learning_rate = 0.1

    @property
    def default_dual_learning_rate(self) -> float:
        """In proportion to 1 / target: lambda follows the excess relative to the target."""
        return 0.25 / self.density.target


# --- strategies/fedavg.py


class FedAvgConfig(WeightConfig):
    """Keys of FedAvg."""

    density: DensityTable = DensityTable()

    unused = WeightConfig.unused | TARGET_ONLY | {"uplink"}


# --- strategies/lips.py


class LIPSTable(Table):
    """LIPS."""

    every: int = key(5, "Number of rounds F after which the middle layers start sparse again.", ge=1, le=1_000_000)
    density: float = key(
        0.5, "Density d0 of the middle layers' weights at first, which rises linearly to 1 in the last round.", ge=0, le=1
    )


class LIPSConfig(FedAvgConfig):
    """Keys of LIPS."""

    lips: LIPSTable = LIPSTable()

    unused = FedAvgConfig.unused | {"density.target"}


# --- strategies/topk.py


class TopKConfig(WeightConfig):
    """Keys of Top-K: ``density.target`` is the share of the weights that a client sends."""

    density: DensityTable = DensityTable()

    unused = WeightConfig.unused | TARGET_ONLY
    requires_density = True


# --- strategies/fediht.py


class FedIHTTable(Table):
    """Federated iterative hard thresholding."""

    clients: Literal["never", "round", "step"] = key(
        "never", "When a client cuts its weights to the largest: never, once a round before it sends them, or after every step."
    )


class FedIHTConfig(WeightConfig):
    """Keys of FedIHT: ``density.target`` is k / d."""

    density: DensityTable = DensityTable()
    fediht: FedIHTTable = FedIHTTable()

    unused = WeightConfig.unused | TARGET_ONLY
    requires_density = True


# --- strategies/sparsyfed.py


class SparsyFedTable(Table):
    """SparsyFed."""

    powerprop: float = key(
        1.25, "Exponent beta: the network runs with sign(w) |w|^beta; 1 trains the weights themselves.", ge=1, le=10
    )
    prune: Literal["weights", "update"] = key(
        "weights", "What a client sends the largest of: its trained weights, or their changes."
    )
    prune_activations: bool = key(
        default=True, description="Whether the weights' gradient is computed from the largest activations alone."
    )


class SparsyFedConfig(WeightConfig):
    """Keys of SparsyFed."""

    density: DensityTable = DensityTable()
    sparsyfed: SparsyFedTable = SparsyFedTable()

    unused = WeightConfig.unused | TARGET_ONLY
    default_learning_rate = 0.5
    requires_density = True


# --- strategies/signsgd.py


class SignSGDTable(Table):
    """SignSGD with majority vote."""

    server_learning_rate: float = key(
        0.003, "How far the majority moves a weight in a round; falls as the clients' rate does with learning-rate-final.", gt=0
    )


class SignSGDConfig(WeightConfig):
    """Keys of signSGD, which sends masks and no values."""

    signsgd: SignSGDTable = SignSGDTable()

    unused = (WeightConfig.unused - {"privacy.flip-probability"}) | {"wire.value-type"}
    default_learning_rate = 0.1


# --- strategies/__init__.py, or fedgates/methods/registry.py


def known_configs() -> dict[str, type[RunConfig]]:
    """Return the configuration class of every method that is known by name."""
    return {
        "fedpm": FedPMConfig,
        "fedmask": FedMaskConfig,
        "one-bit-gates": OneBitGatesConfig,
        "entropy-gates": EntropyGatesConfig,
        "sparsyfed": SparsyFedConfig,
        "lips": LIPSConfig,
        "topk": TopKConfig,
        "signsgd": SignSGDConfig,
        "fediht": FedIHTConfig,
        "fedavg": FedAvgConfig,
    }
