"""Parses every statement of a script in one dialect with sqlglot.

usage: parse_sql.py DIALECT < SCRIPT

Prints one JSON object: the number of statements, those that were not parsed, and those that sqlglot took
as an opaque command, which it has not looked into; exit status 1 where one was not parsed.
"""
import json
import logging
import sys

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError


def main(dialect):
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    count, failed, opaque = 0, [], []
    for statement in sys.stdin.read().split(";\n"):
        if not statement.strip():
            continue
        count += 1
        try:
            parsed = sqlglot.parse_one(statement, read=dialect, error_level=ErrorLevel.RAISE)
        except SqlglotError as e:
            failed.append([statement, str(e)])
            continue
        if isinstance(parsed, exp.Command):
            opaque.append(" ".join(statement.split()[:3]))
        elif not parsed.sql(dialect=dialect):
            failed.append([statement, "it is empty when it is written again"])
    print(json.dumps({"statements": count, "failed": failed, "opaque": opaque}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
