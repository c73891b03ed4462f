//! Files as they are found: links, pipes, strange bytes, strange owners, sizes.

use kin_config::files::{self, FILE_MAX, Reader};
use kin_config::{Report, Set};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn read(uid: u32, dirs: &[PathBuf]) -> Set {
    Set::read(Reader { uid }.directories(dirs))
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn messages(report: &Report) -> Vec<String> {
    report.mistakes.iter().map(|m| format!("{} {}", m.severity.word(), m.message)).collect()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

const JOB: &str = "[a]\ncommand = 'x'\n";

#[test]
fn links_to_directories_and_files_are_followed_and_only_job_files_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (real, config) = (dir.path().join("real"), dir.path().join("config"));
    std::fs::create_dir(&real).expect("makes");
    symlink(&real, &config).expect("links");
    std::fs::write(dir.path().join("elsewhere"), "[b]\ncommand = 'x'\n").expect("writes");
    symlink("../elsewhere", real.join("b.toml")).expect("links");
    std::fs::write(real.join("a.toml"), JOB).expect("writes");
    for other in [".#a.toml", ".hidden.toml", "a.toml~", "a.toml.bak", "note.txt"] {
        std::fs::write(real.join(other), "[[[").expect("writes");
    }
    let set = read(me(), &[config, dir.path().join("not-there")]);
    assert!(set.is_whole(), "{}", set.report.text(false));
    assert_eq!(set.jobs.keys().map(kin_core::JobName::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_is_no_file_is_said_and_never_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("a.toml")).status().expect("mkfifo");
    assert!(made.success());
    std::fs::create_dir(dir.path().join("b.toml")).expect("makes");
    symlink("nowhere", dir.path().join("c.toml")).expect("links");
    let large = std::fs::File::create(dir.path().join("d.toml")).expect("makes");
    large.set_len(FILE_MAX + 1).expect("grows");
    let set = read(me(), &[dir.path().to_path_buf()]);
    assert_eq!(
        messages(&set.report),
        ["error it is no file", "error it is no file", "error there is no such file", "error it is larger than 16 MiB"]
    );
}

#[test]
fn marks_line_ends_and_bytes_that_are_no_text() {
    let of = |bytes: &[u8]| Set::read(vec![files::text(Path::new("a.toml"), 0, bytes.to_vec())]);
    let set = of(b"\xef\xbb\xbf[a]\r\ncommand = 'x'\r\nnice = 99\r\n");
    assert!(set.report.text(false).contains("a.toml:3:8"), "{}", set.report.text(false));
    assert!(!set.report.text(false).contains('\r'));
    let set = of(b"[a]\ncommand = 'x\xff'\nnice = 3\n");
    let shown = set.report.text(false);
    assert!(shown.contains("no UTF-8") && shown.contains("a.toml:2:13"), "{shown}");
    // One mistake, whatever else the byte breaks.
    for bytes in
        [&b"[a]\ncommand = \"x\xff\n[b]\ncommand = \"y\"\n"[..], b"\xff\xfe[\0a\0]\0", b"[a\xff]\ncommand = 'x'\n"]
    {
        let set = of(bytes);
        assert_eq!(messages(&set.report), ["error it is no UTF-8 text: this byte begins no character"]);
        assert!(set.report.text(false).contains("--> a.toml:"), "{}", set.report.text(false));
    }
    assert!(of(b"").is_whole() && of(b"\xef\xbb\xbf").is_whole());
}

#[test]
fn whoever_may_write_a_file_decides_what_is_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.toml");
    std::fs::write(&file, JOB).expect("writes");
    let dirs = [dir.path().to_path_buf()];
    mode(&file, 0o644);
    assert_eq!(messages(&read(me(), &dirs).report), [""; 0]);
    mode(&file, 0o646);
    let strict = read(0, &dirs);
    let said = strict.report.text(false);
    assert!(said.contains("can be written by everybody") && said.contains("chmod go-w"), "{said}");
    // For root it is an error, if the file is root's own or not; for others a warning.
    let severity = |uid: u32| read(uid, &dirs).report.mistakes.iter().map(|m| m.severity.word()).collect::<Vec<_>>();
    assert_eq!((severity(0), strict.is_whole()), (vec!["error"], false));
    let mine = if me() == 0 { 12_345 } else { me() };
    assert_eq!((severity(mine), read(mine, &dirs).is_whole()), (vec!["warning"], true));
    mode(&file, 0o644);
    mode(dir.path(), 0o777);
    assert!(messages(&read(mine, &dirs).report)[0].contains("its directory can be written by everybody"));
    // For root none of its files counts, not only the first.
    std::fs::write(dir.path().join("b.toml"), "[b]\ncommand = 'x'\n").expect("writes");
    let reading = kin_config::good::Good::default().judge(Reader { uid: 0 }.directories(&dirs));
    assert_eq!((reading.set.jobs.len(), reading.left_out.len()), (0, 2));
    std::fs::remove_file(dir.path().join("b.toml")).expect("removes");
    mode(dir.path(), 0o1777);
    assert_eq!(messages(&read(me(), &dirs).report), [""; 0]);
    mode(dir.path(), 0o700);
    if me() == 0 {
        rustix::fs::chown(&file, Some(rustix::fs::Uid::from_raw(4321)), None).expect("chown");
        assert_eq!(messages(&read(0, &dirs).report), ["error it belongs to somebody else (uid 4321)"]);
        assert_eq!(messages(&read(4321, &dirs).report), [""; 0]);
        assert_eq!(messages(&read(77, &dirs).report), ["warning it belongs to somebody else (uid 4321)"]);
    }
}

#[test]
fn a_file_that_is_not_there_has_no_line() {
    let set = Set::read(Reader { uid: me() }.files(&[PathBuf::from("/no/such/jobs.toml")]));
    assert_eq!(set.report.text(false), "error: there is no such file\n --> /no/such/jobs.toml\n\n");
    let json = set.report.json();
    assert_eq!((json[0]["file"].as_str(), &json[0]["line"]), (Some("/no/such/jobs.toml"), &serde_json::Value::Null));
}

#[test]
fn what_is_in_the_place_of_a_directory_has_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join(".pm_dir");
    std::fs::write(&file, "").expect("writes");
    let all = Reader { uid: me() }.directories(&[file.clone(), file.join("below")]);
    assert!(all.is_empty(), "{all:?}");
}
