"""Reads lakes whose derived table `trips` changed its columns, with pyarrow and with DuckDB.

usage: read_evolved.py FOLDER (of lakes)

Prints one JSON object: per lake and reader the rows in the order of `seq`, each with the table's own
columns, and the columns' types. pyarrow unifies the files' schemas without promotion, so that two files
that disagree about a column's type are an error and not a surprise.
"""
import json
import pathlib
import sys

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

COMMON = {"vehicle_id", "boot_id", "seq", "ts", "ts_us", "clock", "lineage", "dt"}


def plain(value):
    return value.hex() if isinstance(value, (bytes, bytearray)) else value


def by_pyarrow(table):
    files = sorted(table.rglob("*.parquet"))
    schema = pa.unify_schemas([pq.read_schema(f) for f in files])
    rows = ds.dataset([str(f) for f in files], schema=schema).to_table().sort_by("seq").to_pylist()
    return rows, {f.name: str(f.type) for f in schema}


def by_duckdb(table):
    source = f"read_parquet('{table}/*/*.parquet', union_by_name = true, hive_partitioning = false)"
    kinds = duckdb.execute(f"describe select * exclude (ts) from {source}").fetchall()
    names = [name for name, *_ in kinds]
    rows = duckdb.execute(f"select * exclude (ts) from {source} order by seq").fetchall()
    return [dict(zip(names, row)) for row in rows], {name: kind for name, kind, *_ in kinds}


def own(rows, kinds):
    rows = [{name: plain(v) for name, v in row.items() if name not in COMMON} for row in rows]
    return {"rows": rows, "types": {name: kind for name, kind in kinds.items() if name not in COMMON}}


def main(folder):
    out = {}
    for lake in sorted(pathlib.Path(folder).iterdir()):
        table = lake / "trips"
        out[lake.name] = {"pyarrow": own(*by_pyarrow(table)), "duckdb": own(*by_duckdb(table))}
    print(json.dumps(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
