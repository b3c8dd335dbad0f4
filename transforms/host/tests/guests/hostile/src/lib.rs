//! Does what a transform must not do, for the tests of the host: `how` says what, and a fix with
//! `fix = 99` sets it off. Other fixes are kept and counted, in the transform's memory and with the host.

use milepost_transform::{Gps, Level, Next, Out, Params, Transform, host, keeps, transform};

/// What to do, and how many fixes were kept.
pub struct Hostile {
    how: String,
    seen: i64,
}

impl Transform for Hostile {
    keeps!(seen);

    fn new(params: &mut Params) -> Result<Self, String> {
        let how = params.text("how", "nothing");
        match how.as_str() {
            "refuse in init" => Err("not today".into()),
            "trap in init" => panic!("in init"),
            "loop in init" => spin(),
            _ => Ok(Self { how, seen: 0 }),
        }
    }

    fn gps(&mut self, fix: &Gps, out: &mut Out) -> Next<Gps> {
        self.seen += 1;
        let stored = host::state_get("seen").and_then(|b| b.try_into().ok()).map_or(0, i64::from_le_bytes);
        host::state_put("seen", &(stored + 1).to_le_bytes());
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
            "state" => {
                for i in 0..1000 {
                    host::state_put(&format!("key {i}"), &[0; 1000]);
                }
                Next::Keep
            }
            "bad name" => {
                out.derive("No Such Name", fix, |row| {
                    row.set("x", 1);
                });
                Next::Keep
            }
            "give back" => Next::Change(*fix),
            "fail" => {
                out.fail("this fix is bad");
                Next::Keep
            }
            _ => Next::Keep,
        }
    }
}
transform!(Hostile: gps);

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
