"""Prints what a vehicle's tables hold of its board, as one JSON object: the fixes in their order, and the
gaps.

usage: board_rows.py LAKE VEHICLE
"""
import json
import sys

import duckdb


def rows(lake, vehicle, table, columns):
    query = f"select {columns} from read_parquet('{lake}/{table}/**/*.parquet') where vehicle_id = ? order by boot_id, seq"
    try:
        return duckdb.execute(query, [vehicle]).fetchall()
    except duckdb.IOException:
        return []  # no file: no row at all


lake, vehicle = sys.argv[1:]
fixes = rows(lake, vehicle, "gps_data", "ts_us, lat, lon, speed, clock")
gaps = rows(lake, vehicle, "gap_data", "stream, count, reason")
images = rows(lake, vehicle, "camera_data", "ts_us, width, height")
print(json.dumps({"fixes": fixes, "gaps": gaps, "images": images}))
