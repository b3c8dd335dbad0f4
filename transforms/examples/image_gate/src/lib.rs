//! Takes out images in which nothing moves: of a camera that looks at the same scene, only the first goes
//! on, then one whenever enough of the picture is another, and one in a while in any case.
//!
//! | parameter | default | |
//! |---|---|---|
//! | `min_changed_pct` | 2 | so much of the picture has to differ from the last one that went on |
//! | `threshold` | 12 | brightness, of 255, from which a part of the picture differs |
//! | `max_interval_s` | 300 | an image goes on after this time in any case |
//!
//! The picture is compared in coarse, and without its mean brightness: a cloud is no movement. An image
//! that is no baseline JPEG goes on: what cannot be compared is not lost.

mod jpeg;

use jpeg::Grid;
use milepost_transform::reading::Timed;
use milepost_transform::{Camera, Next, Out, Params, Transform, host, keep_struct, keeps, transform};

/// Cameras that are remembered. Images of further ones go on.
const MAX_CAMERAS: usize = 8;

/// The settings, and of each camera the last image that went on.
pub struct ImageGate {
    min_changed_pct: f64,
    threshold: f64,
    max_interval_s: f64,
    seen: Vec<Seen>,
}

/// The last image of a camera that went on.
struct Seen {
    camera_id: String,
    ts_us: i64,
    width: u8,
    cells: Vec<u8>,
}
keep_struct!(Seen { camera_id, ts_us, width, cells });

impl Transform for ImageGate {
    keeps!(seen);

    fn new(params: &mut Params) -> Result<Self, String> {
        Ok(Self {
            min_changed_pct: params.f64_in("min_changed_pct", 2.0, 0.0..=100.0)?,
            threshold: params.f64_in("threshold", 12.0, 1.0..=255.0)?,
            max_interval_s: params.f64_in("max_interval_s", 300.0, 0.0..=1e6)?,
            seen: Vec::new(),
        })
    }

    fn camera(&mut self, image: &Camera, _: &mut Out) -> Next<Camera> {
        let Some(Grid { width, cells }) = jpeg::grid(&image.image) else {
            host::metric_add("not_compared", 1.0);
            return Next::Keep;
        };
        let at = self.seen.iter().position(|s| s.camera_id == image.camera_id);
        if let Some(seen) = at.map(|at| &self.seen[at])
            && image.seconds_since(seen.ts_us).abs() < self.max_interval_s
            && seen.width == width
            && seen.cells.len() == cells.len()
            && self.changed_pct(&seen.cells, &cells) < self.min_changed_pct
        {
            return Next::TakeOut;
        }
        let now = Seen { camera_id: image.camera_id.clone(), ts_us: image.ts_us, width, cells };
        match at {
            Some(at) => self.seen[at] = now,
            None if self.seen.len() < MAX_CAMERAS => self.seen.push(now),
            None => {}
        }
        Next::Keep
    }
}
transform!(ImageGate: camera);

impl ImageGate {
    /// How much of the picture differs, percent.
    fn changed_pct(&self, before: &[u8], now: &[u8]) -> f64 {
        let mean = |cells: &[u8]| cells.iter().map(|c| f64::from(*c)).sum::<f64>() / cells.len() as f64;
        let shift = mean(now) - mean(before);
        let differs = |(a, b): (&u8, &u8)| (f64::from(*b) - f64::from(*a) - shift).abs() >= self.threshold;
        let changed = before.iter().zip(now).filter(|pair| differs(*pair)).count();
        changed as f64 * 100.0 / now.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::jpeg::tests::picture;
    use super::*;
    use milepost_transform::testing::Bench;

    const S: i64 = 1_000_000;

    /// A road, and a dark car of 4 × 3 blocks at a place along it.
    fn road(car: Option<usize>, light: u8) -> Vec<u8> {
        picture(30, 20, move |x, y| {
            let is_car = car.is_some_and(|at| (at..at + 4).contains(&x) && (12..15).contains(&y));
            light + if is_car { 20 } else { 90 + y as u8 * 4 }
        })
    }

    fn images(pictures: &[Vec<u8>]) -> Vec<Camera> {
        let image =
            |(i, p): (usize, &Vec<u8>)| Camera::at(i as i64 * S, "front", p.clone()).with_size(240, 160);
        pictures.iter().enumerate().map(image).collect()
    }

    #[test]
    fn an_empty_road_is_sent_once_and_a_car_each_time_it_moves() {
        let pictures = [None, None, Some(3), Some(3), Some(12), None, None].map(|car| road(car, 0));
        assert_eq!(Bench::<ImageGate>::new(&[]).camera(images(&pictures)).kept, [0, 2, 4, 5]);
    }

    #[test]
    fn a_cloud_is_no_movement() {
        let pictures = [0, 8, 16, 24, 40].map(|light| road(None, light));
        assert_eq!(Bench::<ImageGate>::new(&[]).camera(images(&pictures)).kept, [0]);
    }

    #[test]
    fn an_image_goes_on_in_a_while_in_any_case() {
        let image = |s| Camera::at(s * S, "front", road(None, 0));
        let out = Bench::<ImageGate>::new(&[("max_interval_s", "10")]).camera((0..25).map(image));
        assert_eq!(out.kept, [0, 10, 20]);
    }

    #[test]
    fn cameras_are_compared_each_with_itself() {
        let image = |camera, car| Camera::at(0, camera, road(car, 0));
        let out = Bench::<ImageGate>::new(&[]).camera([
            image("front", None),
            image("rear", Some(9)),
            image("front", None),
            image("rear", Some(9)),
        ]);
        assert_eq!(out.kept, [0, 1]);
    }

    #[test]
    fn what_cannot_be_compared_goes_on_and_is_counted() {
        let mut bench = Bench::<ImageGate>::new(&[]);
        let out =
            bench.camera([Camera::at(0, "front", vec![1, 2, 3]), Camera::at(1, "front", vec![1, 2, 3])]);
        assert_eq!((out.kept.len(), bench.metric("not_compared")), (2, 2.0));
    }

    #[test]
    fn the_last_image_outlives_a_restart() {
        let mut bench = Bench::<ImageGate>::new(&[]);
        bench.camera(images(&[road(None, 0)]));
        bench.restart(&[]).unwrap();
        assert_eq!(bench.camera(images(&[road(None, 0)])).taken_out, 1);
    }
}
