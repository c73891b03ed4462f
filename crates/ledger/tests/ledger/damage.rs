//! A broken disk: every start either has true rows, or says that something is wrong; none has false ones or fewer in silence.

use crate::runs::*;
use kin_core::{Run, RunNo, RunState};
use kin_ledger::{Found, Ledger, OutcomeIs, Query, StateIs};
use std::collections::BTreeMap;
use std::path::Path;

const FILES: [&str; 2] = ["kin.db", "kin.db-wal"];

/// A ledger that was killed: half of it in the database, half in the log.
struct Image {
    dir: tempfile::TempDir,
    /// Every version that each run ever had.
    versions: BTreeMap<RunNo, Vec<Run>>,
}

fn image() -> Image {
    let (work, dir) = (scratch(), scratch());
    let mut ledger = open(work.path());
    let mut versions: BTreeMap<RunNo, Vec<Run>> = BTreeMap::new();
    let mut write = |ledger: &mut Ledger, runs: &[Run]| {
        put(ledger, runs);
        for run in runs {
            versions.entry(run.no).or_default().push(run.clone());
        }
    };
    // Four at a time, each first alive and then ended; the last four stay alive.
    let four = |first: u64| (first..first + 4).map(|n| (["backup", "web", "report"][(n % 3) as usize], n));
    let begin = |first: u64| -> Vec<Run> {
        four(first).map(|(name, n)| live(name, n, RunState::Starting { generation: Some(n) })).collect()
    };
    let end = |first: u64| -> Vec<Run> {
        four(first).map(|(name, n)| if n % 7 == 0 { failed(name, n) } else { ok(name, n) }).collect()
    };
    for first in (0..200).step_by(4) {
        write(&mut ledger, &begin(first));
        write(&mut ledger, &end(first));
    }
    ledger.close().expect("closed");
    let mut ledger = open(work.path());
    for first in (200..232).step_by(4) {
        write(&mut ledger, &begin(first));
        if first < 228 {
            write(&mut ledger, &end(first));
        }
    }
    killed(work.path(), dir.path());
    Image { dir, versions }
}

/// Listings that are held against the truth, and what belongs in each.
fn queries() -> [Query; 4] {
    [
        Query::default(),
        Query { job: Some("backup".into()), ..Query::default() },
        Query { outcome: Some(OutcomeIs::Failure), ..Query::default() },
        Query { state: Some(StateIs::Live), ..Query::default() },
    ]
    .map(|query| Query { limit: 1_000, ..query })
}

fn wants(query: &Query, run: &Run) -> bool {
    query.job.as_ref().is_none_or(|name| run.job.as_str() == name)
        && query.outcome.is_none_or(|_| run.outcome().is_some_and(kin_core::Outcome::is_failure))
        && query.state.is_none_or(|_| run.outcome().is_none())
}

/// Opens the damaged image and holds what it finds against what was.
fn judge(image: &Image, dir: &Path, what: &str) -> bool {
    let opened = match Ledger::open(dir, NOON) {
        Ok(opened) => opened,
        // Said, by name, and nothing touched.
        Err(error) => {
            assert!(error.to_string().contains("kin.db"), "{what}: {error}");
            return false;
        }
    };
    let said = match &opened.found {
        Found::Fresh => panic!("{what}: a ledger was forgotten"),
        Found::Good => false,
        Found::SetAside { .. } => true,
    };
    let reader = opened.ledger.reader().expect("a reader");
    let mut complete = true;
    for query in queries() {
        let page = match reader.runs(&query) {
            Ok(page) => page,
            Err(error) => {
                assert!(error.to_string().contains("damaged"), "{what}: {error}");
                complete = false;
                continue;
            }
        };
        for run in &page.runs {
            let versions = image.versions.get(&run.no).unwrap_or_else(|| panic!("{what}: {run:?} never was"));
            // An older version may come back, but only when it is said that something was lost.
            let true_ones = if said { versions.as_slice() } else { &versions[versions.len() - 1..] };
            assert!(true_ones.contains(run), "{what}: {run:?} is false");
        }
        let last = image.versions.values().filter_map(|versions| versions.last());
        let expected = last.filter(|run| wants(&query, run)).count();
        assert!(
            said || !page.damaged.is_empty() || page.runs.len() == expected,
            "{what}: {} of {expected} runs, and not a word",
            page.runs.len()
        );
    }
    // What was set aside is whole again, and stays so.
    if said {
        assert_eq!(opened.ledger.quick_check().expect("a check"), Vec::<String>::new(), "{what}");
        drop((reader, opened));
        let again = Ledger::open(dir, NOON).expect("a ledger");
        assert_eq!(again.found, Found::Good, "{what}");
    }
    !said && complete
}

fn damaged(image: &Image, file: &str, what: &str, how: impl FnOnce(&mut Vec<u8>)) -> bool {
    let dir = scratch();
    killed(image.dir.path(), dir.path());
    let path = dir.path().join(file);
    let mut bytes = std::fs::read(&path).expect("readable");
    how(&mut bytes);
    std::fs::write(&path, bytes).expect("written");
    judge(image, dir.path(), &format!("{file}: {what}"))
}

fn length(image: &Image, file: &str) -> usize {
    usize::try_from(std::fs::metadata(image.dir.path().join(file)).expect("there").len()).expect("small")
}

