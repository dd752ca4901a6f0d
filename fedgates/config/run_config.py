"""Configuration of a run: the keys that every method shares, and base classes for mask methods and weight methods.

A method declares its own keys in a table beside its code::

    class FadingTable(Table):
        \"\"\"Votes that fade.\"\"\"

        fade: int = key(2, "Votes of earlier rounds are divided by this each round.", ge=1, le=1000)

    class FadingConfig(MaskConfig):
        fading: FadingTable = FadingTable()

Then ``fading.fade`` is a key, and ``config.fading.fade`` its value.
"""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedgates.config.fields import Keys, key
from fedgates.config.names import DEFAULT_STRATEGY, OUTPUT_DIR
from fedgates.config.tables import (
    ClientTable,
    DataTable,
    DensityTable,
    GatesTable,
    LimitsTable,
    PrivacyTable,
    RolesTable,
    ServerTable,
    SGDTable,
    SyntheticTable,
    WireTable,
)

TARGET_ONLY = frozenset(
    f"density.{name}" for name in ("penalty", "entropy-bonus", "entropy-bonus-final", "dual-learning-rate", "dual-restart")
)
"""Keys of the table `density` that are unused in a method with a target but no penalty."""
PENALTY_ONLY = TARGET_ONLY - {"density.penalty"} | {"density.target"}
"""Keys of the table `density` that are unused in a method with a penalty but no target."""


class RunConfig(Keys):
    """Keys that every method shares.

    Attributes
    ----------
    unused : frozenset of str
        Keys of shared tables that the method does not use, such as ``"server.trim"``; they must be at their default.
    default_learning_rate : float
        Learning rate that ``learning-rate = 0`` selects.
    rate_key : str
        Key of the first round's learning rate, named in messages about diverging training.
    requires_density : bool
        Whether the method needs a ``density.target`` above 0.
    """

    strategy: str = key(DEFAULT_STRATEGY, 'The method: a name, or "module:Class" of your own.', check="strategy")
    dataset: str = key(
        "digits",
        'The data set: a name, "npz:/abs/file.npz" or "folder:/abs/dir" of your own, or "devices:28x28x1:10" where only devices'
        " have data (height, width, channels, classes; docs/guides/own_data.md has the form for other data).",
        check="dataset",
        example="npz:/abs/file.npz",
    )
    data_dir: str = key("~/fedgates/data", "Folder to which torchvision's data sets are downloaded.", check="path")
    model: str = key("mlp", 'The network: a name, or "module:function" of your own.', check="model", example="cnn")
    partition: Literal["iid", "dirichlet", "classes"] = key(
        "iid",
        "Division of the training examples among simulated clients: even, by Dirichlet shares of each class, or a few classes"
        " per client.",
    )
    num_server_rounds: int = key(
        30, "Number of rounds, including those before a resume; schedules end at the last one.", ge=1, le=1_000_000, example=100
    )
    stop_accuracy: float = key(
        0.0,
        "Accuracy (r2 for regression) at which the run stops, on the test set or, without one, on the clients' held-out"
        " examples; 0 is off.",
        ge=0,
        le=1,
        example=0.95,
    )
    stop_patience: int = key(
        0,
        "Number of consecutive evaluations without a new best accuracy (or r2; or loss if neither is measured) after which the"
        " run stops; 0 is off.",
        ge=0,
        le=1_000_000,
        example=5,
    )
    keep_best: bool = key(default=False, description="Whether to also keep the checkpoint and the model of the best round.")
    evaluate_every: int = key(
        1, "Rounds between evaluations; the last round is always evaluated.", ge=1, le=1_000_000, example=10
    )
    fraction_train: float = key(1.0, "Share of the clients that train each round.", gt=0, le=1, example=0.2)
    dropout: float = key(
        0.0,
        "Probability that a client sampled for training does not reply, decided by (seed, round, attempt, client); simulations"
        " only.",
        ge=0,
        le=0.99,
        example=0.1,
    )
    fraction_evaluate: float = key(
        0.0,
        "Share of the clients that evaluate the new state on their own test examples, or on a held-out fifth.",
        ge=0,
        le=1,
        example=0.2,
    )
    local_epochs: int = key(3, "Number of passes over a client's own examples in each round.", ge=1, le=1_000_000, example=1)
    batch_size: int = key(16, "Number of examples in a training step.", ge=1, le=1_000_000, example=32)
    learning_rate: float = key(
        0.0,
        "Step size of local training: Adam on the scores for mask methods, SGD on the weights for the others.",
        ge=0,
        method_default=0.0,
        example=0.05,
    )
    learning_rate_final: float = key(
        0.0, "Learning rate of the last round, reached exponentially; 0 keeps the rate constant.", ge=0, example=0.01
    )
    logit_adjustment: float = key(
        0.0,
        "Pseudo-count p of logit adjustment (arXiv 2007.07314): in training, a client adds log((n_c + p) / (n + C p)) to the"
        " logit of each of the C classes, where n_c of its n examples have that class; 0 is off.",
        ge=0,
        le=1_000_000,
        example=0.5,
    )
    loss: str = key(
        "",
        'Training loss of your own, "module:function" of (outputs, y) that returns a scalar tensor (docs/guides/own_loss.md);'
        " empty uses the task's loss.",
        check="reference_or_empty",
        example="my_functions:loss",
    )
    metric: str = key(
        "",
        'Further metrics of evaluations, "module:function" of (predictions, y) that returns a number or a dictionary of numbers'
        " (docs/guides/own_loss.md); empty adds none.",
        check="reference_or_empty",
        example="my_functions:top_3",
    )
    weights: str = key(
        "",
        "A safetensors file with the network's initial weights, of which each device needs a copy (weights-path in its node"
        " config); empty keeps the weights that the network's function returns.",
        check="weights",
        example="/abs/weights.safetensors",
    )
    fresh: str = key(
        "",
        'Parameters excluded from weights and from gates.frozen = "given": names of parameters or modules, with wildcards and'
        ' commas, or "last".',
        example="last",
    )
    personal_epochs: int = key(
        3,
        "Number of passes over a client's own examples that train a personal layer before use.",
        ge=1,
        le=1_000_000,
        example=1,
    )
    precision: Literal["float32", "bfloat16"] = key(
        "float32", "Precision of training; bfloat16 uses autocast and the channels-last memory format."
    )
    seed: int = key(
        1,
        "Seed of all randomness, which is a function of (seed, purpose, round, client); data.seed seeds the data.",
        ge=0,
        le=2**63 - 1,
        example=2,
    )
    uplink: Literal["packed", "entropy", "side-info", "sampled"] = key(
        "side-info",
        "Codec of masks: packed (one bit per gate), entropy (coded by density), side-info (coded given the state and shared"
        " random numbers) or sampled (an index among shared samples).",
    )
    downlink: Literal["votes", "float32", "delta", "relay"] = key(
        "delta",
        "Codec of the state: votes (entropy-coded counts), float32, delta (the smaller of votes and their change since the"
        " client's last state), or relay (the smallest of these and the clients' updates since that state).",
    )
    output_dir: str = key(OUTPUT_DIR, "Folder of the runs; each run has its own subfolder.", check="path")
    trackers: str = key(
        "",
        "Trackers to log each round to: tensorboard, wandb or wandb=entity/project, mlflow or mlflow=URI,"
        ' "module:Class"; separate several with commas (docs/guides/trackers.md).',
        check="trackers",
        example="tensorboard",
    )
    resume: str = key(
        "", "Folder of a stopped run to continue; empty starts a new run.", check="resume", example="~/fedgates/runs/RUN"
    )

    gates: RolesTable = RolesTable()
    data: DataTable = DataTable()
    synthetic: SyntheticTable = SyntheticTable()
    server: ServerTable = ServerTable()
    client: ClientTable = ClientTable()
    wire: WireTable = WireTable()
    privacy: PrivacyTable = PrivacyTable()
    limits: LimitsTable = LimitsTable()

    unused: ClassVar[frozenset[str]] = frozenset({"server.trim", "server.max-norm"})
    rate_key: ClassVar[str] = "learning-rate"
    default_learning_rate: ClassVar[float] = 0.1
    requires_density: ClassVar[bool] = False

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        if not self.learning_rate:
            object.__setattr__(self, "learning_rate", self.default_learning_rate)  # the model is frozen
        return self

    @property
    def class_prior(self) -> float:
        """The pseudo-count of logit adjustment; 0 if it is off."""
        return self.logit_adjustment

    @property
    def data_seed(self) -> int:
        """The seed of the partition and of synthetic data: ``data.seed``, or ``seed`` if that is -1."""
        return self.seed if self.data.seed < 0 else self.data.seed

    def evaluates(self, server_round: int) -> bool:
        """Return whether a round is evaluated: every ``evaluate-every``-th round, and the last."""
        return server_round % self.evaluate_every == 0 or server_round >= self.num_server_rounds

    def progress(self, server_round: int) -> float:
        """Return the position of a round between the first (0) and the last (1); 0 if there is only one round."""
        last = self.num_server_rounds - 1
        return min(1.0, (server_round - 1) / last) if last else 0.0

    @property
    def initial_rate(self) -> float:
        """The learning rate of the first round."""
        return self.learning_rate

    def rate(self, server_round: int) -> float:
        """Return the learning rate of a round: constant, or changing exponentially to ``learning-rate-final``."""
        first, last = self.initial_rate, self.learning_rate_final
        return float(first * (last / first) ** self.progress(server_round)) if last else first


