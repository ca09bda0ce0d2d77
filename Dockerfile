# The page in a container: docs/deploy.md says how it is built and run. It runs as nobody in particular, on a root file system that
# may be read-only: what it keeps goes to the volume /data, what it does not keep to /tmp.
ARG PYTHON=python:3.12-slim

# the packages are installed apart, so that what only pip needs stays behind
FROM ${PYTHON} AS packages
# where torch is built for CPUs alone, as PyTorch's page on installing names it; what the package index itself has brings several
# gigabytes for GPUs along
ARG TORCH_INDEX=
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /opt/headroles \
    && /opt/headroles/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch' /tmp/requirements.txt)" \
    && /opt/headroles/bin/pip install --no-cache-dir -r /tmp/requirements.txt

FROM ${PYTHON}
WORKDIR /app
COPY --from=packages /opt/headroles /opt/headroles
COPY app.py ./
COPY headroles headroles
# nothing can be compiled later, where the file system is read-only
RUN /opt/headroles/bin/python -m compileall -q app.py headroles \
    && mkdir /data \
    && chown 1000:1000 /data
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_TEMP_DIR=/tmp/gradio \
    HEADROLES_HOME=/data \
    HF_HOME=/data/hub \
    MPLCONFIGDIR=/data/matplotlib \
    XDG_CACHE_HOME=/data/cache
USER 1000:1000
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["/opt/headroles/bin/python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"GRADIO_SERVER_PORT\"]}/gradio_api/app_id', timeout=4)"]
CMD ["/opt/headroles/bin/python", "app.py"]
