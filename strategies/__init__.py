"""The methods, one paper a file; what they share is in `fedgates.flower`."""

STRATEGIES = {
    "fedpm": "strategies.fedpm:FedPM",
    "fedavg": "strategies.fedavg:FedAvg",
}
"""Name in the config to "module:Class"."""
