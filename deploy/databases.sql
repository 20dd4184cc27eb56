-- One server, a database for MLflow and one for Dagster.
CREATE DATABASE mlflow;
