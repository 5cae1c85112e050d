#!/bin/sh
# Starts the JupyterLab that hostPath volumes bring: QUARTERMASTER_JUPYTER is its `jupyter` program.
set -eu
: "${QUARTERMASTER_JUPYTER:?names the jupyter program of a mounted virtual environment}"
export JUPYTER_TOKEN="${QUARTERMASTER_CONNECT_TOKEN:-${JUPYTER_TOKEN:-}}"
exec "$QUARTERMASTER_JUPYTER" lab --no-browser --ServerApp.ip=0.0.0.0 --ServerApp.port=8888 \
    --ServerApp.port_retries=0 --ServerApp.base_url="${NB_PREFIX:-/}" \
    --ServerApp.root_dir="$HOME" --ServerApp.allow_remote_access=True --ServerApp.allow_root=True
