//! Derives a stream `speeding`: a row for each time that the vehicle was faster than its road allows. The
//! fixes themselves stay as they are.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `roads` | none | `name,limit_km_h,lat,lon,lat,lon,…` parted by `;`: a limit along a line of two places or more |
//! | `width_m` | 25 | how far from its line one is still on a road |
//! | `elsewhere_km_h` | 0 | the limit where there is no such road; 0 for none |
//! | `tolerance_km_h` | 5 | so much faster does not count |
//! | `min_s` | 3 | nor does what is shorter |
//!
//! Where roads overlap, the nearest one counts. A row comes when an episode has ended: below the limit, on
//! another road, or behind a gap of 10 s. Columns: `road`, `limit_km_h`, `max_km_h`, `duration_s`, and
//! `lat`, `lon` (degrees) of the fastest fix.

use milepost_transform::geo::Place;
use milepost_transform::{Gps, Next, Out, Params, Transform, keep_struct, keeps, transform};

/// Fixes further apart belong to different episodes.
const MAX_STEP_S: f64 = 10.0;
/// How many places the lines of all roads may have: each is looked at for each fix that is fast.
const MAX_PLACES: usize = 2000;

/// The roads, and the episode under way.
pub struct Speeding {
    roads: Vec<Road>,
    width_m: f64,
    elsewhere_km_h: f64,
    tolerance_km_h: f64,
    /// Below this speed no fix can be too fast.
    least_km_h: f64,
    min_s: f64,
    episode: Option<Episode>,
}

struct Road {
    name: String,
    limit_km_h: f64,
    line: Vec<Place>,
}

/// Too fast, since when and how much.
#[derive(Clone, PartialEq)]
struct Episode {
    road: String,
    limit_km_h: f64,
    from_us: i64,
    to_us: i64,
    max_km_h: f64,
    lat_deg: f64,
    lon_deg: f64,
}
keep_struct!(Episode { road, limit_km_h, from_us, to_us, max_km_h, lat_deg, lon_deg });

impl Transform for Speeding {
    keeps!(episode);

    fn new(params: &mut Params) -> Result<Self, String> {
        let roads = params.list("roads", road)?;
        if roads.iter().map(|r| r.line.len()).sum::<usize>() > MAX_PLACES {
            return Err(format!(
                "Parameter roads has more than {MAX_PLACES} places: give fewer, or coarser lines"
            ));
        }
        let elsewhere_km_h = params.f64_in("elsewhere_km_h", 0.0, 0.0..=300.0)?;
        let limits =
            roads.iter().map(|r| r.limit_km_h).chain((elsewhere_km_h > 0.0).then_some(elsewhere_km_h));
        let least = limits.fold(f64::INFINITY, f64::min);
        let tolerance_km_h = params.f64_in("tolerance_km_h", 5.0, 0.0..=100.0)?;
        Ok(Self {
            roads,
            width_m: params.f64_in("width_m", 25.0, 1.0..=1000.0)?,
            elsewhere_km_h,
            tolerance_km_h,
            least_km_h: least + tolerance_km_h,
            min_s: params.f64_in("min_s", 3.0, 0.0..=3600.0)?,
            episode: None,
        })
    }

    fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
        let now = fix.speed_m_s().map(|v| v * 3.6).filter(|v| *v > self.least_km_h);
        let too_fast = now.and_then(|speed| self.too_fast(fix, speed));
        match (&mut self.episode, too_fast) {
            (Some(before), Some(now)) if before.goes_on(&now) => {
                before.to_us = fix.ts_us;
                if now.max_km_h > before.max_km_h {
                    (before.max_km_h, before.lat_deg, before.lon_deg) =
                        (now.max_km_h, now.lat_deg, now.lon_deg);
                }
            }
            (episode, now) => {
                if let Some(ended) = std::mem::replace(episode, now) {
                    self.tell(&ended, fix, out);
                }
            }
        }
        Next::Keep
    }
}
transform!(Speeding: gps);

impl Speeding {
    fn too_fast(&self, fix: &Gps, speed_km_h: f64) -> Option<Episode> {
        let (road, limit_km_h) = self.limit(fix.place())?;
        (speed_km_h > limit_km_h + self.tolerance_km_h).then(|| Episode {
            road: road.into(),
            limit_km_h,
            from_us: fix.ts_us,
            to_us: fix.ts_us,
            max_km_h: speed_km_h,
            lat_deg: fix.lat_deg(),
            lon_deg: fix.lon_deg(),
        })
    }

    /// The road at a place, and its limit.
    fn limit(&self, place: Place) -> Option<(&str, f64)> {
        let near = self.roads.iter().map(|road| (road.distance_m(place), road));
        let nearest = near.filter(|(m, _)| *m <= self.width_m).min_by(|a, b| a.0.total_cmp(&b.0));
        match nearest {
            Some((_, road)) => Some((&road.name, road.limit_km_h)),
            None => (self.elsewhere_km_h > 0.0).then_some(("", self.elsewhere_km_h)),
        }
    }

    fn tell(&self, ended: &Episode, fix: &Gps, out: &mut Out) {
        let duration_s = (ended.to_us - ended.from_us) as f64 / 1e6;
        if duration_s < self.min_s {
            return;
        }
        out.derive("speeding", fix, |row| {
            row.set("road", ended.road.as_str()).set("limit_km_h", ended.limit_km_h);
            // A receiver does not know a speed better than to a tenth.
            row.set("max_km_h", (ended.max_km_h * 10.0).round() / 10.0).set("duration_s", duration_s);
            row.set("lat", ended.lat_deg).set("lon", ended.lon_deg);
        });
    }
}

