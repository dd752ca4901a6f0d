"""A Flower grid that calls the ClientApp in this process, for tests, notebooks and studies.

Flower serialises and deserialises every message, so client and server get the same bytes as over a network. Each node keeps its
own state between messages, as under Ray and on devices.
"""

import traceback
from collections.abc import Iterable, Mapping
from itertools import count, islice

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedgates.flower.client_app import GroupingClientApp
from fedgates.types import Value

_CLIENT_RAISED = 2
"""Flower's error code for an exception in a ClientApp."""
_GROUPS_AT_A_TIME = 4
"""Number of groups of `client.train-together` clients to collect, from which clients that can train together are selected."""


class LoopbackGrid(Grid):
    """Grid of clients in this process; with `client.train-together` above 1, several clients train in one pass.

    Parameters
    ----------
    client_app : ClientApp
        The app of all clients.
    run_config : mapping
        The run config passed to the app.
    num_clients : int
        Number of nodes, which get `partition-id` 0 to n - 1 and `num-partitions` n.
    node_configs : sequence of mapping, optional
        The node config of each node; replaces `num_clients`.

    Attributes
    ----------
    simulated : bool
        Whether the nodes share the server's data set; False if all have their own data.
    complete : bool
        Whether all nodes are connected from the start; always True.
    """

    complete = True

    def __init__(
        self,
        client_app: ClientApp,
        run_config: Mapping[str, Value],
        num_clients: int = 0,
        node_configs: Iterable[Mapping[str, Value]] | None = None,
    ) -> None:
        configs = list(node_configs or [{"partition-id": i, "num-partitions": num_clients} for i in range(num_clients)])
        self.simulated = any("num-partitions" in config for config in configs)
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # Flower reads the sender of messages from it
        self.client_app = client_app
        self.contexts = {
            1000 + i: Context(1, 1000 + i, dict(config), RecordDict(), dict(run_config)) for i, config in enumerate(configs)
        }
        together = run_config.get("client.train-together", 1)
        self._together = together if isinstance(together, int) and isinstance(client_app, GroupingClientApp) else 1
        self._answers: dict[str, Message | Exception] = {}
        self._ids = count(1)
        self._replies: dict[str, Message] = {}

    def deliver(self, message: Message) -> Message | None:
        """Return the client's reply to a message, or None if it never answers; tests override this to inject faults."""
        answer = self._answers.pop(message.metadata.message_id, None)
        if answer is None:
            try:
                answer = self.client_app(message, self.contexts[message.metadata.dst_node_id])
            except Exception as error:  # noqa: BLE001  # as in Flower, any exception becomes an error reply
                answer = error
        if isinstance(answer, Message):
            return answer
        reason = "".join(traceback.format_exception_only(answer)).strip()
        return Message(Error(_CLIENT_RAISED, reason), reply_to=message)

    def get_node_ids(self) -> list[int]:
        """Return the node IDs."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Run the client of each message, and return the message IDs."""
        ids, unsent = list[str](), iter(messages)
        while wave := list(islice(unsent, 1 if self._together == 1 else _GROUPS_AT_A_TIME * self._together)):
            ids += self._push(wave)
        return ids

    def _push(self, messages: list[Message]) -> list[str]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"loopback-{next(self._ids)}"
        sent = [_serialised(message) for message in messages]
        to_train = [message for message in sent if message.metadata.message_type == MessageType.TRAIN]
        if self._together > 1 and to_train and isinstance(self.client_app, GroupingClientApp):
            asked = [(message, self.contexts[message.metadata.dst_node_id]) for message in to_train]
            self._answers |= self.client_app.train_together(asked)
        for message in sent:
            reply = self.deliver(message)
            if reply is not None:
                self._replies[message.metadata.message_id] = _serialised(reply)
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to the given messages that have arrived."""
        return [self._replies.pop(message_id) for message_id in list(message_ids) if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages and return the replies; clients answer at once or never, so there is no timeout."""
        del timeout
        return self.pull_messages(self.push_messages(messages))

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a new message; required by Flower's interface, where it is deprecated."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


def _serialised(message: Message) -> Message:
    """Serialise and deserialise a message, so that it shares no objects with the original."""
    return message_from_proto(message_to_proto(message))
