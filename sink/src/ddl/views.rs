//! Views that most people want, written once in what the engines have in common. A `$name` stands for a
//! table where the engine finds it, and names are in `"`.

use super::tables::{VIEWS, qualified, quoted};
use super::{Engine, Lake};

/// A view: its name, the tables that it needs, and its query.
struct View {
    name: &'static str,
    of: &'static [&'static str],
    query: &'static str,
}

const ALL: [View; 5] = [
    View {
        name: "latest_position",
        of: &["gps_data"],
        query: r#"SELECT "vehicle_id", "ts", "lat", "lon", "altitude", "speed", "heading", "fix", "clock", "boot_id", "dt"
FROM (
  SELECT fixes.*, row_number() OVER (
    PARTITION BY "vehicle_id"
    ORDER BY CASE WHEN "clock" = 'none' THEN 1 ELSE 0 END, "ts_us" DESC, "boot_id" DESC, "seq" DESC
  ) AS newest
  FROM $gps_data fixes
) ranked
WHERE newest = 1"#,
    },
    View {
        name: "trip_summary",
        of: &["gps_data"],
        query: r#"SELECT "vehicle_id", "boot_id", min("ts") AS first_ts, max("ts") AS last_ts,
  (max("ts_us") - min("ts_us")) / 1e6 AS seconds, count(*) AS fixes, coalesce(sum(step_m), 0e0) AS metres,
  max("speed") AS top_speed, avg("speed") AS mean_speed, min("dt") AS dt
FROM (
  SELECT "vehicle_id", "boot_id", "ts", "ts_us", "speed", "dt",
    CASE WHEN lat_before IS NOT NULL THEN 12742000e0 * asin(sqrt(least(1e0,
      power(sin(radians("lat" - lat_before) / 2), 2)
      + cos(radians(lat_before)) * cos(radians("lat")) * power(sin(radians("lon" - lon_before) / 2), 2)
    ))) END AS step_m
  FROM (
    SELECT fixes.*, lag("lat") OVER (PARTITION BY "vehicle_id", "boot_id" ORDER BY "seq") AS lat_before,
      lag("lon") OVER (PARTITION BY "vehicle_id", "boot_id" ORDER BY "seq") AS lon_before
    FROM $gps_data fixes
  ) pairs
) steps
GROUP BY "vehicle_id", "boot_id""#,
    },
    View {
        name: "position_by_minute",
        of: &["gps_data"],
        query: r#"SELECT "vehicle_id", "dt", date_trunc('minute', "ts") AS minute_begins, count(*) AS fixes,
  avg("lat") AS mean_lat, avg("lon") AS mean_lon, avg("speed") AS mean_speed, max("speed") AS top_speed
FROM $gps_data
GROUP BY "vehicle_id", "dt", date_trunc('minute', "ts")"#,
    },
    View {
        name: "harsh_events_by_driver_hour",
        of: &["gps_data", "harsh_event"],
        query: r#"SELECT driven."vehicle_id", driven.hour_begins, driven.hours_driven,
  coalesce(harsh.events, 0) AS events, coalesce(harsh.braking, 0) AS braking,
  coalesce(harsh.acceleration, 0) AS acceleration, coalesce(harsh.cornering, 0) AS cornering,
  coalesce(harsh.events, 0) / driven.hours_driven AS events_per_hour
FROM (
  SELECT "vehicle_id", date_trunc('hour', "ts") AS hour_begins, sum(step_s) / 3600e0 AS hours_driven
  FROM (
    SELECT fixes.*, ("ts_us" - lag("ts_us") OVER (PARTITION BY "vehicle_id", "boot_id" ORDER BY "seq")) / 1e6 AS step_s
    FROM $gps_data fixes
  ) steps
  WHERE step_s > 0 AND step_s <= 60 AND "speed" > 0.5
  GROUP BY "vehicle_id", date_trunc('hour', "ts")
) driven
LEFT JOIN (
  SELECT "vehicle_id", date_trunc('hour', "ts") AS hour_begins, count(*) AS events,
    sum(CASE WHEN "kind" = 'braking' THEN 1 ELSE 0 END) AS braking,
    sum(CASE WHEN "kind" = 'acceleration' THEN 1 ELSE 0 END) AS acceleration,
    sum(CASE WHEN "kind" = 'cornering' THEN 1 ELSE 0 END) AS cornering
  FROM $harsh_event
  GROUP BY "vehicle_id", date_trunc('hour', "ts")
) harsh ON harsh."vehicle_id" = driven."vehicle_id" AND harsh.hour_begins = driven.hour_begins"#,
    },
    View {
        name: "gaps",
        of: &["gap_data"],
        query: r#"SELECT "vehicle_id", "stream", "gap_boot_id" AS boot_id, "first_seq", "last_seq", "count" AS readings,
  "exact" = 1 AS is_exact, "reason", "detail", "ts" AS declared_ts, "dt"
FROM $gap_data"#,
    },
];

/// The views whose tables the lake has.
pub(super) fn statements(engine: Engine, lake: &Lake) -> Vec<String> {
    let there = ALL.iter().filter(|view| view.of.iter().all(|table| lake.has(table)));
    there.map(|view| statement(engine, lake, view)).collect()
}

fn statement(engine: Engine, lake: &Lake, view: &View) -> String {
    // Athena makes views in Trino's language, tables in Hive's.
    let names = if engine == Engine::Athena { Engine::Trino } else { engine };
    let place = |name: &str| match engine {
        Engine::Athena => format!("{}.{}", quoted(names, &lake.database), quoted(names, name)),
        _ => qualified(engine, lake, name),
    };
    let mut query = match engine {
        Engine::Spark => view.query.replace('"', "`"),
        _ => view.query.to_owned(),
    };
    for table in view.of {
        query = query.replace(&format!("${table}"), &place(table));
    }
    let (name, end) = match engine {
        // A view over external tables is bound when it is asked.
        Engine::Redshift => {
            (format!("{}.{}", quoted(names, VIEWS), quoted(names, view.name)), "\nWITH NO SCHEMA BINDING")
        }
        _ => (place(view.name), ""),
    };
    format!("CREATE OR REPLACE VIEW {name} AS\n{query}{end}")
}
