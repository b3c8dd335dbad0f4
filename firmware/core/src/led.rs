//! What the light on a board says.
//!
//! | light | meaning |
//! |---|---|
//! | flickers, five times a second | no agent is heard |
//! | blinks, once a second | an agent is heard, the receiver has no fix |
//! | on, with a short dark moment every two seconds | all is well |

/// A fix older than this is none.
const FIX_US: u64 = 5_000_000;

/// What the light depends on.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// An agent is there.
    pub heard: bool,
    /// When the last fix came.
    pub fix_at_us: Option<u64>,
}

/// Whether the light is on.
pub fn is_on(health: Health, now_us: u64) -> bool {
    let fixed = health.fix_at_us.is_some_and(|at| now_us.saturating_sub(at) < FIX_US);
    match (health.heard, fixed) {
        (false, _) => now_us % 200_000 < 100_000,
        (true, false) => now_us % 1_000_000 < 500_000,
        (true, true) => now_us % 2_000_000 >= 200_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it goes on in 10 s, and for how many tenths of a second it is.
    fn seen(heard: bool, fix_at_us: Option<u64>) -> (usize, usize) {
        let lights: Vec<bool> =
            (0..100).map(|i| is_on(Health { heard, fix_at_us }, 100_000_000 + i * 100_000)).collect();
        (lights.windows(2).filter(|w| !w[0] && w[1]).count(), lights.iter().filter(|on| **on).count())
    }

    #[test]
    fn each_state_has_a_light_of_its_own() {
        let fixed = Some(109_000_000);
        assert_eq!(seen(false, fixed), (49, 50));
        assert_eq!(seen(true, Some(90_000_000)), (9, 50), "the last fix is old");
        assert_eq!(seen(true, None), (9, 50));
        assert_eq!(seen(true, fixed), (5, 90));
    }
}
