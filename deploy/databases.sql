-- MLflow beside Dagster: one server, a database each.
CREATE DATABASE mlflow;
