"""Prints what a Glue holds, as AWS's own client for Python sees it.

usage: glue_tables.py ENDPOINT DATABASE

Prints one JSON object: per table its columns with types and comments, partition keys, place, parameters,
version and the partitions with their places.
"""
import json
import sys

import boto3


def main(endpoint, database):
    glue = boto3.client(
        "glue", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    out = {}
    for page in glue.get_paginator("get_tables").paginate(DatabaseName=database):
        for table in page["TableList"]:
            storage = table["StorageDescriptor"]
            pages = glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table["Name"])
            partitions = [p for page in pages for p in page["Partitions"]]
            out[table["Name"]] = {
                "columns": [[c["Name"], c["Type"], c.get("Comment", "")] for c in storage["Columns"]],
                "keys": [[c["Name"], c["Type"]] for c in table["PartitionKeys"]],
                "location": storage["Location"],
                "serde": storage["SerdeInfo"]["SerializationLibrary"],
                "parameters": table["Parameters"],
                "version": table["VersionId"],
                "partitions": {p["Values"][0]: p["StorageDescriptor"]["Location"] for p in partitions},
            }
    print(json.dumps(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
