"""Reads every table of a lake with pyarrow and with DuckDB, two readers that nobody here wrote.

usage: read_tables.py LAKE

Prints one JSON object: per table the row count, the sum of `seq`, of `ts_us`, and of every number
column scaled to an integer, as each reader sees them; exit status 1 where the two differ. Integer sums
do not depend on the order of rows, so a caller can compare them with what it knows went in.
"""
import json
import math
import pathlib
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

SCALE = {"lat": 1e7, "lon": 1e7, "altitude": 100, "speed": 1000, "heading": 100, "hdop": 100}


def scaled(value, name):
    return math.floor(value * SCALE.get(name, 1) + 0.5)


def by_pyarrow(path):
    data = ds.dataset(str(path)).to_table()
    sums = {}
    for field in data.schema:
        column = data.column(field.name)
        if pa.types.is_integer(field.type) or (pa.types.is_floating(field.type) and field.name in SCALE):
            sums[field.name] = sum(scaled(v, field.name) for v in column.to_pylist() if v is not None)
        elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            sums[field.name] = sum(len(v) for v in column.to_pylist() if v is not None)
    return data.num_rows, sums


def by_duckdb(path):
    source = f"read_parquet('{path}/**/*.parquet', hive_partitioning = false)"
    kinds = duckdb.execute(f"describe select * from {source}").fetchall()
    picks = {}
    for name, kind, *_ in kinds:
        if kind in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
            picks[name] = f'sum("{name}"::hugeint)'
        elif kind == "DOUBLE" and name in SCALE:
            picks[name] = f'sum(floor("{name}" * {SCALE[name]} + 0.5)::hugeint)'
        elif kind == "VARCHAR":
            picks[name] = f'sum(length("{name}"))'
    row = duckdb.execute(f"select count(*), {', '.join(picks.values())} from {source}").fetchone()
    return row[0], {name: int(value or 0) for name, value in zip(picks, row[1:])}


def main(lake):
    out, differ = {}, []
    for path in sorted(pathlib.Path(lake).iterdir()):
        if path.name.startswith(("_", ".")) or not path.is_dir():
            continue
        rows, sums = by_pyarrow(path)
        other_rows, other_sums = by_duckdb(path)
        if (rows, sums) != (other_rows, other_sums):
            differ.append({"table": path.name, "pyarrow": [rows, sums], "duckdb": [other_rows, other_sums]})
        out[path.name] = {"rows": rows, "sums": sums}
    print(json.dumps({"tables": out, "differ": differ}))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
