# A device: Flower's SuperNode, with the packages of the dependency group "device". Build it in the repository's root:
#   docker build -f deploy/device.Dockerfile -t fedgates-device .
FROM python:3.11-slim-bookworm

RUN pip install --no-cache-dir "uv==0.13.*" \
    && useradd --create-home --uid 10001 fedgates \
    && install -d -o fedgates -g fedgates -m 750 /var/lib/fedgates

WORKDIR /opt/fedgates
COPY pyproject.toml ./
COPY deploy/supernode.sh deploy/supernode.sh
RUN uv venv && uv pip install --no-cache --torch-backend cpu --group device

ENV PATH=/opt/fedgates/.venv/bin:$PATH \
    FLWR_HOME=/var/lib/fedgates/flwr \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1
USER 10001
VOLUME /var/lib/fedgates
ENTRYPOINT ["deploy/supernode.sh", "/var/lib/fedgates/device"]
