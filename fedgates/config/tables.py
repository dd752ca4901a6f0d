"""Tables of keys that several methods share; a table for a single method is in the method's module."""

from typing import Literal

from fedgates.config.fields import Keys, key
from fedgates.config.names import MAX_GATES

WeightScale = Literal["kaiming", "authors-code", "density"]


class Table(Keys):
    """Base class for tables of keys, ``[tool.flwr.app.config.NAME]`` in ``pyproject.toml``.

    The first line of a table's docstring is its heading in the reference.
    """


class DataTable(Table):
    """Preparation of the data, and their division among simulated clients."""

    seed: int = key(
        -1,
        "Seed of the partition and of the synthetic data sets, so that runs with different seeds can use the same data; -1 uses"
        " seed.",
        ge=-1,
        le=2**63 - 1,
        example=7,
    )
    dirichlet_alpha: float = key(
        0.5,
        'Concentration of partition = "dirichlet": small values give uneven clients, large values even ones.',
        gt=0,
        example=0.1,
    )
    classes_per_client: int = key(
        2, 'Number of classes that each client holds with partition = "classes".', ge=1, le=1_000_000, example=1
    )
    samples_per_client: int = key(
        0, "Largest number of training examples per client; 0 is no limit.", ge=0, le=1_000_000_000, example=60
    )
    task: Literal["auto", "classes", "regression", "multi-label", "positions"] = key(
        "auto",
        "What to predict for an example of your own data; auto decides by dtype and shape of the labels"
        " (docs/guides/own_data.md).",
    )
    standardise: bool = key(
        default=False,
        description="Whether to standardise float32 inputs by the mean and standard deviation of each feature (channel) over"
        " the server's training examples.",
    )
    label: str = key("", "Column of a table to predict; separate several with commas.", example="target")
    features: str = key(
        "",
        "Columns of a table that are inputs, separated by commas; empty uses all other numeric columns, sorted by name.",
        example="age,height",
    )
    test_fraction: float = key(
        0.2, "Share of a table's rows, equal for each class, that become test examples, chosen by data.seed.", gt=0, le=0.9
    )
    resize: str = key(
        "",
        'Height and width to which images are scaled when read, such as "32x32"; empty keeps their size.',
        check="size",
        example="32x32",
    )
    augment: str = key(
        "",
        "Random augmentations of each training image, separated by commas and applied in this order: flip (left to right), crop"
        " (after padding by an eighth), rotate (by up to 10 degrees), trivial (TrivialAugmentWide), erase (a rectangle).",
        check="augmentations",
        example="flip,crop",
    )


class SyntheticTable(Table):
    """Data sets synthetic-linear and synthetic-logistic."""

    features: int = key(1000, "Number of features of an example.", ge=1, le=1_000_000)
    support: int = key(20, "Number of features whose true weight is not zero.", ge=1, le=1_000_000)
    examples: int = key(
        200, "Number of training examples of all clients together; 2,000 test examples are added.", ge=1, le=1_000_000
    )
    noise: float = key(
        0.1,
        "Linear: standard deviation of the noise, where that of the signal is 1; logistic: divisor of the signal that gives the"
        " logit.",
        ge=0,
        le=1000,
    )


class ServerTable(Table):
    """Quorum, timeouts and aggregation."""

    quorum: float = key(
        0.5,
        "Share of the sampled clients whose updates must be accepted; with fewer, the round is repeated from the same state.",
        ge=0,
        le=1,
    )
    max_failed_rounds: int = key(
        3, "Number of attempts without a quorum after which the run ends; it can be resumed.", ge=1, le=1_000_000
    )
    round_timeout: float = key(
        3600.0, "Seconds to wait for the replies of the clients that train, and again for those that evaluate.", gt=0
    )
    min_clients: int = key(
        2,
        "Number of clients that must be available before a round starts; with fewer, the run ends after server.round-timeout"
        " seconds, or at once if no more clients can join.",
        ge=1,
        le=1_000_000,
    )
    trim: float = key(
        0.0,
        "Share of the smallest and of the largest values to drop at each parameter, against a minority of dishonest clients:"
        " trimmed votes, or a trimmed mean of weights.",
        ge=0,
        le=0.49,
        example=0.3,
    )
    max_norm: float = key(
        0.0,
        "Largest L2 norm of the change that a client sends, as a multiple (at least 1) of the round's median; updates above it"
        " are rejected. 0 sets no limit, and there is no limit if the median is 0.",
        ge=0,
        example=4.0,
    )
    max_examples: float = key(
        10.0,
        "Largest weight of a client in a mean, as a multiple of the median number of examples of the round's clients, even if"
        " it reports more.",
        ge=1,
    )
    decoders: int = key(
        0,
        "Number of processes that decode replies, for networks of at least 500,000 parameters with coded masks; 0 is one per"
        " core, at most 8, but in simulations 1, which is the server's own process.",
        ge=0,
        le=1024,
        example=2,
    )


