//! Chance that can be had again.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Random numbers from what `STOA_SEED` says, or from any seed; prints which.
pub fn chance() -> StdRng {
    let seed = std::env::var("STOA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("STOA_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// The number that a variable of the environment says, else `default`.
pub fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
