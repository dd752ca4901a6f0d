"""Flower's Grid served by calling the ClientApp in this process: for tests and studies, not an engine.

Every message goes through Flower's own serialisation both ways, so what a client sees, and what the server gets back, are the
bytes that would travel; each node keeps its own state between messages, as under Ray and on devices.
"""

import traceback
from collections.abc import Iterable, Mapping
from itertools import count

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedgates.types import Value

_CLIENT_RAISED = 2
"""Flower's error code for an exception in a ClientApp."""


class LoopbackGrid(Grid):
    """A grid of clients in this process.

    Parameters
    ----------
    client_app : ClientApp
        The app under test, unchanged.
    run_config : mapping
        What Flower would give the app as its run config.
    num_clients : int
        Nodes, with `partition-id` 0 to n - 1 and `num-partitions` n.
    node_configs : sequence of mapping, optional
        Instead of the above: a node config for each node.

    Attributes
    ----------
    simulated : bool
        Whether the nodes share the server's data; not if all have their own.
    complete : bool
        Whether all nodes that will ever be are there from the start.
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
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # Flower stamps messages with it
        self.client_app = client_app
        self.contexts = {
            1000 + i: Context(1, 1000 + i, dict(config), RecordDict(), dict(run_config)) for i, config in enumerate(configs)
        }
        self._ids = count(1)
        self._replies: dict[str, Message] = {}

    def deliver(self, message: Message) -> Message | None:
        """Run the client on one message; None is a client that never answers. Tests override it to make faults."""
        context = self.contexts[message.metadata.dst_node_id]
        try:
            return self.client_app(message, context)
        except Exception as error:  # noqa: BLE001  # Flower, too, turns whatever a client raises into an error reply
            reason = "".join(traceback.format_exception_only(error)).strip()
            return Message(Error(_CLIENT_RAISED, reason), reply_to=message)

    def get_node_ids(self) -> list[int]:
        """The nodes."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Give each message an id and run its client."""
        ids = []
        for message in messages:
            message_id = f"loopback-{next(self._ids)}"
            message.metadata.__dict__["_message_id"] = message_id
            ids.append(message_id)
            reply = self.deliver(_travelled(message))
            if reply is not None:
                self._replies[message_id] = _travelled(reply)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies that are there."""
        return [self._replies.pop(message_id) for message_id in list(message_ids) if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, and pull what there is; a client that has not answered never will."""
        del timeout
        return self.pull_messages(self.push_messages(messages))

    def set_run(self, run: Run) -> None:
        """There is one run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that was set."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """As in Flower, where it is deprecated."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)


def _travelled(message: Message) -> Message:
    """The message as it is after a journey: the same bytes, sharing no object with the one that was sent."""
    return message_from_proto(message_to_proto(message))
