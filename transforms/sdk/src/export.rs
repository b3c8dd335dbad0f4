//! Makes a type the component that the crate is compiled to.

/// `transform!(Type: streams)`, once in a crate: makes `Type` its component, called for the named streams
/// (`gps`, `vehicle`, `camera`, `weather`, `emergency`, `derived` for all derived ones).
#[macro_export]
macro_rules! transform {
    ($type:ident: $($stream:ident),+ $(,)?) => {
        impl $crate::run::Registered for $type {
            const STREAMS: &'static [&'static str] = &[$($crate::transform!(@name $stream)),+];
        }

        #[cfg(target_family = "wasm")]
        mod milepost_component {
            use $crate::bindings::{Batch, Derived, Output, Plan};
            use std::cell::RefCell;

            type Runner = $crate::run::Runner<super::$type>;

            thread_local! {
                static RUNNER: RefCell<Option<Runner>> = const { RefCell::new(None) };
            }

            fn with<R>(f: impl FnOnce(&mut Runner) -> R) -> R {
                RUNNER.with_borrow_mut(|runner| f(runner.as_mut().expect("init comes first")))
            }

            struct Component;

            impl $crate::bindings::Guest for Component {
                fn init(params: Vec<(String, String)>) -> Result<Plan, String> {
                    std::panic::set_hook(Box::new(|panic| {
                        $crate::host::log($crate::Level::Error, &panic.to_string());
                    }));
                    let (runner, plan) = Runner::init(params)?;
                    RUNNER.set(Some(runner));
                    Ok(plan)
                }
                fn process(readings: Batch) -> Result<Output, String> {
                    with(|runner| runner.process(readings))
                }
                fn tick(now_us: i64) -> Result<Vec<Derived>, String> {
                    with(|runner| runner.tick(now_us))
                }
                fn snapshot() -> Vec<u8> {
                    with(|runner| runner.snapshot())
                }
                fn restore(state: Vec<u8>) -> Result<(), String> {
                    with(|runner| runner.restore(state))
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::fixes);
        }
    };
    (@name gps) => { "gps_data" };
    (@name vehicle) => { "vehicle_data" };
    (@name camera) => { "camera_data" };
    (@name weather) => { "weather_data" };
    (@name emergency) => { "emergency_data" };
    (@name derived) => { "*" };
}
