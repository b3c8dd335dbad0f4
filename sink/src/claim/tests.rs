//! Every interleaving of two owners of one partition, with crashes and lost answers anywhere.

use super::*;
use std::collections::{BTreeMap, HashSet, VecDeque};

/// The partition's log: which row each offset carries. The third is the first, sent again.
const LOG: [u8; 4] = [0, 1, 0, 2];
const END: i64 = LOG.len() as i64;
/// How many crashes and lost answers a run may have in all.
const FAULTS: u8 = 2;

/// How the store and the owners behave: the protocol, and three ways to get it wrong that the checker
/// must see.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Claims,
    /// Claims are overwritten, as a store without conditional puts would.
    OverwrittenClaims,
    /// Who starts does not read back what was written.
    Forgetful,
    /// No claims: files are named after their first offset and overwritten, the committed offset says
    /// where to go on.
    Plain,
}

/// Rows, a bit each.
type Rows = u8;

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct World {
    claims: BTreeMap<i64, i64>,
    /// What readers of the table see: of each file its first and last offset, and its rows.
    files: BTreeMap<(i64, i64), Rows>,
    /// By first offset, the rows that each stands for.
    manifests: BTreeMap<i64, Rows>,
    committed: i64,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    machine: Machine,
    /// The rows that it knows to be written.
    memory: Rows,
    /// What it is about to do; `None` before it starts.
    todo: Option<Effect>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Scene {
    world: World,
    owners: [Owner; 2],
    faults: u8,
}

/// The rows of a range.
fn rows(range: Range) -> Rows {
    LOG[range.first as usize..=range.last as usize].iter().fold(0, |rows, row| rows | 1 << row)
}

/// What the owner remembers after an effect.
fn memory(owner: &Owner, effect: Effect, world: &World, event: Event, mode: Mode) -> Rows {
    let written = |end: i64| world.manifests.range(..end).fold(0, |rows, (_, more)| rows | more);
    match (effect, event) {
        (_, _) if mode == Mode::Plain => 0,
        (Effect::ReadManifest(_), _) if mode == Mode::Forgetful => owner.memory,
        (Effect::ReadManifest(range), Event::ManifestRead(true)) => written(range.first + 1),
        (Effect::ReadManifest(range), Event::ManifestRead(false)) => written(range.first),
        (Effect::PutManifest(range), Event::ManifestPut(Put::Created)) => {
            owner.memory | world.manifests[&range.first]
        }
        _ => owner.memory,
    }
}

/// All that one effect can come to: the world after it and what the owner hears of it.
fn outcomes(effect: Effect, world: &World, known: Rows, mode: Mode) -> Vec<(World, Event)> {
    let same = |event| vec![(world.clone(), event)];
    match effect {
        Effect::List if mode == Mode::Plain => same(match world.committed {
            0 => Event::Newest(None),
            n => Event::Newest(Some(n - 1)),
        }),
        Effect::List => same(Event::Newest(world.claims.keys().next_back().copied())),
        Effect::ReadClaim(first) if mode == Mode::Plain => {
            same(Event::ClaimRead(Range { first, last: first }))
        }
        Effect::ReadClaim(first) => same(Event::ClaimRead(Range { first, last: world.claims[&first] })),
        Effect::ReadManifest(range) => {
            same(Event::ManifestRead(mode == Mode::Plain || world.manifests.contains_key(&range.first)))
        }
        Effect::Collect(first) => (first..END).map(|last| (world.clone(), Event::Cut(last))).collect(),
        Effect::PutClaim(range) => {
            let mut after = world.clone();
            let is_there = world.claims.contains_key(&range.first);
            match mode {
                Mode::Plain => same(Event::ClaimPut(Put::Created)),
                Mode::Claims | Mode::Forgetful if is_there => same(Event::ClaimPut(Put::Exists)),
                _ => {
                    after.claims.insert(range.first, range.last);
                    vec![(after, Event::ClaimPut(Put::Created))]
                }
            }
        }
        Effect::CompareClaim(range) => {
            same(Event::ClaimCompared(world.claims.get(&range.first) == Some(&range.last)))
        }
        Effect::Rebuild(_) => same(Event::Rebuilt),
        Effect::PutFiles(range) => {
            let mut after = world.clone();
            if mode == Mode::Plain {
                after.files.retain(|f, _| f.0 != range.first);
            }
            after.files.entry((range.first, range.last)).or_insert(rows(range) & !known);
            vec![(after, Event::FilesPut)]
        }
        Effect::PutManifest(range) => {
            let mut after = world.clone();
            after.committed = range.last + 1;
            if mode != Mode::Plain && world.manifests.contains_key(&range.first) {
                return vec![(after, Event::ManifestPut(Put::Exists))];
            }
            // Overwritten by then, where that can be.
            let rows = world.files.get(&(range.first, range.last)).copied().unwrap_or(0);
            after.manifests.insert(range.first, rows);
            vec![(after, Event::ManifestPut(Put::Created))]
        }
    }
}

fn next(scene: &Scene, mode: Mode) -> Vec<Scene> {
    let mut out = Vec::new();
    for me in 0..2 {
        let owner = &scene.owners[me];
        let mut with = |world: &World, owner: Owner, faults: u8| {
            let mut after = Scene { world: world.clone(), faults, ..scene.clone() };
            after.owners[me] = owner;
            out.push(after);
        };
        let start = || {
            let mut machine = Machine::default();
            let todo = Some(machine.step(Event::Start).unwrap());
            Owner { machine, memory: 0, todo }
        };
        let Some(effect) = owner.todo else {
            with(&scene.world, start(), scene.faults);
            continue;
        };
        if scene.faults > 0 {
            // Dies before the effect.
            with(&scene.world, start(), scene.faults - 1);
        }
        for (world, event) in outcomes(effect, &scene.world, owner.memory, mode) {
            let mut machine = owner.machine.clone();
            let todo = Some(machine.step(event).expect("the protocol has an answer to everything"));
            let memory = memory(owner, effect, &world, event, mode);
            with(&world, Owner { machine, memory, todo }, scene.faults);
            if scene.faults > 0 && world != scene.world {
                // Takes effect, and the owner dies before it hears of it ...
                with(&world, start(), scene.faults - 1);
                // ... or the answer is lost and the owner does it again later.
                with(&world, owner.clone(), scene.faults - 1);
            }
        }
    }
    out
}

struct Verdict {
    scenes: usize,
    quiet: usize,
    repeats: usize,
    losses: usize,
}

fn explore(mode: Mode) -> Verdict {
    let owner = Owner { machine: Machine::default(), memory: 0, todo: None };
    let first = Scene { world: World::default(), owners: [owner.clone(), owner], faults: FAULTS };
    let mut known = HashSet::from([first.clone()]);
    let mut queue = VecDeque::from([first]);
    let mut verdict = Verdict { scenes: 0, quiet: 0, repeats: 0, losses: 0 };
    while let Some(scene) = queue.pop_front() {
        verdict.scenes += 1;
        let written = |row: &u8| scene.world.files.values().filter(|rows| **rows >> row & 1 == 1).count();
        verdict.repeats += usize::from(LOG.iter().any(|row| written(row) > 1));
        if scene.owners.iter().all(|o| o.todo == Some(Effect::Collect(END))) {
            verdict.quiet += 1;
            verdict.losses += usize::from(LOG.iter().any(|row| written(row) == 0));
        }
        // One is enough to know that the checker sees it.
        let seen = match mode {
            Mode::Claims => false,
            Mode::OverwrittenClaims | Mode::Forgetful => verdict.repeats > 0,
            Mode::Plain => verdict.repeats > 0 && verdict.losses > 0,
        };
        if seen {
            return verdict;
        }
        for after in next(&scene, mode) {
            if known.insert(after.clone()) {
                queue.push_back(after);
            }
        }
    }
    verdict
}

#[test]
fn two_owners_with_crashes_and_lost_answers_write_every_row_once_though_one_is_sent_twice() {
    let Verdict { scenes, quiet, repeats, losses } = explore(Mode::Claims);
    println!("claims: {scenes} scenes, {quiet} quiet ends, {repeats} with a repeat, {losses} with a loss");
    assert!(scenes > 3_000 && quiet > 0);
    assert_eq!((repeats, losses), (0, 0));
}

#[test]
fn the_checker_sees_the_loss_of_plain_timed_flushes() {
    let Verdict { scenes, quiet, repeats, losses } = explore(Mode::Plain);
    println!("plain: {scenes} scenes, {quiet} quiet ends, {repeats} with a repeat, {losses} with a loss");
    assert!(repeats > 0 && losses > 0, "{repeats} repeats, {losses} losses");
}

#[test]
fn the_checker_sees_a_store_whose_conditional_put_overwrites() {
    let verdict = explore(Mode::OverwrittenClaims);
    assert!(verdict.repeats > 0);
}

#[test]
fn the_checker_sees_an_owner_that_does_not_remember_what_was_written() {
    let verdict = explore(Mode::Forgetful);
    assert!(verdict.repeats > 0);
}

#[test]
fn an_answer_that_cannot_be_is_an_error_and_changes_nothing() {
    let mut machine = Machine::default();
    machine.step(Event::Start).unwrap();
    let before = machine.clone();
    assert!(machine.step(Event::FilesPut).is_err());
    assert_eq!(machine, before);
    machine.step(Event::Newest(Some(7))).unwrap();
    assert!(machine.step(Event::ClaimRead(Range { first: 8, last: 9 })).is_err());
    assert!(machine.step(Event::ClaimRead(Range { first: 7, last: 6 })).is_err());
    assert!(machine.step(Event::ClaimRead(Range { first: 7, last: 7 })).is_ok());
}
