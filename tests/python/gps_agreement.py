"""Compares a vehicle's gps_data in a lake with gpsd's reading of the same log.

usage: gps_agreement.py LAKE VEHICLE LOG

gpsd's reading is in LOG.chk. A log without one NMEA position sentence is binary: no reading may come of it.

Every epoch for which gpsd reported a fix must be in the table with the same position (1e-6 degrees)
and speed (0.1 m/s), and the table must hold no other. An epoch is what shares a time of day; gpsd's
last report of it counts, since earlier ones may carry a speed that gpsd derived itself. What gpsd
reported before it knew the time is matched by position. Dates are not compared: gpsd resolves a week
roll-over against the day on which it ran. Prints one JSON object.
"""
import json
import re
import sys

import duckdb

DEGREES, METRES_PER_SECOND = 1e-6, 0.1


def oracle(log):
    epochs, undated = {}, []
    with open(log, "rb") as raw:
        if not re.search(rb"\$..(RMC|GGA|GLL),", raw.read()):
            return epochs, undated
    with open(log + ".chk", "rb") as chk:
        for line in chk:
            if not line.startswith(b'{"class":"TPV"'):
                continue
            tpv = json.loads(line)
            if tpv.get("mode", 0) >= 2 and "lat" in tpv:
                if "time" in tpv:
                    epochs[tpv["time"][11:23]] = tpv
                else:
                    undated.append(tpv)
    return epochs, undated


def table(lake, vehicle):
    rows = duckdb.execute(
        f"select strftime(make_timestamp(ts_us), '%H:%M:%S.%g'), lat, lon, speed"
        f" from read_parquet('{lake}/gps_data/**/*.parquet') where vehicle_id = ? order by boot_id, seq",
        [vehicle],
    ).fetchall()
    return {time: row for time, *row in rows}, len(rows)


def near(row, tpv):
    return abs(row[0] - tpv["lat"]) <= DEGREES and abs(row[1] - tpv["lon"]) <= DEGREES


def main(lake, vehicle, log):
    expected, undated = oracle(log)
    try:
        rows, count = table(lake, vehicle)
    except duckdb.IOException:
        rows, count = {}, 0  # no file: no fix at all
    problems = []
    for time, tpv in expected.items():
        row = rows.get(time)
        if row is None:
            problems.append(f"{time}: missing")
            continue
        lat, lon, speed = row
        if not near(row, tpv):
            problems.append(f"{time}: position {lat} {lon}, gpsd {tpv['lat']} {tpv['lon']}")
        if speed is not None and "speed" in tpv and abs(speed - tpv["speed"]) > METRES_PER_SECOND:
            problems.append(f"{time}: speed {speed}, gpsd {tpv['speed']}")
    invented = [t for t, row in rows.items() if t not in expected and not any(near(row, u) for u in undated)]
    problems += [f"{t}: invented" for t in invented]
    print(json.dumps({"epochs": len(expected), "rows": count, "problems": problems[:20], "count": len(problems)}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
