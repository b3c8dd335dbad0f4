//! Derives a stream `harsh_event` from fixes: braking, acceleration and cornering beyond a threshold.
//! The fixes themselves stay as they are.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `braking_g` | 0.35 | deceleration that counts, in g of 9.80665 m/s² |
//! | `acceleration_g` | 0.30 | acceleration that counts |
//! | `cornering_g` | 0.40 | lateral acceleration that counts: speed times rate of turn |
//! | `quiet_s` | 3 | an event ends when it has been quiet for so long; no second one before |
//!
//! Columns of `harsh_event`: `kind` (`braking`, `acceleration`, `cornering`), `g` (where it began to
//! count), `lat`, `lon` (degrees), `speed` (m/s).

use milepost_transform::geo::angle_deg;
use milepost_transform::reading::Timed;
use milepost_transform::{Gps, Next, Out, Params, Transform, keep_struct, keeps, transform};

/// One g, m/s².
const G: f64 = 9.806_65;
/// Fixes closer than this are compared with an earlier one: at 10 Hz the receiver's noise would pass
/// for acceleration.
const MIN_STEP_S: f64 = 0.75;
/// Fixes further apart say nothing about what happened between them.
const MAX_STEP_S: f64 = 3.0;
/// Slower than this a course means little, m/s.
const MIN_CORNER_M_S: f64 = 3.0;

/// What is felt.
const KINDS: [&str; 3] = ["braking", "acceleration", "cornering"];

/// The thresholds, the fix to compare with, and when each kind was last felt.
pub struct HarshDriving {
    /// Of each kind, m/s².
    thresholds: [f64; 3],
    quiet_s: f64,
    last: Option<Motion>,
    felt_us: [Option<i64>; 3],
}

/// What counts of a fix.
struct Motion {
    ts_us: i64,
    speed_m_s: f64,
    heading_deg: Option<f64>,
}
keep_struct!(Motion { ts_us, speed_m_s, heading_deg });

impl Transform for HarshDriving {
    keeps!(last, felt_us);

    fn new(params: &mut Params) -> Result<Self, String> {
        let mut m_s2 = |name, g| Ok::<_, String>(params.f64_in(name, g, 0.05..=5.0)? * G);
        Ok(Self {
            thresholds: [m_s2("braking_g", 0.35)?, m_s2("acceleration_g", 0.30)?, m_s2("cornering_g", 0.40)?],
            quiet_s: params.f64_in("quiet_s", 3.0, 0.0..=3600.0)?,
            last: None,
            felt_us: [None; 3],
        })
    }

    fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
        let Some(speed_m_s) = fix.speed_m_s() else { return Next::Keep };
        let now = Motion { ts_us: fix.ts_us, speed_m_s, heading_deg: fix.heading_deg() };
        if let Some(last) = &self.last {
            let dt = fix.seconds_since(last.ts_us);
            if (0.0..MIN_STEP_S).contains(&dt) {
                return Next::Keep;
            }
            if (MIN_STEP_S..=MAX_STEP_S).contains(&dt) {
                let faster_m_s = now.speed_m_s - last.speed_m_s;
                let changes_m_s = [-faster_m_s, faster_m_s, aside_m_s(last, &now)];
                if changes_m_s.iter().zip(&self.thresholds).any(|(change, limit)| *change >= limit * dt) {
                    self.feel(changes_m_s, dt, fix, out);
                }
            }
        }
        self.last = Some(now);
        Next::Keep
    }
}
transform!(HarshDriving: gps);

impl HarshDriving {
    /// Something is beyond its threshold.
    fn feel(&mut self, changes_m_s: [f64; 3], dt: f64, fix: &Gps, out: &mut Out) {
        for (kind, change_m_s) in changes_m_s.into_iter().enumerate() {
            if change_m_s < self.thresholds[kind] * dt {
                continue;
            }
            if self.felt_us[kind].is_none_or(|then| fix.seconds_since(then).abs() > self.quiet_s) {
                // A receiver does not know it better than to a thousandth.
                let g = (change_m_s / dt / G * 1e3).round() / 1e3;
                out.derive("harsh_event", fix, |row| {
                    row.set("kind", KINDS[kind]).set("g", g);
                    row.set("lat", fix.lat_deg()).set("lon", fix.lon_deg()).set("speed", fix.speed_m_s());
                });
            }
            self.felt_us[kind] = Some(fix.ts_us);
        }
    }
}