impl Episode {
    fn goes_on(&self, now: &Episode) -> bool {
        let step_s = (now.from_us.wrapping_sub(self.to_us)) as f64 / 1e6;
        self.road == now.road && self.limit_km_h == now.limit_km_h && (0.0..=MAX_STEP_S).contains(&step_s)
    }
}

impl Road {
    fn distance_m(&self, place: Place) -> f64 {
        let ways = self.line.windows(2).map(|way| place.distance_to_way_m(way[0], way[1]));
        ways.fold(f64::INFINITY, f64::min)
    }
}

fn road(text: &str) -> Result<Road, String> {
    let wanted = "take name,limit_km_h,lat,lon,lat,lon and as many places more as the line has";
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [name, limit, places @ ..] = &fields[..] else { return Err(wanted.into()) };
    if places.len() < 4 || places.len() % 2 == 1 {
        return Err(wanted.into());
    }
    let number = |what: &str, text: &str, least: f64, most: f64| match text.parse::<f64>() {
        Ok(v) if (least..=most).contains(&v) => Ok(v),
        _ => Err(format!("{what} is {text:?}: take a number from {least} to {most}")),
    };
    let place = |pair: &[&str]| {
        Ok(Place::new(number("lat", pair[0], -90.0, 90.0)?, number("lon", pair[1], -180.0, 180.0)?))
    };
    Ok(Road {
        name: (*name).into(),
        limit_km_h: number("limit_km_h", limit, 1.0, 300.0)?,
        line: places.chunks(2).map(place).collect::<Result<_, String>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_transform::Value;
    use milepost_transform::testing::{Bench, Outcome};

    const ROADS: (&str, &str) =
        ("roads", "High Street,30,52.0,-1.5,52.01,-1.5; Ring Road,70,52.01,-1.5,52.01,-1.48,52.02,-1.48");

    /// Fixes a second apart: latitude, longitude and speed in km/h.
    fn drive(way: &[(f64, f64, f64)]) -> Vec<Gps> {
        let fix = |(i, (lat, lon, v)): (usize, &(f64, f64, f64))| {
            Gps::at(i as i64 * 1_000_000, *lat, *lon).with_speed_m_s(v / 3.6)
        };
        way.iter().enumerate().map(fix).collect()
    }

    /// Road, greatest speed and duration of each row.
    fn episodes(out: &Outcome<Gps>) -> Vec<(String, f64, f64)> {
        let rows = out.derived.iter().flat_map(|d| &d.rows);
        rows.map(|r| match (&r.values[0], &r.values[2], &r.values[3]) {
            (Value::Text(road), Value::Float(max), Value::Float(s)) => (road.clone(), *max, *s),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn an_episode_is_told_once_with_its_greatest_speed() {
        let speeds = [25.0, 50.0, 58.0, 52.0, 50.0, 30.0, 30.0];
        let way: Vec<_> = speeds.iter().map(|v| (52.005, -1.5, *v)).collect();
        let out = Bench::<Speeding>::new(&[ROADS]).gps(drive(&way));
        assert_eq!(episodes(&out), [("High Street".into(), 58.0, 3.0)]);
        assert_eq!(out.kept.len(), way.len());
    }

    #[test]
    fn a_faster_road_allows_more_and_a_change_of_road_ends_an_episode() {
        let mut way = vec![(52.005, -1.5, 65.0); 5];
        way.extend([(52.0101, -1.49, 65.0); 5]);
        way.extend([(52.015, -1.48, 90.0); 5]);
        way.push((52.015, -1.48, 20.0));
        let found = episodes(&Bench::<Speeding>::new(&[ROADS]).gps(drive(&way)));
        assert_eq!(found, [("High Street".into(), 65.0, 4.0), ("Ring Road".into(), 90.0, 4.0)]);
    }

    #[test]
    fn off_the_roads_there_is_a_limit_only_where_one_is_set() {
        let mut way = vec![(52.5, -1.5, 130.0); 6];
        way.push((52.5, -1.5, 0.0));
        assert_eq!(episodes(&Bench::<Speeding>::new(&[ROADS]).gps(drive(&way))), []);
        let found = episodes(&Bench::<Speeding>::new(&[ROADS, ("elsewhere_km_h", "100")]).gps(drive(&way)));
        assert_eq!(found, [(String::new(), 130.0, 5.0)]);
    }

    #[test]
    fn a_moment_and_a_little_do_not_count() {
        let speeds = [30.0, 60.0, 60.0, 30.0, 34.9, 34.9, 34.9, 34.9, 34.9, 30.0];
        let way: Vec<_> = speeds.iter().map(|v| (52.005, -1.5, *v)).collect();
        assert_eq!(episodes(&Bench::<Speeding>::new(&[ROADS]).gps(drive(&way))), []);
    }

    #[test]
    fn an_episode_outlives_a_restart_and_ends_at_a_gap() {
        let mut bench = Bench::<Speeding>::new(&[ROADS]);
        let way = drive(&[(52.005, -1.5, 60.0); 6]);
        bench.gps(way[..3].to_vec());
        bench.restart(&[ROADS]).unwrap();
        assert_eq!(episodes(&bench.gps(way[3..].to_vec())), []);
        let late = Gps::at(60_000_000, 52.005, -1.5).with_speed_m_s(20.0);
        assert_eq!(episodes(&bench.gps([late])), [("High Street".into(), 60.0, 5.0)]);
    }

    #[test]
    fn a_wrong_road_is_named() {
        let refused = |roads| Bench::<Speeding>::try_new(&[("roads", roads)]).err().unwrap();
        assert!(
            refused("A,30,52,-1.5").starts_with("Parameter roads, entry 1 (\"A,30,52,-1.5\"): take name,")
        );
        assert!(refused("A,30,52,-1.5,52,-1.6; B,x,1,2,3,4").contains("entry 2"));
    }
}
