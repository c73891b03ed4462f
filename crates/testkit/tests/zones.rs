//! Kin's schedules against a walk through the minutes, for all time zones; kin's zones against another library's.

use testkit::almanac::compare::{compare_at, kins};
use testkit::almanac::expression::Expression;
use testkit::almanac::zones::{self, Database};
use testkit::almanac::{Proof, prove};
use testkit::rng::Rng;

const SEED: u64 = 20_260_308;

#[test]
fn schedules_are_those_of_the_walk_in_all_zones_from_2020_to_2040() {
    let proof = Proof { seed: SEED, expressions: 200, full_walks: 20 };
    let report = prove(&Database::of_machine(), proof).unwrap_or_else(|why| panic!("seed {SEED}: {why}"));
    eprintln!("{report}");
    assert!(report.names > 400 && report.behaviours > 50 && report.changes > 1000, "{report}");
    assert!(report.comparisons >= (report.changes * proof.expressions) as u64 && report.ticks > 1_000_000, "{report}");
}

/// Changes that no year from 2020 to 2040 has: whole days, quarters of an hour.
#[test]
fn and_where_clocks_once_did_stranger_things() {
    let database = Database::of_machine();
    let mut rng = Rng::new(SEED);
    for (name, change) in [
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Pacific/Fakaofo", "2011-12-30T11:00:00Z"),
        ("Pacific/Kwajalein", "1993-08-21T12:00:00Z"),
        ("America/Caracas", "2007-12-09T07:00:00Z"),
        ("America/Caracas", "2016-05-01T07:00:00Z"),
        ("Asia/Pyongyang", "2015-08-14T15:00:00Z"),
        ("Asia/Pyongyang", "2018-05-04T15:00:00Z"),
        ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
        ("Antarctica/Casey", "2010-03-04T15:00:00Z"),
        ("Europe/Dublin", "1971-10-31T02:00:00Z"),
    ] {
        let at = change.parse::<jiff::Timestamp>().expect("an instant").as_second();
        let bytes = &database.zones[name];
        let changes = zones::changes(&zones::oracle(name, bytes), at - 10, at + 10);
        assert_eq!(changes.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [at], "{name} changes at {change}");
        for _ in 0..300 {
            let expression = Expression::random(&mut rng);
            compare_at(name, bytes, &expression, at - 60 * 3600, at + 60 * 3600).expect(change);
        }
    }
}

#[test]
fn zones_are_those_of_another_library_from_1970_to_2199() {
    let database = Database::of_machine();
    let (first, last) = (0, 7_258_118_399);
    let mut rng = Rng::new(SEED);
    for (name, bytes) in &database.zones {
        let (ours, oracle) = (kins(name, bytes).expect(name), zones::oracle(name, bytes));
        let changes = zones::changes(&oracle, first, last);
        let kins: Vec<_> = ours.changes_after(first).take_while(|c| c.at < last).map(|c| (c.at, c.after)).collect();
        assert_eq!(kins, changes, "{name}");
        for _ in 0..300 {
            let at = rng.between(first as u64, last as u64) as i64;
            assert_eq!(ours.offset(at), zones::offset(&oracle, at), "{name} at {at}");
        }
    }
}