/// How much of the velocity turned to a side, m/s: how fast one was on the way, times the angle.
fn aside_m_s(last: &Motion, now: &Motion) -> f64 {
    let mean_m_s = (now.speed_m_s + last.speed_m_s) / 2.0;
    match (now.heading_deg, last.heading_deg) {
        (Some(to), Some(from)) if mean_m_s >= MIN_CORNER_M_S => {
            mean_m_s * angle_deg(to, from).abs().to_radians()
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_transform::Value;
    use milepost_transform::testing::{Bench, Outcome};

    /// Fixes a second apart: speed in m/s and course in degrees.
    fn drive(motion: &[(f64, f64)]) -> Vec<Gps> {
        let fix = |(i, (v, h)): (usize, &(f64, f64))| {
            Gps::at(i as i64 * 1_000_000, 52.0, -1.5).with_speed_m_s(*v).with_heading_deg(*h)
        };
        motion.iter().enumerate().map(fix).collect()
    }

    fn events(out: &Outcome<Gps>) -> Vec<(i64, String, f64)> {
        let rows = out.derived.iter().flat_map(|d| &d.rows);
        rows.map(|r| match (&r.values[0], &r.values[1]) {
            (Value::Text(kind), Value::Float(g)) => (r.ts_us / 1_000_000, kind.clone(), *g),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn braking_is_one_event_however_long_it_takes() {
        let out = Bench::<HarshDriving>::new(&[]).gps(drive(&[
            (20.0, 0.0),
            (16.0, 0.0),
            (11.0, 0.0),
            (6.0, 0.0),
            (6.0, 0.0),
            (6.0, 0.0),
        ]));
        assert_eq!(events(&out), [(1, "braking".into(), 0.408)]);
        assert_eq!(out.kept.len(), 6);
    }

    #[test]
    fn a_second_event_needs_quiet_before_it() {
        let mut speeds = vec![(20.0, 0.0), (16.0, 0.0)];
        speeds.extend([(16.0, 0.0); 4]);
        speeds.push((12.0, 0.0));
        let found = events(&Bench::<HarshDriving>::new(&[]).gps(drive(&speeds)));
        assert_eq!(found.iter().map(|e| e.0).collect::<Vec<_>>(), [1, 6]);
    }

    #[test]
    fn cornering_counts_across_north_and_not_at_a_crawl() {
        let out = Bench::<HarshDriving>::new(&[]).gps(drive(&[
            (12.0, 350.0),
            (12.0, 10.0),
            (2.0, 10.0),
            (2.0, 90.0),
        ]));
        assert_eq!(events(&out)[0], (1, "cornering".into(), 0.427));
        assert!(events(&out).iter().all(|e| e.1 != "cornering" || e.0 == 1));
    }

    #[test]
    fn an_event_that_spans_two_batches_and_a_restart_is_found_once() {
        let fixes = drive(&[(20.0, 0.0), (15.0, 0.0), (10.0, 0.0), (5.0, 0.0)]);
        let mut bench = Bench::<HarshDriving>::new(&[]);
        let mut found = Vec::new();
        for fix in fixes {
            found.extend(events(&bench.gps([fix])));
            bench.restart(&[]).unwrap();
        }
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn fast_fixes_are_compared_with_one_that_is_old_enough() {
        // 10 Hz with a speed that jitters by 0.1 m/s: 0.1 g from fix to fix, nothing in truth.
        let fixes = (0..100).map(|i| {
            Gps::at(i * 100_000, 52.0, -1.5).with_speed_m_s(10.0 + 0.1 * (i % 2) as f64).with_heading_deg(0.0)
        });
        let bench =
            Bench::<HarshDriving>::new(&[("braking_g", "0.05"), ("acceleration_g", "0.05")]).gps(fixes);
        assert_eq!(events(&bench), []);
    }

    #[test]
    fn a_gap_says_nothing() {
        let far = Gps::at(10_000_000, 52.0, -1.5).with_speed_m_s(0.0);
        let out = Bench::<HarshDriving>::new(&[]).gps([Gps::at(0, 52.0, -1.5).with_speed_m_s(30.0), far]);
        assert_eq!(events(&out), []);
    }
}
