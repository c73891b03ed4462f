//! Ten thousand jobs: read and judged in a small multiple of what parsing their text alone costs.

use kin_config::files::Reader;
use kin_config::{Plan, Set};
use std::fmt::Write;
use std::time::{Duration, Instant};

const JOBS: usize = 10_000;
/// Measured 3 to 5 in debug and in release builds.
const RATIO_MAX: f64 = 15.0;

fn text() -> String {
    let mut text = String::from("[defaults]\nenv.REGION = 'eu'\nlogs.keep = '7d'\n");
    for n in 0..JOBS {
        let before = n.saturating_sub(1);
        write!(
            text,
            "\n[job-{n}]\nexec = ['./run', '--number', '{n}', '$HOME']\nschedule = '{} * * * *'\ntimeout = '1h 30m'\n\
             tries = 3\nnext = 'job-{before}'\nenv = {{ LEVEL = 'info', N = {n} }}\nlimits.memory = '512M'\n",
            n % 60
        )
        .expect("writes");
    }
    text
}

#[test]
fn ten_thousand_jobs_cost_a_small_multiple_of_their_text() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("kin.toml"), text()).expect("writes");
    let dirs = [dir.path().to_path_buf()];
    let (mut bare, mut whole) = (Duration::MAX, Duration::MAX);
    for _ in 0..2 {
        let start = Instant::now();
        let text = std::fs::read_to_string(dir.path().join("kin.toml")).expect("reads");
        let tree = toml::de::DeTable::parse(&text).expect("parses");
        bare = bare.min(start.elapsed());
        assert_eq!(tree.get_ref().len(), JOBS + 1);

        let start = Instant::now();
        let set = Set::read(Reader::of_process().directories(&dirs));
        whole = whole.min(start.elapsed());
        assert!(set.is_whole(), "{}", set.report.text(false));
        assert_eq!(set.jobs.len(), JOBS);
        assert!(Plan::between(&set.plain(), &set.plain()).is_empty());
    }
    let ratio = whole.as_secs_f64() / bare.as_secs_f64();
    eprintln!("{JOBS} jobs: {whole:?}, parsing alone {bare:?}: {ratio:.1}");
    assert!(ratio < RATIO_MAX, "{whole:?} against {bare:?}: {ratio:.1}");
}
