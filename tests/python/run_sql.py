"""Runs the SQL on standard input in DuckDB and prints how many rows each statement gave, a number a line."""

import sys

import duckdb

connection = duckdb.connect()
for statement in connection.extract_statements(sys.stdin.read()):
    # As Arrow, for times as Python objects need more packages.
    print(connection.sql(statement.query).to_arrow_table().num_rows)