class MaskConfig(RunConfig):
    """Keys of methods whose clients send masks over frozen weights."""

    gates: GatesTable = GatesTable()

    unused = frozenset[str]()


class WeightConfig(RunConfig):
    """Keys of methods that train weights by SGD."""

    sgd: SGDTable = SGDTable()

    unused = frozenset({"wire.sampled-extra-bits", "privacy.flip-probability"})
    default_learning_rate = 0.3


class DensityConfig(RunConfig):
    """Keys of methods that control the density with a multiplier lambda (:mod:`fedgates.methods.density`)."""

    density: DensityTable = DensityTable()

    requires_density = True

    @property
    def default_dual_learning_rate(self) -> float:
        """Step size eta that ``density.dual-learning-rate = 0`` selects."""
        return 1.0

    def bonus(self, server_round: int) -> float:
        """Return tau in a round: it changes linearly from ``density.entropy-bonus`` to ``density.entropy-bonus-final``."""
        first, last = self.density.entropy_bonus, self.density.entropy_bonus_final
        return first + self.progress(server_round) * (last - first)

    def dual_step(self, multiplier: float, density: float) -> float:
        """Return the next lambda: ``max(0, lambda + eta * (density - target))``, or 0 at a restart."""
        excess = density - self.density.target
        if excess <= 0 and self.density.dual_restart:
            return 0.0
        return max(0.0, multiplier + (self.density.dual_learning_rate or self.default_dual_learning_rate) * excess)
