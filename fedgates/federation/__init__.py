"""Server, client and rounds of a federation, independent of Flower; they exchange bytes and plain numbers."""

from fedgates.federation.client import Client, ClientStore
from fedgates.federation.client_data import ClientData, device_data, partition_data
from fedgates.federation.membership import Membership, sample_clients
from fedgates.federation.messages import Reply, Request
from fedgates.federation.rounds import Transport, run_rounds
from fedgates.federation.server import Server
from fedgates.federation.together import train_together
from fedgates.runs.callback import Callback
from fedgates.types import Problem

__all__ = [
    "Callback",
    "Client",
    "ClientData",
    "ClientStore",
    "Membership",
    "Problem",
    "Reply",
    "Request",
    "Server",
    "Transport",
    "device_data",
    "partition_data",
    "run_rounds",
    "sample_clients",
    "train_together",
]
