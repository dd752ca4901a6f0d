"""Lines of ``rounds.jsonl`` for tests of what shows them."""


def line(server_round=1, **changes):
    """Return the line of a round, with changed keys."""
    return {
        "round": server_round,
        "seconds": 2.0,
        "accuracy": 0.5,
        "loss": 1.0,
        "density": 0.4567,
        "uplink_bytes": 1_000,
        "downlink_bytes": 3_000,
        "uplink_bpp": 1.0321,
        "downlink_bpp": 3.4567,
        "entropy_bpp": 0.99,
        "clients_selected": 4,
        "clients_counted": 3,
        "clients_rejected": 0,
        "clients_failed": 1,
        "quorum": True,
        "uplink": {"mask, side-info": {"messages": 3, "bytes": 1_000}},
        "downlink": {"votes": {"messages": 4, "bytes": 3_000}},
        "train_loss": 0.7,
        "rejected": {},
        "failed": {},
        **changes,
    }
