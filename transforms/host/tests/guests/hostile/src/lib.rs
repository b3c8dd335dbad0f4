//! Does what a transform must not do, for the tests of the host: `how` says what, and a fix with
//! `fix = 99` sets it off. Other fixes are kept and counted, in the transform's memory and with the host.

use milepost_transform::run::Registered;
use milepost_transform::{Gps, Level, Next, Out, Params, Transform, host, keeps};
use std::cell::RefCell;

/// What to do, and how many fixes were kept.
pub struct Hostile {
    how: String,
    seen: i64,
}

thread_local! {
    /// What the call does at its end, outside of the transform.
    static ARMED: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Transform for Hostile {
    keeps!(seen);

    fn new(params: &mut Params) -> Result<Self, String> {
        let how = params.text("how", "nothing");
        match how.as_str() {
            "refuse in init" => Err("not today".into()),
            "trap in init" => panic!("in init"),
            "loop in init" => spin(),
            "trap in restore" => {
                ARMED.set(Some(how.clone()));
                Ok(Self { how, seen: 0 })
            }
            _ => Ok(Self { how, seen: 0 }),
        }
    }

    fn tick(&mut self, now_us: i64, out: &mut Out) {
        assert_ne!(self.how, "trap in tick");
        if self.how == "loop in tick" {
            spin();
        }
        let (seen, now) = (self.seen, host::now_us());
        out.derive("ticked", &Gps::at(now_us, 0.0, 0.0), |row| {
            row.set("seen", seen).set("now", now);
        });
    }

    fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
        self.seen += 1;
        let stored = host::state_get("seen").and_then(|b| b.try_into().ok()).map_or(0, i64::from_le_bytes);
        host::state_put("seen", &(stored + 1).to_le_bytes());
        if self.how == "clock" {
            let now = host::now_us();
            out.derive("clock", fix, |row| {
                row.set("now", now);
            });
            host::metric_add("fixes", 1.0);
        }
        if fix.fix != 99 {
            let seen = self.seen;
            out.derive("seen", fix, |row| {
                row.set("seen", seen).set("stored", stored + 1);
            });
            return Next::Keep;
        }
        match self.how.as_str() {
            "loop" => spin(),
            "panic" => panic!("fix {} is bad", fix.ts_us),
            "hog" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1u8; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            "swell" => {
                std::hint::black_box(vec![1u8; 10 << 20]);
                Next::Keep
            }
            "recurse" => Next::keep_if(recurse(fix.ts_us) == 0),
            "flood" => Next::Become(vec![*fix; 100_000]),
            "flood of text" => {
                let text = "x".repeat(1 << 20);
                for _ in 0..8 {
                    out.derive("flood", fix, |row| {
                        row.set("text", text.as_str());
                    });
                }
                Next::Keep
            }
            "log" => {
                for i in 0..10_000 {
                    host::log(Level::Info, &format!("line {i}"));
                }
                Next::Keep
            }
            "log for ever" => loop {
                host::log(Level::Debug, "again");
            },
            "emit for ever" => loop {
                out.derive("flood", fix, |row| {
                    row.set("n", 1);
                });
            },
            "metrics for ever" => {
                for i in 0..10_000 {
                    host::metric_add(&format!("metric_{i}"), 1.0);
                }
                Next::Keep
            }
            "metrics that do not count" => {
                for value in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
                    host::metric_add("fixes", value);
                }
                Next::Keep
            }
            "other kind" => {
                out.derive("seen", fix, |row| {
                    row.set("seen", "many").set("stored", stored + 1);
                });
                Next::Keep
            }
            "keys for ever" => loop {
                host::state_put(&format!("key {}", self.seen), &[]);
                host::state_remove(&format!("key {}", self.seen));
                self.seen += 1;
            },
            "state" => {
                for i in 0..1000 {
                    host::state_put(&format!("key {i}"), &[0; 1000]);
                }
                Next::Keep
            }
            "streams for ever" => {
                for i in 0..100 {
                    out.derive(&format!("road_{i}"), fix, |row| {
                        row.set("x", 1);
                    });
                }
                Next::Keep
            }
            "say too much" => {
                out.fail("ERROR forged\n".repeat(100_000));
                Next::Keep
            }
            "bad name" => {
                out.derive("No Such Name", fix, |row| {
                    row.set("x", 1);
                });
                Next::Keep
            }
            "want too much, then recurse" => {
                assert!(Vec::<u8>::new().try_reserve(100 << 20).is_err());
                Next::keep_if(recurse(fix.ts_us) == 0)
            }
            "want too much, then panic" => {
                assert!(Vec::<u8>::new().try_reserve(100 << 20).is_err());
                panic!("fix {} is bad", fix.ts_us)
            }
            "clock" => panic!("fix {} is bad", fix.ts_us),
            "give back" => Next::Change(*fix),
            "fail" => {
                out.fail("this fix is bad");
                Next::Keep
            }
            "trap in restore" => panic!("fix {} is bad", fix.ts_us),
            how => {
                ARMED.set(Some(how.into()));
                Next::Keep
            }
        }
    }
}

