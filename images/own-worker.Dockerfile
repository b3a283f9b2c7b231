# A worker's image of your own, with the tools that your repositories need (docs/worker-image.md):
#   docker build --file images/own-worker.Dockerfile --build-arg WORKER_IMAGE=ghcr.io/buremba/peerbot-worker:0.1.0 --tag …
# Take the image of the release that your dispatchers have, and build again with each release.
ARG WORKER_IMAGE
FROM ${WORKER_IMAGE}
USER 0
# Debian's packages come in today's version, with all security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends default-jdk-headless maven postgresql-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 10001:10001
# The build fails here if a worker could not run in this image.
RUN ["/opt/peerbot/bin/peerbot", "worker", "--check"]
