"""The Flower ServerApp: read the config, run the rounds."""

from fedgates.flower import make_server_app

app = make_server_app()