class ClientTable(Table):
    """The process that trains a client."""

    threads: int = key(1, "Number of CPU threads per client, which affects the results; 0 uses all cores.", ge=0, le=1024)
    train_together: int = key(
        1,
        "Number of simulated clients that train together in a process (fedgates.simulate, fedgates compare; not flwr run), if"
        " the network has only linear layers; with 2 or more, sums of floats differ in their last bits.",
        ge=1,
        le=1024,
        example=10,
    )


class DensityTable(Table):
    """Density of masks: a penalty, or a target that a method maintains."""

    target: float = key(
        0.0,
        "Density that the method maintains, or to which fedavg prunes the evaluated model; 0 is no target.",
        ge=0,
        le=1,
        example=0.1,
    )
    penalty: float = key(
        0.0, "Factor lambda of the term lambda * mean(theta) in a client's loss (arXiv 2309.10834).", ge=0, example=1.0
    )
    entropy_bonus: float = key(
        0.0,
        "Factor tau of the gates' entropy in the first round: above 0 gates stay undecided, below 0 they commit.",
        example=0.1,
    )
    entropy_bonus_final: float = key(
        0.0, "Factor tau in the last round; between the first and the last it changes linearly.", example=-0.1
    )
    dual_learning_rate: float = key(
        0.0,
        "Step size eta of the multiplier lambda per round; the method's default is 0.25 / density.target for entropy-gates and"
        " 20 for one-bit-gates.",
        ge=0,
        method_default=0.0,
        example=2.0,
    )
    dual_restart: bool = key(
        default=True, description="Whether to reset the multiplier to 0 when the density is at most the target."
    )


class WireTable(Table):
    """Details of the coding of updates."""

    sampled_extra_bits: float = key(
        5.0,
        'Bits per block that uplink = "sampled" spends beyond the KL divergence; with more bits, samples follow the client\'s'
        " distribution more closely.",
        ge=0,
        le=7.5,
    )
    value_type: Literal["float32", "float16"] = key("float32", "Type of the values that clients of a weight method send.")


class PrivacyTable(Table):
    """Randomized response."""

    flip_probability: float = key(
        0.0,
        "Probability that a client flips a bit of the mask that it sends (docs/explanation/privacy.md).",
        ge=0,
        le=0.49,
        example=0.1,
    )


class LimitsTable(Table):
    """Limits on networks and messages; a device may set lower values in its node config."""

    max_gates: int = key(MAX_GATES, "Largest number of parameters of a network.", ge=1, le=2**32 - 1)
    max_payload_mb: float = key(
        512.0,
        "Largest payload of a message in megabytes (1,000,000 bytes); a longer one is rejected without decoding.",
        gt=0,
    )
    max_decode_mb: float = key(
        2048.0, "Memory for decoding a message, in megabytes; a run whose network needs more does not start.", gt=0
    )
    max_relay_updates: int = key(
        128,
        "Largest number of updates in a relay, and of masks whose random numbers a client regenerates for a delta; a client"
        " rejects more.",
        ge=0,
        le=65_535,
    )


class RolesTable(Table):
    """Which parameters are trained."""

    fixed: str = key(
        "",
        'Parameters that keep their initial values: names of parameters or modules, with wildcards and commas, or "last".',
        example="*norm*",
    )
    personal: str = key(
        "",
        "Parameters that each client trains before use and never sends (docs/guides/personal.md), in the form of gates.fixed:"
        ' "last" for the last layer.',
        example="last",
    )


class GatesTable(RolesTable):
    """Which parameters have gates, the frozen weights, and how masks over them are evaluated."""

    sent: str = key(
        "", "Parameters whose values are trained and sent beside the mask, in the form of gates.fixed.", example="last"
    )
    gated: str = key(
        "",
        "Parameters that have gates in addition to those that have them by default, in the form of gates.fixed.",
        example="*bias",
    )
    frozen: Literal["random", "given"] = key(
        "random",
        "Frozen weights: random signs drawn from the seed, or given values, those of the network's function or of weights.",
    )
    initial_theta: float = key(
        0.95, "Initial probability of gates on given weights; on random weights it is 0.5.", ge=0.5, le=0.999
    )
    sent_learning_rate: float = key(0.02, "Step size of Adam on the values that are sent.", gt=0)
    sent_start: Literal["initial", "class-means"] = key(
        "initial",
        "Initial values of a last layer that is sent: those of the network, or a nearest-class-mean classifier, for which each"
        " client sends the sums of its features once.",
    )
    weight_scale: WeightScale = key(
        "kaiming",
        "Standard deviation of the frozen weights: kaiming sqrt(2 / fan_in), authors-code e / sqrt(fan_in), density"
        " sqrt(2 / (p fan_in)) with p = 0.5.",
    )
    evaluations: str = key(
        "threshold,sample,mean",
        "Models to evaluate: threshold, which gives the metrics of the run, and any of sample, mean and ensemble.",
        check="evaluations",
    )
    ensemble_size: int = key(8, "Number of masks that the ensemble samples.", ge=1, le=1000)


class SGDTable(Table):
    """Local SGD of methods that train weights."""

    momentum: float = key(0.0, "Momentum of a client's SGD.", ge=0, le=0.9999, example=0.9)
    weight_decay: float = key(0.0, "L2 penalty: this multiple of each weight is added to its gradient.", ge=0, example=0.0001)
