//! Packed segments read as the plain ones they were, or say that they are damaged.

use super::*;
use crate::output::LogFiles;
use crate::output::merged::{Merged, Progress, Upto};
use crate::output::segments::{Found, Segments};
use kin_keeper::index::{self, Stream};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Two frames and a half: every kind of border is inside.
const SIZE: u64 = FRAME as u64 * 5 / 2;

/// Lines, as logs are, with some noise; no two frames are alike.
fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 64);
    let mut noise = seed | 1;
    while bytes.len() < len {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(format!("line {} says {:x}\n", bytes.len(), noise >> 40).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

struct Pair {
    dir: TempDir,
    plain: PathBuf,
    packed: PathBuf,
}

/// The same stream twice, plain and to be packed: segments of these lengths.
fn pair(lens: &[usize]) -> Pair {
    let dir = tempfile::tempdir().expect("a directory");
    let (plain, packed) = (dir.path().join("plain/a-00000001.out"), dir.path().join("packed/a-00000001.out"));
    for first in [&plain, &packed] {
        fs::create_dir_all(first.parent().expect("a directory")).expect("a directory");
        for (i, len) in lens.iter().enumerate() {
            fs::write(segment(first, i + 1), text(*len, i as u64)).expect("writes");
        }
    }
    Pair { dir, plain, packed }
}

fn segment(first: &Path, number: usize) -> PathBuf {
    if number == 1 { first.to_path_buf() } else { with(first, &format!(".{number}")) }
}

fn read(segments: &mut Segments, at: u64, len: usize) -> (Found, Vec<u8>) {
    let mut bytes = Vec::new();
    let found = segments.read(at, len, &mut bytes).expect("reads");
    (found, bytes)
}

/// A reader may be given less than it asked for: it asks on.
fn read_all(segments: &mut Segments, mut at: u64, len: usize) -> Vec<(u64, Vec<u8>)> {
    let (until, mut pieces) = (at + len as u64, Vec::<(u64, Vec<u8>)>::new());
    while at < until {
        match read(segments, at, (until - at) as usize) {
            (Found::Bytes(n), bytes) => {
                match pieces.last_mut().filter(|(begin, bytes)| begin + bytes.len() as u64 == at) {
                    Some((_, before)) => before.extend(bytes),
                    None => pieces.push((at, bytes)),
                }
                at += n as u64;
            }
            (Found::Missing { until }, _) => at = until,
            (Found::End, _) => break,
        }
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_offset_and_length_reads_as_the_plain_file(
        last in 1..SIZE as usize,
        pack_them in proptest::collection::vec(any::<bool>(), 3),
        hole in any::<bool>(),
        reads in proptest::collection::vec((0..SIZE * 3 + 100, 0..600_000usize), 1..30),
    ) {
        let pair = pair(&[SIZE as usize, SIZE as usize, last]);
        for (i, _) in pack_them.iter().enumerate().filter(|(_, pack)| **pack) {
            let segment = segment(&pair.packed, i + 1);
            let Done::Packed { before, after } = pack(&segment).expect("packs") else { panic!("it is there") };
            prop_assert!(after < before + 100);
            prop_assert!(!segment.exists());
        }
        if hole {
            for first in [&pair.plain, &pair.packed] {
                for path in [segment(first, 2), packed(&segment(first, 2))] {
                    fs::remove_file(path).ok();
                }
            }
        }
        let of = |first: &PathBuf| Segments::of_size(first.clone(), SIZE);
        let (mut plain, mut packed) = (of(&pair.plain), of(&pair.packed));
        prop_assert_eq!(plain.end().expect("an end"), packed.end().expect("an end"));
        for (at, len) in reads {
            prop_assert_eq!(read_all(&mut plain, at, len), read_all(&mut packed, at, len));
            prop_assert_eq!(read(&mut plain, at, 1), read(&mut packed, at, 1));
        }
        prop_assert_eq!(packed.end().expect("an end"), SIZE * 2 + last as u64);
    }

    #[test]
    fn no_file_is_believed_because_it_says_so(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), foot in any::<bool>(), count: u16) {
        if foot {
            bytes.extend_from_slice(&u32::from(count).to_le_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&SEEKABLE.to_le_bytes());
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a-00000001.out.zst");
        fs::write(&path, bytes).expect("writes");
        prop_assert!(Packed::open(&path).is_err());
    }
}

#[test]
fn any_tool_for_zstd_reads_all_of_it() {
    let pair = pair(&[SIZE as usize]);
    pack(&pair.packed).expect("packs");
    let file = File::open(packed(&pair.packed)).expect("opens");
    assert_eq!(zstd::stream::decode_all(file).expect("decodes"), fs::read(&pair.plain).expect("reads"));
    match std::process::Command::new("zstdcat").arg(packed(&pair.packed)).output() {
        Ok(said) => assert_eq!(said.stdout, fs::read(&pair.plain).expect("reads")),
        Err(e) => println!("not run: zstdcat ({e})"),
    }
}

#[test]
fn it_belongs_to_whom_it_belonged_and_is_as_old_as_it_was() {
    let pair = pair(&[SIZE as usize]);
    fs::set_permissions(&pair.packed, fs::Permissions::from_mode(0o600)).expect("a mode");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options().write(true).open(&pair.packed).expect("opens").set_modified(then).expect("a time");
    let before = fs::metadata(&pair.packed).expect("there");
    pack(&pair.packed).expect("packs");
    let after = fs::metadata(packed(&pair.packed)).expect("there");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_eq!(after.modified().expect("a time"), then);
}

/// Whatever one byte of it becomes, a reader gets the bytes that were written, or an error that names the file.
#[test]
fn a_damaged_file_is_named_and_never_gives_other_bytes() {
    let pair = pair(&[SIZE as usize]);
    let want = fs::read(&pair.plain).expect("reads");
    pack(&pair.packed).expect("packs");
    let place = packed(&pair.packed);
    let good = fs::read(&place).expect("reads");
    let check = |bytes: &[u8], what: &str| -> bool {
        fs::write(&place, bytes).expect("writes");
        let mut segments = Segments::of_size(pair.packed.clone(), SIZE);
        let (mut got, mut at) = (Vec::new(), 0);
        let error = loop {
            match segments.read(at, usize::MAX >> 1, &mut got) {
                Ok(Found::Bytes(n)) => at += n as u64,
                Ok(Found::End) => break None,
                Ok(Found::Missing { .. }) => panic!("{what}: missing"),
                Err(e) => break Some(e.to_string()),
            }
        };
        assert_eq!(got, want[..got.len()], "{what}");
        match error {
            None => assert_eq!(got.len(), want.len(), "{what}"),
            Some(ref said) => {
                assert!(said.contains("a-00000001.out.zst is damaged at its byte "), "{what}: {said}");
            }
        }
        error.is_some()
    };
    assert!(!check(&good, "the good one"));
    let table = good.len() - (HEAD + 3 * ENTRY + FOOT);
    // The whole table, the head of the first frame, and something everywhere.
    let places = (0..40).chain((40..table).step_by(table / 60)).chain(table - 20..good.len());
    let mut noticed = 0;
    for at in places.clone() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x15;
        noticed += u32::from(check(&bytes, &format!("byte {at}")));
    }
    assert!(noticed + 2 >= places.count() as u32, "only {noticed} damages were noticed");
    for len in [0, 1, FOOT, FRAME_HEAD, table, good.len() - 1] {
        assert!(check(&good[..len], &format!("cut to {len}")));
    }
    let mut longer = good;
    longer.insert(10, 0);
    assert!(check(&longer, "a byte more"));
}

/// A damage in the middle costs nothing before it, whichever way it is read.
#[test]
fn everything_before_a_damage_is_still_given() {
    let pair = pair(&[SIZE as usize]);
    let want = fs::read(&pair.plain).expect("reads");
    pack(&pair.packed).expect("packs");
    let place = packed(&pair.packed);
    let second = Packed::open(&place).expect("opens").expect("there").begins[1];
    let mut bytes = fs::read(&place).expect("reads");
    bytes[second as usize + 1000] ^= 1;
    fs::write(&place, bytes).expect("writes");
    let files = LogFiles::at(pair.packed.with_extension("")).in_segments_of(SIZE);
    // So that the pieces do not end where the frames do.
    let begin = 1000;
    let mut merged = Merged::new(&files, [begin, 0]);
    let ends = merged.lens().expect("lengths");
    let (mut got, mut error) = (Vec::new(), None);
    while error.is_none() {
        let mut piece = Vec::new();
        match merged.fill(Upto::All { ends }, &mut piece) {
            Ok(_) => got.extend(piece),
            Err(e) => error = Some(e.to_string()),
        }
    }
    let said = error.expect("an error");
    assert!(said.contains(&format!("a-00000001.out.zst is damaged at its byte {second}: ")), "{said}");
    assert_eq!(merged.at(), [FRAME as u64, 0]);
    let heads = got.len() - (FRAME - begin as usize);
    assert!(heads.is_multiple_of(kin_api::frame::HEAD), "{heads}");
    assert!(got.ends_with(&want[FRAME - 1000..FRAME]));
}

/// The states that a death leaves, made by hand, and the next turn over them.
#[test]
fn whatever_a_death_left_the_next_turn_ends_with_one_true_file() {
    let want = text(SIZE as usize, 0);
    let other = pair(&[SIZE as usize]);
    fs::write(&other.packed, text(SIZE as usize, 99)).expect("writes");
    pack(&other.packed).expect("packs");
    let good = pair(&[SIZE as usize]);
    pack(&good.packed).expect("packs");
    let read = |pair: &Pair| fs::read(packed(&pair.packed)).expect("reads");
    let (good, other) = (read(&good), read(&other));
    let half = &good[..good.len() / 2];
    // What lies at `.zst.new` and at `.zst` beside the plain file.
    let cases = [
        (Some(half), None::<&[u8]>),
        (Some(&good[..]), None),
        (None, Some(&good[..])),
        (Some(half), Some(&good[..])),
        (None, Some(half)),
        (None, Some(&other[..])),
    ];
    for (at, (new, place)) in cases.into_iter().enumerate() {
        let pair = pair(&[SIZE as usize]);
        for (bytes, path) in [(new, begun(&pair.packed)), (place, packed(&pair.packed))] {
            if let Some(bytes) = bytes {
                fs::write(path, bytes).expect("writes");
            }
        }
        // The plain one counts for as long as it is there.
        assert_eq!(fs::read(&pair.packed).expect("reads"), want, "case {at}");
        let mut before = Segments::of_size(pair.packed.clone(), SIZE);
        let flat = |pieces: Vec<(u64, Vec<u8>)>| pieces.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<u8>>();
        assert_eq!(flat(read_all(&mut before, 0, 1 << 20)), want, "case {at}");
        pack(&pair.packed).expect("packs");
        assert!(!pair.packed.exists(), "case {at}");
        let mut after = Segments::of_size(pair.packed.clone(), SIZE);
        assert_eq!(flat(read_all(&mut after, 0, 1 << 20)), want, "case {at}");
        // Who has the plain one open goes on with it.
        assert_eq!(flat(read_all(&mut before, 0, 1 << 20)), want, "case {at}");
        assert!(new.is_none() || place.is_some() || !begun(&pair.packed).exists(), "case {at}");
    }
}

#[test]
fn what_cannot_be_packed_stays_as_it_was() {
    let pair = pair(&[SIZE as usize]);
    // No file can be made there.
    fs::create_dir_all(begun(&pair.packed)).expect("a directory");
    assert!(pack(&pair.packed).is_err());
    assert_eq!(fs::read(&pair.packed).expect("reads"), fs::read(&pair.plain).expect("reads"));
    assert!(!packed(&pair.packed).exists());
    fs::remove_dir(begun(&pair.packed)).expect("removes");
    // A packed file that holds more is no copy of it: nothing is thrown away.
    pack(&pair.packed).expect("packs");
    fs::write(&pair.packed, "late").expect("writes");
    assert!(pack(&pair.packed).expect_err("refused").to_string().contains("both stay"));
    assert_eq!(fs::read(&pair.packed).expect("reads"), b"late");
    assert!(Packed::open(&packed(&pair.packed)).expect("opens").is_some_and(|packed| packed.plain_len() == SIZE));
}

#[test]
fn output_that_is_removed_while_it_is_packed_does_not_come_back() {
    let pair = pair(&[SIZE as usize]);
    pack(&pair.packed).expect("packs");
    // As between the rename and the removal of the plain file.
    assert_eq!(put_away(&pair.packed, &packed(&pair.packed), 2, 1).expect("done"), Done::Gone);
    assert!(!packed(&pair.packed).exists());
    assert_eq!(pack(&pair.packed).expect("done"), Done::Gone);
}

#[test]
fn what_somebody_took_away_does_not_become_zeros() {
    let pair = pair(&[SIZE as usize]);
    fs::File::create(&pair.packed).expect("made").set_len(SIZE).expect("longer");
    assert_eq!(pack(&pair.packed).expect("done"), Done::Holed);
    assert!(pair.packed.exists() && !packed(&pair.packed).exists());
}

#[test]
fn every_file_of_a_stream_is_known_also_behind_a_hole() {
    let pair = pair(&[SIZE as usize, SIZE as usize, SIZE as usize, 7]);
    pack(&pair.packed).expect("packs");
    pack(&segment(&pair.packed, 3)).expect("packs");
    fs::remove_file(segment(&pair.packed, 2)).expect("removes");
    for path in Segments::of_size(pair.packed.clone(), SIZE).files().expect("listed") {
        fs::remove_file(path).ok();
    }
    let left = fs::read_dir(pair.dir.path().join("packed")).expect("lists").count();
    assert_eq!(left, 0);
}

#[test]
fn both_streams_in_their_order_are_the_same_frames() {
    let pair = pair(&[SIZE as usize, 1000]);
    let files = |first: &Path| LogFiles::at(first.with_extension("")).in_segments_of(SIZE);
    for first in [&pair.plain, &pair.packed] {
        fs::write(files(first).base().with_extension("err"), text(300_000, 5)).expect("writes");
        let mut index = Vec::new();
        for at in 1..=30u64 {
            index.extend_from_slice(&index::grew(Stream::Out, at, at * 20_000));
            index.extend_from_slice(&index::grew(Stream::Err, at, at * 9_999));
        }
        fs::write(files(first).index(), index).expect("writes");
    }
    for path in [pair.packed.clone(), segment(&pair.packed, 2), files(&pair.packed).base().with_extension("err")] {
        pack(&path).expect("packs");
    }
    let frames = |first: &Path, at: [u64; 2]| {
        let mut merged = Merged::new(&files(first), at);
        let ends = merged.lens().expect("lengths");
        let mut bytes = Vec::new();
        loop {
            let mut piece = Vec::new();
            let progress = merged.fill(Upto::All { ends }, &mut piece).expect("reads");
            bytes.extend(piece);
            if progress == Progress::Dry {
                return bytes;
            }
        }
    };
    let bare = |bytes: &[u8]| {
        let (mut streams, mut rest) = ([Vec::new(), Vec::new()], bytes);
        while let Some((head, after)) = rest.split_at_checked(kin_api::frame::HEAD) {
            let head = kin_api::frame::parse_head(head.try_into().expect("a head")).expect("a frame");
            streams[usize::from(head.0 == kin_api::frame::Kind::Err)].extend_from_slice(&after[..head.2 as usize]);
            rest = &after[head.2 as usize..];
        }
        streams
    };
    for at in [[0, 0], [FRAME as u64 - 1, 1], [SIZE + 3, 299_999]] {
        assert_eq!(bare(&frames(&pair.packed, at)), bare(&frames(&pair.plain, at)), "from {at:?}");
    }
}
