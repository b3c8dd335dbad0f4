use super::super::outlet::{Deliveries, Next, QueueLimits, channel};
use super::jpeg::markers;
use super::*;
use crate::clock::SystemClock;
use milepost_wire::Body;
use std::fs;

fn settings(folder: &Path, after: &str, more: &str) -> Settings {
    toml::from_str(&format!(
        "folder = {folder:?}\nafter = {after:?}\npoll = \"5ms\"\npatience = \"0s\"\n{more}"
    ))
    .unwrap()
}

struct Running {
    task: tokio::task::JoinHandle<u64>,
    stop: CancellationToken,
    deliveries: Deliveries,
}

impl Running {
    fn start(settings: &Settings) -> Self {
        let (intake, deliveries) = channel(QueueLimits::default());
        let outlet = intake.outlet("camera", Arc::default());
        let mut source = build(settings, &Context { clock: Arc::new(SystemClock::new()) });
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = told.cancelled() => {}
                ended = source.run(&outlet, &told) => panic!("{ended:?}"),
            }
            outlet.counters().details().values().sum()
        });
        Self { task, stop, deliveries }
    }

    /// The next `n` images: camera, width.
    async fn next(mut self, n: usize) -> (Self, Vec<(String, u16)>) {
        let wait = move || {
            let mut images = Vec::new();
            while images.len() < n {
                let Next::Delivery(d) = self.deliveries.next(Duration::from_secs(30)) else {
                    panic!("{images:?}")
                };
                images.extend(d.readings.into_iter().map(|r| match r.body {
                    Body::Camera(c) => (c.camera_id, c.width.unwrap()),
                    other => panic!("{other:?}"),
                }));
            }
            (self, images)
        };
        tokio::task::spawn_blocking(wait).await.unwrap()
    }

    /// Stops, and gives how many files were refused and what came beside what was asked for.
    async fn stop(mut self) -> (u64, usize) {
        self.stop.cancel();
        let refused = self.task.await.unwrap();
        let mut more = 0;
        while let Next::Delivery(d) = self.deliveries.next(Duration::ZERO) {
            more += d.readings.len();
        }
        (refused, more)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until a folder holds just these.
async fn until_names(folder: &Path, expected: &[&str]) {
    while names(folder) != expected {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn images_are_delivered_oldest_first_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rear")).unwrap();
    for (i, name) in ["b.jpg", "a.JPEG", "c.jpg"].iter().enumerate() {
        fs::write(dir.path().join(name), markers(100 + i as u16, 50, 10)).unwrap();
        let file = fs::File::options().append(true).open(dir.path().join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + i as u64)).unwrap();
    }
    fs::write(dir.path().join("rear/x.jpg"), markers(200, 50, 10)).unwrap();
    fs::write(dir.path().join("notes.txt"), "no image").unwrap();
    let (running, images) = Running::start(&settings(dir.path(), "delete", "")).next(4).await;
    let expected = [("camera", 100), ("camera", 101), ("camera", 102), ("rear", 200)];
    assert_eq!(images, expected.map(|(c, w)| (c.to_string(), w)));
    until_names(dir.path(), &["notes.txt", "rear"]).await;
    until_names(&dir.path().join("rear"), &[]).await;
    assert_eq!(running.stop().await, (0, 0));
}

#[tokio::test]
async fn what_is_no_whole_image_is_counted_and_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("1.jpg"), "not an image").unwrap();
    fs::write(dir.path().join("2.jpg"), &markers(1, 1, 100)[..60]).unwrap();
    fs::write(dir.path().join("3.jpg"), markers(1, 1, 5000)).unwrap();
    fs::write(dir.path().join("4.jpg"), markers(4, 1, 10)).unwrap();
    let settings = settings(dir.path(), "delete", "max_size = \"1 kB\"\ncamera_id = \"front\"");
    let (running, images) = Running::start(&settings).next(1).await;
    assert_eq!(images, [("front".to_string(), 4)]);
    until_names(dir.path(), &["refused"]).await;
    assert_eq!(names(&dir.path().join("refused")), ["1.jpg", "2.jpg", "3.jpg"]);
    assert_eq!(running.stop().await, (3, 0));
}

