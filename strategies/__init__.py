"""The methods, one paper a file; what they share is in `fedgates.flower`."""

STRATEGIES = {
    "fedpm": "strategies.fedpm:FedPM",
    "fedavg": "strategies.fedavg:FedAvg",
    "entropy-gates": "strategies.entropy_gates:EntropyGates",
    "one-bit-gates": "strategies.one_bit_gates:OneBitGates",
    "sparsyfed": "strategies.sparsyfed:SparsyFed",
    "lips": "strategies.lips:LIPS",
    "topk": "strategies.topk:TopK",
    "signsgd": "strategies.signsgd:SignSGD",
    "fedmask": "strategies.fedmask:FedMask",
    "fediht": "strategies.fediht:FedIHT",
}
"""Name in the config to "module:Class"."""
