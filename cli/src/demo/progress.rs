//! What one sees while the demo runs: a bar for each vehicle on a terminal, plain lines elsewhere.
//! It goes to standard error, so that standard output holds the summary alone.

use super::cloud::Progress;
use super::fleet::Look;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Vehicles that have a bar of their own; more share one.
const BARS: usize = 12;
/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how the demo goes.
pub(crate) struct Show {
    screen: Option<Screen>,
    since: Instant,
    last_line: Option<Instant>,
}

struct Screen {
    bars: MultiProgress,
    vehicles: Vec<ProgressBar>,
    cloud: ProgressBar,
}

/// The state that is shown.
pub(crate) struct State<'a> {
    pub vehicles: &'a [Look],
    pub cloud: Progress,
    /// How far the trip is, 0 to 1.
    pub done: f64,
    pub network: bool,
}

impl Show {
    /// Begins to show vehicles of these names.
    pub(crate) fn start(vehicles: &[Look]) -> Self {
        let screen = std::io::stderr().is_terminal().then(|| Screen::new(vehicles));
        Self { screen, since: Instant::now(), last_line: None }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, what: &str) {
        match &self.screen {
            Some(screen) => {
                let _ = screen.bars.println(what);
            }
            None => crate::remark(&format!("{:6.1} s  {what}", self.since.elapsed().as_secs_f64())),
        }
    }

    /// Shows a state.
    pub(crate) fn show(&mut self, state: &State) {
        if let Some(screen) = &self.screen {
            return screen.show(state);
        }
        if self.last_line.is_some_and(|at| at.elapsed() < LINE_EVERY) {
            return;
        }
        self.last_line = Some(Instant::now());
        let readings: u64 = state.vehicles.iter().map(|v| v.readings).sum();
        let waiting: u64 = state.vehicles.iter().map(|v| v.waiting).sum();
        let network = if state.network { "" } else { "  (network away)" };
        self.say(&format!(
            "{:3.0} %  {readings} readings, {waiting} frames wait in spools, {}{network}",
            state.done * 100.0,
            of_cloud(&state.cloud)
        ));
    }

    /// Takes the bars away.
    pub(crate) fn end(&self) {
        if let Some(screen) = &self.screen {
            let _ = screen.bars.clear();
        }
    }
}

impl Screen {
    fn new(vehicles: &[Look]) -> Self {
        let bars = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━━─")
        };
        let vehicles = vehicles
            .iter()
            .take(BARS)
            .map(|v| {
                let bar = bars.add(ProgressBar::new(1000));
                bar.set_style(style("{prefix:>12.bold} {bar:32.green} {msg}"));
                bar.set_prefix(v.vehicle.clone());
                bar
            })
            .collect();
        let cloud = bars.add(ProgressBar::new_spinner());
        cloud.set_style(style("{prefix:>12.bold} {spinner} {msg}"));
        cloud.set_prefix("cloud");
        Self { bars, vehicles, cloud }
    }

    fn show(&self, state: &State) {
        for (bar, v) in self.vehicles.iter().zip(state.vehicles) {
            bar.set_position((state.done * 1000.0) as u64);
            let line = if v.connected { "on air" } else { "no network" };
            bar.set_message(format!("{:>8} readings  {:>5} in spool  {line}", v.readings, v.waiting));
        }
        let network = if state.network { "" } else { "  — the network is away" };
        self.cloud.set_message(format!("{}{network}", of_cloud(&state.cloud)));
        self.cloud.tick();
    }
}

fn of_cloud(p: &Progress) -> String {
    format!("{} readings in Kafka, {} rows in {} files in the lake", p.in_kafka, p.rows, p.files)
}
