//! What the simulated camera sees: sky, fields, the road with its moving lane marks, now and then a
//! vehicle in front, and a strip with time and speed.

use super::jpeg::{Picture, encode};
use super::rng::Rng;

/// Pixels.
pub(super) const WIDTH: usize = 160;
/// Pixels.
pub(super) const HEIGHT: usize = 112;
const HORIZON: usize = 48;
/// libjpeg's scale.
const QUALITY: u16 = 50;

const WHITE: [u8; 3] = [235, 128, 128];
const ASPHALT: [u8; 3] = [84, 128, 128];
const GRASS: [u8; 3] = [104, 98, 112];
const STRIP: [u8; 3] = [24, 128, 128];

/// What there is to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    /// Seconds of the day, UTC.
    pub(super) time: u32,
    /// m/s.
    pub(super) speed: f64,
    /// m driven.
    pub(super) driven: f64,
    /// How far the road turns in the next 100 m, degrees, to the right.
    pub(super) bend: f64,
    /// 0 for a clear sky to 1 for rain.
    pub(super) cloud: f64,
}

/// The scene as a JPEG.
pub(super) fn photograph(scene: &Scene, rng: &mut Rng) -> Vec<u8> {
    let mut picture = Picture { width: WIDTH, height: HEIGHT, pixels: vec![STRIP; WIDTH * HEIGHT] };
    let brightness = daylight(scene.time);
    for y in 0..HEIGHT - 16 {
        for x in 0..WIDTH {
            let [luma, cb, cr] = if y < HORIZON { sky(y, scene.cloud) } else { ground(x, y, scene) };
            let luma = (f64::from(luma) * brightness + rng.uniform(-2.0, 2.0)).clamp(16.0, 235.0);
            picture.pixels[y * WIDTH + x] = [luma as u8, cb, cr];
        }
    }
    if rng.chance(0.4) {
        vehicle_ahead(&mut picture, scene, rng);
    }
    let (h, m, s) = (scene.time / 3600 % 24, scene.time / 60 % 60, scene.time % 60);
    let mph = (scene.speed / 0.447_04).round();
    write(&mut picture, &format!("{h:02}:{m:02}:{s:02}  {mph:3} MPH"));
    encode(&picture, QUALITY)
}

/// From night to noon, 0.25 to 1: the sun of March at 52° north, roughly.
fn daylight(time: u32) -> f64 {
    let from_noon = (f64::from(time % 86_400) / 3600.0 - 12.2).abs();
    (1.0 - (from_noon - 4.5).max(0.0) * 0.5).max(0.25)
}

fn sky(y: usize, cloud: f64) -> [u8; 3] {
    let blue = (1.0 - cloud) * (1.0 - y as f64 / HORIZON as f64 * 0.6);
    [(205.0 - 40.0 * cloud + y as f64 / 3.0) as u8, (128.0 + 32.0 * blue) as u8, (128.0 - 16.0 * blue) as u8]
}

/// A point of the ground in perspective: the road 10 m wide, its camera 1.4 m above it.
fn ground(x: usize, y: usize, scene: &Scene) -> [u8; 3] {
    let below = (y - HORIZON) as f64 + 0.5;
    let ahead = 110.0 / below;
    let aside = (x as f64 - WIDTH as f64 / 2.0) * ahead / 80.0 - scene.bend * ahead * ahead / 6000.0;
    let dashed = (scene.driven + ahead) % 9.0 < 3.5;
    match aside.abs() {
        a if a < 0.15 && dashed => WHITE,
        a if (4.6..4.9).contains(&a) => WHITE,
        a if a < 5.6 => ASPHALT,
        _ => GRASS,
    }
}

fn vehicle_ahead(picture: &mut Picture, scene: &Scene, rng: &mut Rng) {
    let ahead = rng.uniform(12.0, 40.0);
    let colour = *rng.pick(&[[60, 120, 150], [170, 128, 128], [70, 160, 110], [40, 128, 128]]);
    let size = (150.0 / ahead) as usize;
    let middle = WIDTH as f64 / 2.0 + (-2.4 + scene.bend * ahead * ahead / 6000.0) * 80.0 / ahead;
    let bottom = HORIZON + (110.0 / ahead) as usize;
    for y in bottom.saturating_sub(size)..bottom.min(HEIGHT - 16) {
        for x in (middle as usize).saturating_sub(size / 2)..((middle as usize) + size / 2).min(WIDTH) {
            let window = bottom - y > size * 3 / 5;
            picture.pixels[y * WIDTH + x] = if window { [40, 132, 124] } else { colour };
        }
    }
}

/// 3 × 5 points a character, a row in three bits.
fn glyph(c: char) -> [u8; 5] {
    match c {
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 7, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [7, 4, 7, 5, 7],
        '7' => [7, 1, 2, 2, 2],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 7],
        ':' => [0, 2, 0, 2, 0],
        'M' => [5, 7, 7, 5, 5],
        'P' => [7, 5, 7, 4, 4],
        'H' => [5, 5, 7, 5, 5],
        _ => [0; 5],
    }
}

/// Writes into the strip at the bottom, two pixels a point.
fn write(picture: &mut Picture, text: &str) {
    for (i, c) in text.chars().enumerate() {
        for (row, bits) in glyph(c).into_iter().enumerate() {
            for column in (0..3).filter(|k| bits >> (2 - k) & 1 == 1) {
                let (x, y) = (8 + i * 8 + column * 2, HEIGHT - 13 + row * 2);
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    if x + dx < WIDTH {
                        picture.pixels[(y + dy) * WIDTH + x + dx] = WHITE;
                    }
                }
            }
        }
    }
}
