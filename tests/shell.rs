//! What a shell and `man` are given: every verb with its options, without a server.

use std::process::{Command, Output, Stdio};

fn kin(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kin"));
    // No home either: whatever asks for a server would fail.
    command.args(args).env_clear().stdin(Stdio::null()).output().expect("kin")
}

fn said(args: &[&str]) -> String {
    let output = kin(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn completions_know_every_option_and_no_inner_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]);
        for word in ["exec", "jl", "history", "max-executions", "stop-runs"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
        assert!(!script.contains("stdin ends without a word"), "{shell}: nobody types that");
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    let mut stdin = bash.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, said(&["completions", "bash"]).as_bytes()).expect("the script");
    drop(stdin);
    assert!(bash.wait().expect("an end").success(), "bash cannot read it");
    assert_eq!(kin(&["completions", "korn"]).status.code(), Some(2));
}

#[test]
fn each_verb_has_a_manual_page() {
    let page = said(&["man", "exec"]);
    assert!(page.contains(".TH kin-exec 1") && page.contains("EXIT CODES") && page.contains("\\-\\-detach"), "{page}");
    assert!(said(&["man"]).contains(".TH kin 1"));
    assert_eq!(kin(&["man", "nonsense"]).status.code(), Some(2));
    let dir = tempfile::tempdir().expect("a directory");
    said(&["man", "--dir", dir.path().to_str().expect("text")]);
    let pages: Vec<String> = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(pages.contains(&"kin.1".into()) && pages.contains(&"kin-doctor.1".into()), "{pages:?}");
    assert!(!pages.iter().any(|page| page.contains("with-client")), "{pages:?}");
}

#[test]
fn exit_codes_are_in_the_help_and_in_the_documents() {
    let (help, exec) = (said(&["help"]), said(&["help", "exec"]));
    let document = std::fs::read_to_string("docs/exit-codes.md").expect("docs/exit-codes.md");
    for code in ["0", "1", "2", "3", "4", "5", "124"] {
        assert!(document.contains(&format!("| {code} |")), "{code} in the document");
        assert!(help.split_whitespace().any(|word| word == code), "{code} in kin help");
    }
    for code in ["126", "127", "130", "141", "128+n"] {
        assert!(document.contains(code) && exec.contains(code), "{code}");
    }
}
