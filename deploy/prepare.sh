#!/bin/sh
# Before the processes start, after every upgrade: Dagster's file and tables as this version wants them, and how
# many runs may use an accelerator at once.
set -eu
here=$(dirname "$0")
mkdir -p "$DAGSTER_HOME"
cp "$here/dagster.yaml" "$DAGSTER_HOME/dagster.yaml"
dagster instance migrate
dagster instance concurrency set gpu "${TAMIS_DEVICES:-1}"
