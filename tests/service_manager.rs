//! A server that a command starts where systemd answers: a unit of its own, or none and why. systemd's part is played.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use testkit::server::Options;
use testkit::{Role, Server};

const KIN: &str = env!("CARGO_BIN_EXE_kin");

/// Does what it is told of standard streams, environment and directory, as systemd would, and notes what it was told.
const SYSTEMD_RUN: &str = r#"#!/bin/bash
dir=$(dirname "$0"); printf '%s\n' "$@" > "$dir/told"; vars=(IMPORTED=1)
while [ "$1" != -- ]; do
  case "$1" in
    --setenv=*) vars+=("${1#--setenv=}");;
    StandardOutput=file:*) out=${1#StandardOutput=file:};;
    StandardError=append:*) err=${1#StandardError=append:};;
  esac; shift
done; shift
cd /; exec 3>"$out"; env -i "${vars[@]}" setsid "$@" </dev/null >&3 3>&- 2>>"$err" &
"#;

fn with_systemd(run: &str, systemctl: &str) -> (Server, tempfile::TempDir) {
    let played = tempfile::tempdir().expect("a directory");
    for (name, text) in [("systemd-run", run), ("systemctl", systemctl), ("private", "")] {
        let path = played.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    }
    let at = played.path().display();
    let server = Options::new(KIN)
        .env("PATH", format!("{at}:/usr/local/bin:/usr/bin:/bin"))
        .env("KIN_NO_SYSTEMD", "0")
        .env("KIN_TEST_SYSTEMD", format!("{at}/private"))
        .env("SECRET", "hunter2")
        .prepare();
    (server, played)
}

fn first_command(server: &Server) {
    let out = server.command().args(["exec", "--", "true"]).output().expect("kin runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn log(server: &Server) -> String {
    fs::read_to_string(server.state().join("server.log")).unwrap_or_default()
}

#[test]
fn a_first_command_makes_a_unit_that_carries_nothing_of_it() {
    let (server, played) = with_systemd(SYSTEMD_RUN, "#!/bin/sh\necho degraded; exit 1\n");
    first_command(&server);
    let told = fs::read_to_string(played.path().join("told")).expect("systemd-run was asked");
    for line in ["--collect", "Delegate=yes", "KillMode=process", "Type=exec"] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    for role in [Role::Elder, Role::Daemon] {
        let pid = server.pid(role).expect("it lives");
        let environ = fs::read_to_string(format!("/proc/{pid}/environ")).expect("its environment");
        assert!(!environ.contains("hunter2") && !environ.contains("IMPORTED"), "{environ}");
        assert!(environ.contains("KIN_HOME="), "{environ}");
    }
    assert!(!log(&server).contains("without one"), "{}", log(&server));
    server.stop();
}

#[test]
fn where_the_unit_fails_the_server_is_started_without_one_and_the_log_says_why() {
    let (server, _played) = with_systemd("#!/bin/sh\necho no such property >&2; exit 1\n", "#!/bin/sh\necho running\n");
    first_command(&server);
    assert!(log(&server).contains("no such property"), "{}", log(&server));
    server.stop();
}

#[test]
fn a_manager_that_does_not_answer_is_not_asked() {
    let (server, played) = with_systemd(SYSTEMD_RUN, "#!/bin/sh\nexec sleep 600\n");
    first_command(&server);
    assert!(!played.path().join("told").exists());
    server.stop();
}

#[test]
fn what_the_unit_ends_with_is_heard() {
    let (server, _played) = with_systemd(
        "#!/bin/bash\nfor a; do case $a in StandardOutput=file:*) echo '5 played' > \"${a#*file:}\" & esac; done\n",
        "#!/bin/sh\necho running\n",
    );
    let out = server.command().args(["serve", "--background"]).output().expect("kin runs");
    assert_eq!(out.status.code(), Some(5), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("played"), "{out:?}");
}