impl Registered for Hostile {
    const STREAMS: &'static [&'static str] = &["gps_data"];
}

/// What `transform!` makes, but for what it does where it is armed.
#[cfg(target_family = "wasm")]
mod component {
    use super::{ARMED, Hostile, spin};
    use milepost_transform::bindings::milepost::transform::types::{Insertions, Kept};
    use milepost_transform::bindings::{Batch, Derived, Guest, Output, Plan};
    use milepost_transform::run::Runner;
    use milepost_transform::{Gps, Level, host};
    use std::cell::RefCell;

    thread_local! {
        static RUNNER: RefCell<Option<Runner<Hostile>>> = const { RefCell::new(None) };
    }

    fn with<R>(f: impl FnOnce(&mut Runner<Hostile>) -> R) -> R {
        RUNNER.with_borrow_mut(|runner| f(runner.as_mut().expect("init comes first")))
    }

    fn armed() -> Option<String> {
        ARMED.with_borrow(Option::clone)
    }

    struct Component;

    impl Guest for Component {
        fn init(params: Vec<(String, String)>) -> Result<Plan, String> {
            std::panic::set_hook(Box::new(|panic| host::log(Level::Error, &panic.to_string())));
            let streams = match params.first().map(|(_, how)| how.as_str()) {
                Some("want all in init") => vec![String::new(); 300_000],
                Some("want health in init") => vec!["agent_health".into()],
                Some("want what cannot be in init") => vec!["\x1b[2J\n".into()],
                _ => vec!["gps_data".into()],
            };
            let ticks = params.iter().any(|(_, how)| how == "clock" || how.ends_with("in tick"));
            let (runner, plan) = Runner::init(params)?;
            RUNNER.set(Some(runner));
            Ok(Plan { tick_every_ms: if ticks { 1000 } else { 0 }, streams, ..plan })
        }
        fn process(readings: Batch) -> Result<Output, String> {
            let mut output = with(|runner| runner.process(readings))?;
            match armed().as_deref() {
                Some("garbage bits") => output.kept = Kept::Bits(vec![0xff; 100]),
                Some("garbage places") => {
                    let readings = Batch::Gps(vec![Gps::at(0, 0.0, 0.0)]);
                    output.put_in = Some(Insertions { at: vec![u32::MAX], readings });
                }
                Some("off the globe") => {
                    let readings = Batch::Gps(vec![Gps::at(0, 95.0, 0.0)]);
                    output.put_in = Some(Insertions { at: vec![0], readings });
                }
                Some("turned too far") => {
                    let readings =
                        Batch::Gps(vec![Gps { heading_cdeg: Some(36_001), ..Gps::at(0, 0.0, 0.0) }]);
                    output.put_in = Some(Insertions { at: vec![0], readings });
                }
                Some("garbage stream") => {
                    output.put_in = Some(Insertions { at: vec![], readings: Batch::Weather(vec![]) });
                }
                _ => {}
            }
            Ok(output)
        }
        fn tick(now_us: i64) -> Result<Vec<Derived>, String> {
            with(|runner| runner.tick(now_us))
        }
        fn snapshot() -> Vec<u8> {
            match armed().as_deref() {
                Some("trap in snapshot") => panic!("in snapshot"),
                Some("loop in snapshot") => spin(),
                Some("a large snapshot") => vec![0; 100_000],
                _ => with(|runner| runner.snapshot()),
            }
        }
        fn restore(state: Vec<u8>) -> Result<(), String> {
            if armed().as_deref() == Some("trap in restore") {
                panic!("in restore");
            }
            with(|runner| runner.restore(state))
        }
    }

    milepost_transform::bindings::export!(Component with_types_in milepost_transform::fixes);
}

fn spin() -> ! {
    let mut i = 0u64;
    loop {
        i = std::hint::black_box(i.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)]
fn recurse(n: i64) -> i64 {
    std::hint::black_box(recurse(std::hint::black_box(n + 1)) + 1)
}
