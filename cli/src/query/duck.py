"""Stands in for DuckDB's program: duck.py SCRIPT [table|csv|json SQL]; without SQL it reads what is typed."""
import csv
import json
import sys

import duckdb


def show(relation, form):
    if relation is None:
        return
    if form == "table":
        relation.show(max_rows=1_000_000)
        return
    names = relation.columns
    # Instants as texts: the module hands them out only where yet another one is installed.
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    texts = [f"CAST({q} AS VARCHAR) AS {q}" if "TIME" in str(t) else q for q, t in zip(quoted, relation.types)]
    relation = relation.project(", ".join(texts))
    if form == "csv":
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(names)
        out.writerows(relation.fetchall())
    else:
        print(json.dumps([dict(zip(names, row)) for row in relation.fetchall()], default=str))


def shell(connection):
    try:
        import readline  # noqa: F401: with it, lines can be edited
    except ImportError:
        pass
    typed = ""
    prompt = sys.stdin.isatty()
    while True:
        try:
            line = input(("milepost> " if not typed else "     ...> ") if prompt else "")
        except EOFError:
            return
        if not typed and line.strip() in (".quit", ".exit"):
            return
        typed += line + "\n"
        if typed.rstrip().endswith(";"):
            try:
                show(connection.sql(typed), "table")
            except duckdb.Error as e:
                print(e, file=sys.stderr)
            typed = ""


def main(script, form=None, sql=None):
    connection = duckdb.connect()
    with open(script, encoding="utf-8") as text:
        connection.execute(text.read())
    if sql is None:
        return shell(connection)
    try:
        show(connection.sql(sql), form)
    except duckdb.Error as e:
        sys.exit(str(e))


main(*sys.argv[1:])