#[tokio::test]
async fn what_is_kept_is_not_delivered_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, width| {
        fs::write(dir.path().join(name), markers(width, 1, 10)).unwrap();
        let file = fs::File::options().append(true).open(dir.path().join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(width)))
            .unwrap();
    };
    put("a.jpg", 1);
    put("b.jpg", 2);
    let settings = settings(dir.path(), "keep", "");
    let (running, images) = Running::start(&settings).next(2).await;
    assert_eq!(images.len(), 2);
    while folder::marked(dir.path()).map(|p| p.name).as_deref() != Some("b.jpg") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(running.stop().await, (0, 0));
    put("c.jpg", 3);
    let (running, images) = Running::start(&settings).next(1).await;
    assert_eq!(images, [("camera".to_string(), 3)]);
    assert_eq!(running.stop().await, (0, 0));
    // Stopped in mid-write it may leave the new mark beside the old one.
    let left: Vec<_> = names(dir.path()).into_iter().filter(|n| n != ".milepost-watch.new").collect();
    assert_eq!(left, [".milepost-watch", "a.jpg", "b.jpg", "c.jpg"]);
}

#[tokio::test]
async fn what_is_moved_ends_in_its_folder() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.jpg"), markers(1, 1, 10)).unwrap();
    let after = format!("move:{}", archive.path().join("sent").display());
    let (running, _) = Running::start(&settings(dir.path(), &after, "")).next(1).await;
    until_names(dir.path(), &[]).await;
    assert_eq!(names(&archive.path().join("sent")), ["a.jpg"]);
    running.stop().await;
}

#[tokio::test]
async fn a_name_that_comes_again_takes_no_other_files_place() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let after = format!("move:{}", archive.path().display());
    let mut running = Running::start(&settings(dir.path(), &after, ""));
    for width in 1..4 {
        fs::write(dir.path().join("the front.jpg"), markers(width, 1, 10)).unwrap();
        let images;
        (running, images) = running.next(1).await;
        assert_eq!(images, [("camera".to_string(), width)]);
        until_names(dir.path(), &[]).await;
    }
    assert_eq!(names(archive.path()), ["the front-1.jpg", "the front-2.jpg", "the front.jpg"]);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_put_away_is_delivered_once_and_put_away_later() {
    let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.jpg"), markers(1, 1, 10)).unwrap();
    // Where the folder should be there is a file.
    let sent = archive.path().join("sent");
    fs::write(&sent, "").unwrap();
    let (intake, mut deliveries) = channel(QueueLimits::default());
    let outlet = intake.outlet("camera", Arc::default());
    let settings = settings(dir.path(), &format!("move:{}", sent.display()), "");
    let mut source = build(&settings, &Context { clock: Arc::new(SystemClock::new()) });
    let stop = CancellationToken::new();
    for _ in 0..3 {
        let error = source.run(&outlet, &stop).await.unwrap_err().to_string();
        assert!(error.contains("Cannot put away") && error.contains("a.jpg"), "{error}");
    }
    fs::remove_file(&sent).unwrap();
    tokio::select! {
        ended = source.run(&outlet, &stop) => panic!("{ended:?}"),
        () = until_names(dir.path(), &[]) => {}
    }
    assert_eq!(names(&sent), ["a.jpg"]);
    let mut delivered = 0;
    while let Next::Delivery(d) = deliveries.next(Duration::ZERO) {
        delivered += d.readings.len();
    }
    assert_eq!(delivered, 1);
}

#[test]
fn an_image_that_took_anothers_place_is_left_for_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.jpg"), markers(1, 1, 10)).unwrap();
    let found = folder::files(dir.path(), None).unwrap().remove(0);
    fs::write(dir.path().join("a.jpg"), markers(1, 1, 20)).unwrap();
    folder::settle(&found, &After::Delete).unwrap();
    assert_eq!(names(dir.path()), ["a.jpg"]);
    fs::remove_file(dir.path().join("a.jpg")).unwrap();
    folder::settle(&found, &After::Delete).unwrap();
}

#[test]
fn a_file_that_grows_is_waited_for_and_patience_ends() {
    let dir = tempfile::tempdir().unwrap();
    let settings: Settings = toml::from_str(&format!("folder = {:?}\nafter = \"keep\"", dir.path())).unwrap();
    let image = markers(7, 5, 100);
    let write = |n: usize| {
        fs::write(dir.path().join("a.jpg"), &image[..n]).unwrap();
        folder::files(dir.path(), None).unwrap().remove(0)
    };
    let half = write(50);
    let at = Duration::from_secs;
    assert_eq!(step(&half, None, at(0), &settings), Step::Wait, "seen for the first time");
    assert_eq!(step(&half, Some(at(0)), at(9), &settings), Step::Wait, "not whole yet");
    assert_eq!(step(&half, Some(at(0)), at(10), &settings), Step::Refuse("not_whole"));
    let whole = write(image.len());
    assert_eq!(step(&whole, None, at(1), &settings), Step::Wait, "it has just changed");
    let delivered = step(&whole, Some(at(1)), at(2), &settings);
    assert_eq!(delivered, Step::Deliver { bytes: image.clone(), width: 7, height: 5 });
    assert!(toml::from_str::<Settings>("folder = \"a\"\nafter = \"burn\"").is_err());
}
