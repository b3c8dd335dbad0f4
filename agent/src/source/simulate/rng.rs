//! Seeded randomness that is the same on every machine: xoshiro256++ and what is made of it. Each
//! concern of a trip draws from a generator of its own, so that switching the camera off does not
//! move the receiver's noise.

/// xoshiro256++ (Blackman and Vigna, 2018), seeded through SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Rng {
    state: [u64; 4],
    spare: Option<f64>,
}

impl Rng {
    /// A generator for a concern of a seed's trip.
    pub(super) fn new(seed: u64, concern: &str) -> Self {
        // FNV-1a of the name, so that concerns do not depend on their order.
        let name = concern.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut x = seed ^ name;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state, spare: None }
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in `from..to`.
    pub(super) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True in `share` of the cases.
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.uniform(0.0, 1.0) < share
    }

    /// One of `choices`, which is not empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[(self.next() % choices.len() as u64) as usize]
    }

    /// Normal with this standard deviation, by Marsaglia's polar method.
    pub(super) fn normal(&mut self, sigma: f64) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare * sigma;
        }
        loop {
            let (u, v) = (self.uniform(-1.0, 1.0), self.uniform(-1.0, 1.0));
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let factor = (-2.0 * libm::log(s) / s).sqrt();
                self.spare = Some(v * factor);
                return u * factor * sigma;
            }
        }
    }

    /// Exponential with this mean.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.uniform(0.0, 1.0))
    }
}

/// Noise with a memory: normal with standard deviation `sigma`, its correlation falling to 1/e after
/// `tau` seconds.
#[derive(Clone, Debug)]
pub(super) struct Drift {
    value: f64,
    sigma: f64,
    tau: f64,
}

impl Drift {
    pub(super) fn new(sigma: f64, tau: f64, rng: &mut Rng) -> Self {
        Self { value: rng.normal(sigma), sigma, tau }
    }

    /// The value `seconds` later.
    pub(super) fn step(&mut self, seconds: f64, rng: &mut Rng) -> f64 {
        let keep = libm::exp(-seconds / self.tau);
        self.value = keep * self.value + rng.normal(self.sigma * (1.0 - keep * keep).sqrt());
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_has_the_spread_and_the_memory_it_was_asked_for() {
        let mut rng = Rng::new(1, "test");
        let mut drift = Drift::new(1.5, 60.0, &mut rng);
        let values: Vec<f64> = (0..400_000).map(|_| drift.step(1.0, &mut rng)).collect();
        let n = values.len() as f64;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / n;
        let lagged = values.iter().zip(&values[60..]).map(|(a, b)| a * b).sum::<f64>() / n;
        assert!((variance.sqrt() - 1.5).abs() < 0.1, "{variance}");
        assert!((lagged / variance - libm::exp(-1.0)).abs() < 0.05, "{}", lagged / variance);
    }

    #[test]
    fn the_numbers_are_these_on_every_machine() {
        let mut rng = Rng::new(42, "receiver");
        let first: Vec<u64> = (0..3).map(|_| rng.next()).collect();
        let mut again = Rng::new(42, "receiver");
        assert_eq!(first, (0..3).map(|_| again.next()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::new(42, "camera").next());
        assert_ne!(first[0], Rng::new(43, "receiver").next());
    }
}
