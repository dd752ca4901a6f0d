"""A method of your own: votes that fade, and steps that shrink.

The server halves the votes of all earlier rounds before it adds the new ones, so that theta follows the clients but remembers;
a client's Adam takes smaller steps from round to round.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fedgates.config import number
from fedgates.methods import MaskConfig, MaskMethod, Spec, Task, add_votes, train_epochs
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes


@dataclass(frozen=True)
class FadingConfig(MaskConfig):
    """The keys that the method adds; pyproject.toml may set them."""

    fade: int = number(2, 1, 1000)
    shrink: float = number(0.97, 0, 1, above=True)


class FadingVotes(MaskMethod[FadingConfig]):
    """Two rules; frozen weights, evaluation, coding, checking and resuming are inherited."""

    Config = FadingConfig
    spec = Spec(samples=True)  # a mask is a sample of Update.theta, so every uplink codec may carry it

    def local_update(self, state: Votes, task: Task) -> Update:
        """The client's rule: train scores from the server's theta, send one sample of their probabilities."""
        config, network, gates = self.config, self.network, self.gates
        scores = self.theta(state).clamp_(0.001, 0.999).logit_()
        adam = Adam(scores, network.gradient, learning_rate=config.learning_rate * config.shrink**task.server_round)
        draw = task.generator(config.seed, "masks", network.device)
        loss = train_epochs(
            network,
            task,
            config,
            adam,
            before_forward=lambda: gates.load_sample(scores, draw),
            after_backward=lambda: gates.straight_through(scores),
        )
        return self.sample_update(scores.sigmoid_(), task, loss)

    def aggregate(self, state: Votes, updates: Iterable[Update], server_round: int) -> Votes:  # noqa: ARG002
        """The server's rule: earlier votes fade, new ones are added."""
        fade = self.config.fade
        return add_votes(
            replace(state, votes=state.votes // fade, trials=state.trials // fade), updates, trim=self.config.server.trim
        )