#[test]
fn an_image_without_damage_is_good() {
    let image = image();
    assert!(damaged(&image, "kin.db", "nothing", |_| {}));
    assert!(length(&image, "kin.db") > 40_000 && length(&image, "kin.db-wal") > 100_000);
}

#[test]
fn cut_anywhere() {
    let image = image();
    for file in FILES {
        let len = length(&image, file);
        let page = if file == "kin.db" { 4096 } else { 4120 };
        let at_pages = (0..len).step_by(len.div_ceil(page * 12) * page);
        let odd = (0..len).step_by(len / 17 + 1).map(|at| at + 13);
        for at in at_pages.chain(odd).chain([0, 1, 31, 32, 99, 100, 511, len - 1]).filter(|at| *at < len) {
            damaged(&image, file, &format!("cut to {at} of {len}"), |bytes| bytes.truncate(at));
        }
    }
}

#[test]
fn zeros_anywhere() {
    let image = image();
    for file in FILES {
        let len = length(&image, file);
        for (n, at) in (0..len).step_by(len / 60 + 1).enumerate() {
            let many = [1, 16, 100, 512, 4096, 20_000][n % 6];
            let end = (at + many).min(len);
            damaged(&image, file, &format!("zeros from {at} to {end}"), |bytes| bytes[at..end].fill(0));
        }
        damaged(&image, file, "nothing but zeros", |bytes| bytes.fill(0));
    }
}

#[test]
fn a_flipped_byte_anywhere() {
    let image = image();
    for file in FILES {
        let len = length(&image, file);
        // Every byte of the headers, and many of the rest.
        let heads = (0..110).chain(4096..4120);
        for at in heads.chain((110..len).step_by(len / 250 + 1)) {
            damaged(&image, file, &format!("byte {at} of {len}"), |bytes| bytes[at] ^= 1 << (at % 8));
        }
    }
}

#[test]
fn a_lost_log_is_noticed() {
    let image = image();
    let dir = scratch();
    killed(image.dir.path(), dir.path());
    std::fs::remove_file(dir.path().join("kin.db-wal")).expect("gone");
    assert!(!judge(&image, dir.path(), "the log is gone"));
}

#[test]
fn any_page_of_noise_is_noticed() {
    let image = image();
    let len = length(&image, "kin.db");
    for page in 0..len / 4096 {
        damaged(&image, "kin.db", &format!("noise in page {}", page + 1), |bytes| {
            let mut noise = 0x9e37_79b9_7f4a_7c15_u64 ^ page as u64;
            for byte in &mut bytes[page * 4096..][..4096] {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (noise >> 56) as u8;
            }
        });
    }
}

/// The damage of a disk that breaks while kin runs, in a ledger too big to be looked at whenever it is opened: readers meet
/// it without warning. What they show is true all the same, or named. What they may miss, an entry of an index that reads
/// as another one, the daily check finds.
#[test]
fn readers_meet_damage_and_name_it() {
    let image = image();
    let dir = scratch();
    killed(image.dir.path(), dir.path());
    open(dir.path()).close().expect("closed");
    let path = dir.path().join("kin.db");
    let good = std::fs::read(&path).expect("readable");
    let (mut hidden, mut silent) = (0, Vec::new());
    for at in (100..good.len()).step_by(good.len() / 400) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).expect("written");
        let Ok(reader) = kin_ledger::Reader::open(dir.path()) else { continue };
        for query in queries() {
            let Ok(page) = reader.runs(&query) else { continue };
            let last = || image.versions.values().filter_map(|versions| versions.last());
            for run in &page.runs {
                assert!(last().any(|known| known == run), "byte {at}: {run:?} is false");
            }
            if page.damaged.is_empty() && page.runs.len() != last().filter(|run| wants(&query, run)).count() {
                hidden += 1;
                if reader.quick_check().is_ok_and(|complaints| complaints.is_empty()) {
                    silent.push(at);
                }
            }
        }
    }
    eprintln!("{hidden} flips hid a run from a listing");
    assert_eq!(silent, [0; 0], "bytes whose flip hides runs from listings and from the check");
}

/// Each byte of the header, in a database that stands alone and in one with a log beside it.
#[test]
fn whatever_byte_of_the_header_is_wrong_the_ledger_opens_again() {
    let killed_one = image();
    let closed = {
        let dir = scratch();
        killed(killed_one.dir.path(), dir.path());
        open(dir.path()).close().expect("closed");
        Image { dir, versions: killed_one.versions.clone() }
    };
    for image in [&killed_one, &closed] {
        for at in 0..100 {
            let dir = scratch();
            killed(image.dir.path(), dir.path());
            let path = dir.path().join("kin.db");
            let mut bytes = std::fs::read(&path).expect("readable");
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).expect("written");
            // Its version says who may open it at all.
            if (60..64).contains(&at) {
                let refused = Ledger::open(dir.path(), NOON);
                assert!(matches!(refused, Err(kin_ledger::OpenError::Newer { .. })), "byte {at}: {refused:?}");
                assert_eq!(std::fs::read(&path).expect("readable"), bytes, "byte {at}");
                continue;
            }
            if let Err(error) = Ledger::open(dir.path(), NOON) {
                panic!("byte {at}: {error:?}");
            }
            damaged(image, "kin.db", &format!("byte {at}"), |bytes| bytes[at] ^= 0xff);
        }
    }
}
