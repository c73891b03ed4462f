//! Job files from the command line, without a server: checked, listed, edited, and the documents' own examples.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn kin_in(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    command.args(args).env_clear().env("KIN_HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    let output = command.envs(env.iter().copied()).stdin(Stdio::null()).output().expect("kin");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
}

fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("writes");
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(0o644)).expect("chmod");
    }
    dir
}

/// An editor that is a line of shell with the file in `$1`.
fn editor(home: &Path, script: &str) -> String {
    let path = home.join("editor");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    path.to_str().expect("text").to_string()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "editor");
    names.sort();
    names
}

const GOOD: &str =
    "# kept\n[web]\nexec = ['./web']\nrestart = 'always'\n\n[backup] # nightly\ncommand = 'x'\nschedule = '@reboot'\n";

#[test]
fn check_says_everything_and_ends_with_two() {
    let dir = home(&[("a.toml", GOOD), ("b.toml", "[kin]\non_exit = 'stop'\n")]);
    let said = kin_in(dir.path(), &[], &["check"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "2 jobs in 2 files, no mistakes\n", ""));
    std::fs::write(dir.path().join("b.toml"), "[web]\ncommand = 'x'\n[x]\ncomand = 'x'\n").expect("writes");
    let said = kin_in(dir.path(), &[], &["check"]);
    assert_eq!(said.code, 2);
    for part in [
        "the job 'web' is defined twice",
        "b.toml:1:2",
        "a.toml:2:2",
        "unknown key 'comand', did you mean 'command'?",
        "2 mistakes\n",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let said = kin_in(dir.path(), &[], &["check", "--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).expect("json");
    let told: Vec<_> = all.iter().map(|m| (m["code"].as_str().expect("a code"), m["line"].as_u64())).collect();
    assert_eq!((said.code, told), (2, vec![("twice", Some(1)), ("unknown-key", Some(4))]));
    // A file that is named stands alone.
    let said = kin_in(dir.path(), &[], &["check", "a.toml"]);
    assert_eq!((said.code, said.out.as_str()), (0, "2 jobs in 1 file, no mistakes\n"));
    assert_eq!(kin_in(dir.path(), &[], &["check", "not-there.toml"]).code, 2);
    assert!(!dir.path().join("state").exists(), "no server is asked");
}

#[test]
fn list_and_config_show_what_holds() {
    let dir = home(&[("a.toml", GOOD), ("kin.toml", "[kin]\ndurability = 'fast'\n[kin.queues.heavy]\nslots = 3\n")]);
    let said = kin_in(dir.path(), &[], &["list"]);
    assert_eq!(
        said.out,
        "job     kind       schedule  file      command\n----------------------------------------------\n\
         backup  scheduled  @reboot   a.toml:6  x\nweb     service              a.toml:2  ./web\n"
    );
    let said = kin_in(dir.path(), &[], &["list", "--json=lines"]);
    let web: serde_json::Value = serde_json::from_str(said.out.lines().last().expect("a line")).expect("json");
    assert_eq!((&web["name"], &web["kind"], &web["line"]), (&"web".into(), &"service".into(), &2.into()));
    assert_eq!(web["definition"]["restart"], "always");

    let path = dir.path().join("kin.toml").display().to_string();
    assert_eq!(kin_in(dir.path(), &[], &["config", "path"]).out, format!("{path}\n"));
    assert_eq!(kin_in(dir.path(), &[], &["config", "path", "--all"]).out.lines().count(), 2);
    let said = kin_in(dir.path(), &[], &["config", "show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&said.out).expect("json");
    assert_eq!(shown["durability"], serde_json::json!({ "value": "fast", "from": format!("{path}:2") }));
    assert_eq!(shown["on_exit"], serde_json::json!({ "value": "leave", "from": "default" }));
    assert_eq!(shown["queues.heavy.slots"]["value"], 3);
    assert!(kin_in(dir.path(), &[], &["config", "show"]).out.contains("queues.heavy.slots"));
    let schema: serde_json::Value =
        serde_json::from_str(&kin_in(dir.path(), &[], &["config", "schema"]).out).expect("json");
    assert!(schema["$schema"].is_string());
}

#[test]
fn files_of_one_name_are_told_apart_and_a_long_command_makes_no_long_rule() {
    let other = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(other.path().join("kin")).expect("a directory");
    let long = format!("[long]\ncommand = '{}'\n", "x".repeat(300));
    std::fs::write(other.path().join("kin/a.toml"), long).expect("writes");
    let dir = home(&[]);
    std::fs::create_dir(dir.path().join(".pm_dir")).expect("a directory");
    std::fs::write(dir.path().join(".pm_dir/a.toml"), "[short]\ncommand = 'x'\n").expect("writes");
    let env = [
        ("KIN_HOME", ""),
        ("HOME", dir.path().to_str().expect("text")),
        ("XDG_CONFIG_HOME", other.path().to_str().expect("text")),
    ];
    let said = kin_in(dir.path(), &env, &["list", "--files"]);
    for file in [other.path().join("kin/a.toml"), dir.path().join(".pm_dir/a.toml")] {
        assert!(said.out.contains(&format!("{}:1", file.display())), "{}{}", said.out, said.err);
    }
    let rule = said.out.lines().nth(1).expect("a rule");
    assert_eq!(rule, "-".repeat(160));
}

#[test]
fn edit_puts_a_good_text_in_place_and_keeps_links_modes_and_comments() {
    let dir = home(&[]);
    let real = tempfile::tempdir().expect("a directory");
    std::fs::write(real.path().join("jobs"), GOOD).expect("writes");
    std::fs::set_permissions(real.path().join("jobs"), std::fs::Permissions::from_mode(0o640)).expect("chmod");
    symlink(real.path().join("jobs"), dir.path().join("a.toml")).expect("links");
    let editor = editor(dir.path(), "sed -i \"s/'x'/'y'/\" \"$1\"");
    let said = kin_in(dir.path(), &[("EDITOR", &editor), ("VISUAL", "")], &["edit", "backup"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("is in place: 2 jobs in 1 file"), "{}", said.err);
    assert!(dir.path().join("a.toml").is_symlink());
    assert_eq!(std::fs::read_to_string(real.path().join("jobs")).expect("reads"), GOOD.replace("'x'", "'y'"));
    assert_eq!(std::fs::metadata(real.path().join("jobs")).expect("meta").mode() & 0o777, 0o640);
    assert_eq!((names(real.path()), names(dir.path())), (vec!["jobs".to_string()], vec!["a.toml".to_string()]));
    // Again, with nothing to change.
    let said = kin_in(dir.path(), &[("VISUAL", &editor)], &["edit"]);
    assert_eq!((said.code, said.err.as_str()), (0, "kin: nothing was changed\n"));
    assert_eq!(names(real.path()), ["jobs"]);
}

#[test]
fn edit_leaves_no_broken_file_in_place_unasked() {
    let dir = home(&[("a.toml", GOOD), ("broken.toml", "[x]\n")]);
    let break_it = editor(dir.path(), "echo 'shedule = 1' >> \"$1\"");
    let said = kin_in(dir.path(), &[("EDITOR", &break_it)], &["edit", "web"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("did you mean 'schedule'?") && said.err.contains("your text is kept in"), "{}", said.err);
    // What was wrong elsewhere before is not held against it.
    assert!(!said.err.contains("broken.toml") && said.err.contains("1 mistake\n"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(dir.path().join("a.toml")).expect("reads"), GOOD);
    let copy = names(dir.path()).into_iter().find(|name| name.starts_with(".a.edit-")).expect("the copy");
    assert!(std::fs::read_to_string(dir.path().join(copy)).expect("reads").ends_with("shedule = 1\n"));
    // An editor that fails, a file that changes meanwhile, a job that is not there.
    let copies = names(dir.path());
    let said = kin_in(dir.path(), &[("EDITOR", "false")], &["edit", "web"]);
    assert!(said.code == 2 && said.err.contains("the file was not changed"), "{}", said.err);
    assert_eq!(names(dir.path()), copies, "what nobody wrote in is not kept");
    let gives_up = editor(dir.path(), "echo '# half' >> \"$1\"; false");
    let said = kin_in(dir.path(), &[("EDITOR", &gives_up)], &["edit", "web"]);
    assert!(said.code == 2 && said.err.contains("your text is kept in"), "{}", said.err);
    let theirs = format!("{GOOD}# theirs\n");
    let race = editor(dir.path(), "echo '# theirs' >> \"$(dirname \"$1\")/a.toml\"; echo '# mine' >> \"$1\"");
    let said = kin_in(dir.path(), &[("EDITOR", &race)], &["edit", "web"]);
    assert!(said.code == 2 && said.err.contains("by somebody else meanwhile"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(dir.path().join("a.toml")).expect("reads"), theirs);
    let said = kin_in(dir.path(), &[("EDITOR", "true")], &["edit", "wbe"]);
    assert!(said.code == 4 && said.err.contains("did you mean web?"), "{}", said.err);
    assert!(said.err.contains("kin show wbe tells who else defined it"), "{}", said.err);
}

#[test]
fn edit_makes_the_first_file() {
    let dir = home(&[]);
    let home = dir.path().join("deep/home");
    let said = kin_in(dir.path(), &[("EDITOR", "true"), ("KIN_HOME", home.to_str().expect("text"))], &["edit"]);
    assert_eq!((said.code, said.err.as_str()), (0, "kin: nothing was changed\n"));
    let write = editor(dir.path(), "printf '[a]\\ncommand = 1\\n' > \"$1\"; sed -i 's/1/\"x\"/' \"$1\"");
    let said = kin_in(dir.path(), &[("EDITOR", &write), ("KIN_HOME", home.to_str().expect("text"))], &["edit"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(names(&home), ["kin.toml"]);
}

/// The server reads `[kin]` when it starts; a file with a mistake does not keep it from serving, and is said.
#[test]
fn the_server_keeps_to_its_settings_and_serves_without_them() {
    let start = |text: &str| testkit::server::Options::new(env!("CARGO_BIN_EXE_kin")).config(text).start();
    let durability =
        |server: &testkit::Server| server.http().get("/v1/server").expect(200).json()["durability"].clone();
    let server = start("[kin]\ndurability = \"fast\"\n");
    assert_eq!(durability(&server), "fast");
    server.shutdown();
    let server = start("[kin]\ndurability = \"fast\"\ndurabilty = 1\n");
    assert_eq!(durability(&server), "full");
    let log = std::fs::read_to_string(server.state().join("server.log")).unwrap_or_default();
    let said = format!("{log}{}", server.describe());
    assert!(said.contains("unknown key 'durabilty', did you mean 'durability'?"), "{said}");
    server.shutdown();
}

/// At a terminal it asks: edit again, keep it all the same, throw it away.
#[test]
fn edit_asks_what_becomes_of_a_broken_text() {
    // The first time the editor breaks the file, from the second on it mends it.
    let twice = "if grep -q shedule \"$1\"; then sed -i s/shedule/schedule/ \"$1\"; else echo \"shedule = '@daily'\" >> \"$1\"; fi";
    let good = "[a]\ncommand = 'x'\n";
    for (answers, text, said) in [
        ("what?\ne\n", format!("{good}schedule = '@daily'\n"), "is in place: 1 job in 1 file"),
        ("k\n", format!("{good}shedule = '@daily'\n"), "is in place, with 1 mistake: a server goes on"),
        ("t\n", good.to_string(), "nothing was changed"),
        // End of file: nobody is there any more.
        ("\x04", good.to_string(), "your text is kept in"),
    ] {
        let dir = home(&[("a.toml", good)]);
        let editor = editor(dir.path(), twice);
        let master =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&master).and_then(|()| rustix::pty::unlockpt(&master)).expect("its other side");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("its name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("its other side");
        std::io::Write::write_all(&mut std::fs::File::from(master.try_clone().expect("a clone")), answers.as_bytes())
            .expect("types");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
        command
            .args(["edit", "a"])
            .env_clear()
            .env("KIN_HOME", dir.path())
            .env("PATH", "/usr/bin:/bin")
            .env("EDITOR", &editor);
        let output = command.stdin(Stdio::from(slave)).output().expect("kin");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("[e]dit again") && err.contains(said), "{answers:?}: {err}");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.toml")).expect("reads"), text, "{answers:?}");
        let copies = names(dir.path()).len() - 1;
        assert_eq!(copies, usize::from(answers == "\x04"), "{answers:?}: {:?}", names(dir.path()));
    }
}
