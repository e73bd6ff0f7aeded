//! The folder: whole files or none, the same file from the same call.

mod support;

use bytes::Bytes;
use connect::{CallError, FolderSettings, FolderTarget, Refusal, Reply, Target};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use support::{Peer, acked, run, with_body};

type Job = Box<dyn FnOnce() + Send>;

/// A thread for every job.
fn threads(job: Job) -> bool {
    std::thread::spawn(job);
    true
}

fn target(folder: &Path) -> FolderTarget {
    FolderTarget::new(FolderSettings::new(folder), Rc::new(threads))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_delivery_is_one_file_however_often_it_is_tried() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("out");
    let target = target(&folder);
    let rows = Bytes::from("order;hours\n4711;7.5\n".repeat(10_000));
    let report = || with_body("shift_early.csv", rows.clone());
    assert_eq!(acked(&run(target.call(report()))), format!("shift_early.csv written, {} bytes", rows.len()));
    let again = run(target.call(report()));
    assert_eq!(acked(&again), "shift_early.csv was there already, with the same content");
    assert_eq!(again.sent, format!("write shift_early.csv in {}", folder.display()));
    assert_eq!(fs::read(folder.join("shift_early.csv")).expect("the file"), rows);
    assert_eq!(names(&folder), ["shift_early.csv"]);
    assert!(acked(&run(target.call(with_body("empty", "")))).contains("written"));
    assert!(acked(&run(target.call(with_body("empty", "")))).contains("already"));
}

#[test]
fn other_content_under_the_same_name_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target(folder.path());
    for theirs in ["other", "same lengtH", ""] {
        fs::write(folder.path().join("a"), theirs).expect("written");
        let exchange = run(target.call(with_body("a", "same length")));
        assert!(matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })), "{exchange:?}");
        assert_eq!(fs::read_to_string(folder.path().join("a")).expect("the file"), theirs);
    }
    // nor is what is no file written through or over
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).expect("a link");
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    for name in ["link", "folder"] {
        let exchange = run(target.call(with_body(name, "x")));
        assert!(matches!(exchange.result, Err(CallError::Refused { .. })), "{name}: {exchange:?}");
    }
    assert_eq!(fs::read(outside.path()).expect("the file"), b"");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("out");
    let target = target(&folder);
    for name in ["../escape", "/tmp/escape", "a/b", "..", ".", "", ".hidden", "a\0b"] {
        let exchange = run(target.call(with_body(name, "x")));
        assert!(
            matches!(exchange.result, Err(CallError::Refused { of: Refusal::Message, .. })),
            "{name:?}: {exchange:?}"
        );
    }
    assert!(names(place.path()).is_empty(), "something was written");
}

#[test]
fn a_folder_that_is_not_there_or_full_hands_leave_nothing_sent() {
    let place = tempfile::tempdir().expect("a folder");
    let missing = FolderSettings { path: place.path().join("share"), create: false };
    let exchange = run(FolderTarget::new(missing, Rc::new(threads)).call(with_body("a", "x")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
    let deep = FolderSettings::new(place.path().join("no/such"));
    let exchange = run(FolderTarget::new(deep, Rc::new(threads)).call(with_body("a", "x")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
    fs::write(place.path().join("file"), "").expect("written");
    let file = FolderSettings::new(place.path().join("file"));
    let exchange = run(FolderTarget::new(file, Rc::new(threads)).call(with_body("a", "x")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");

    let busy = FolderTarget::new(FolderSettings::new(place.path()), Rc::new(|_: Job| false));
    let exchange = run(busy.call(with_body("a", "x")));
    assert!(matches!(exchange.result, Err(CallError::Unreachable { .. })), "{exchange:?}");
    // taken, and never done
    let gone = FolderTarget::new(
        FolderSettings::new(place.path()),
        Rc::new(|job: Job| {
            drop(job);
            true
        }),
    );
    let exchange = run(gone.call(with_body("a", "x")));
    assert!(matches!(exchange.result, Err(CallError::Lost { .. })), "{exchange:?}");
    assert_eq!(names(place.path()), ["file"]);
}

#[test]
fn two_of_one_name_at_once_make_one_whole_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let target = target(folder.path());
    let rows = Bytes::from(vec![b'r'; 1 << 20]);
    run(async {
        let calls = (0..8).map(|_| target.call(with_body("report.csv", rows.clone())));
        for exchange in futures_util::future::join_all(calls).await {
            assert!(matches!(exchange.result, Ok(Reply::Acked { .. })), "{exchange:?}");
        }
    });
    assert_eq!(names(folder.path()), ["report.csv"]);
    assert_eq!(fs::read(folder.path().join("report.csv")).expect("the file"), rows);
}

/// 1. A process writes files of 4 MiB, one after the other.
/// 2. It is killed in the midst of it.
/// 3. Whatever is there under its own name is whole.
/// 4. The same calls again make the same files.
#[test]
fn a_kill_leaves_no_part_of_a_file() {
    const FOLDER: &str = "CONNECT_TEST_FOLDER";
    let rows = |number: usize| Bytes::from(vec![b'a' + u8::try_from(number % 26).expect("a letter"); 4 << 20]);
    if let Some(folder) = std::env::var_os(FOLDER) {
        let target = target(Path::new(&folder));
        for number in 0.. {
            acked(&run(target.call(with_body(format!("run-{number}"), rows(number)))));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for wanted in [1, 3, 5] {
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "a_kill_leaves_no_part_of_a_file"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let child = Peer::of(child);
        let start = std::time::Instant::now();
        while !folder.path().join(format!("run-{wanted}")).exists() {
            assert!(start.elapsed() < support::PATIENCE, "nothing is written");
            std::thread::yield_now();
        }
        child.kill();
        let whole: Vec<String> = names(folder.path()).into_iter().filter(|name| !name.starts_with('.')).collect();
        assert!(whole.len() > wanted);
        for name in whole {
            let number: usize = name.trim_start_matches("run-").parse().expect("a number");
            assert_eq!(fs::read(folder.path().join(&name)).expect("the file"), rows(number), "{name}");
        }
    }
    let target = target(folder.path());
    assert!(acked(&run(target.call(with_body("run-0", rows(0))))).contains("same content"));
}
