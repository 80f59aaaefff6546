# The image for those without s2i: same code, variables and user. Build it with: make image
# The image of the Open Inference Protocol: docker build --target oip -t roberta-sentiment-oip:0.1.0 .
# The image for NVIDIA GPUs (docs/gpu.md): docker build --target gpu -t roberta-sentiment-gpu:0.1.0 .
FROM python:3.12.13-slim-bookworm@sha256:d50fb7611f86d04a3b0471b46d7557818d88983fc3136726336b2a4c657aa30b AS base

FROM base AS packages
# What the server runs on. requirements.txt adds transformers, for models without tokenizer.json.
ARG REQUIREMENTS=requirements-serving.txt
COPY ${REQUIREMENTS} requirements.txt
RUN python -m venv --without-pip /opt/environment \
    && pip --python /opt/environment/bin/python install --no-cache-dir --no-compile --no-deps \
       --require-hashes -r requirements.txt

FROM base AS oip-packages
COPY requirements-oip.txt requirements.txt
RUN python -m venv --without-pip /opt/environment \
    && pip --python /opt/environment/bin/python install --no-cache-dir --no-compile --no-deps \
       --require-hashes -r requirements.txt

FROM base AS gpu-packages
COPY requirements-gpu.txt requirements.txt
RUN python -m venv --without-pip /opt/environment \
    && pip --python /opt/environment/bin/python install --no-cache-dir --no-compile --no-deps \
       --require-hashes -r requirements.txt

FROM base AS files
WORKDIR /microservice
COPY . .
# COPY keeps the modes of the checkout, which may be closed to the image's user.
RUN chmod -R a+rX,go-w .

FROM base AS init
# As in s2i's image, an init process takes in orphans and passes on signals.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini=0.19.0-1+b3 \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/environment/bin:$PATH
WORKDIR /microservice

FROM init AS oip
COPY --from=oip-packages /opt/environment /opt/environment
COPY --from=files /microservice .
RUN python -c "import mlserver.cli, oip_node.runtime, seldon_node.prepare"
USER 8888
ENTRYPOINT ["tini", "--", "scripts/image_run.sh", "oip"]

FROM init AS gpu
COPY --from=gpu-packages /opt/environment /opt/environment
COPY --from=files /microservice .
RUN python -c "import seldon_core.microservice, Model, seldon_node.prepare, seldon_node.rest_worker, seldon_node.grpc_server"
USER 8888
ENTRYPOINT ["tini", "--", "scripts/image_run.sh"]

FROM init
COPY --from=packages /opt/environment /opt/environment
COPY --from=files /microservice .
# Bytecode of what the server imports, and of nothing else: without it every start takes 2 s of CPU more.
RUN python -c "import seldon_core.microservice, Model, seldon_node.prepare, seldon_node.rest_worker, seldon_node.grpc_server"
USER 8888
# Kubernetes asks by the probes of deployment.yaml instead.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://localhost:' + os.environ.get('PREDICTIVE_UNIT_HTTP_SERVICE_PORT', '9000') + '/health/status', timeout=4)"]
# The variables are those of .s2i/environment, read by this script.
ENTRYPOINT ["tini", "--", "scripts/image_run.sh"]
