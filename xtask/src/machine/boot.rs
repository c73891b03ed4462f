//! One boot of an emulated machine, and what comes over its serial line.

use super::image::Base;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the machine does when its script has said all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It goes down by itself, and is booted again.
    Reboots,
    /// Its power is cut now, and it is booted again.
    Dies,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Said {
    pub(super) lines: Vec<String>,
    pub(super) next: Next,
}

/// From power on to the last word.
const AT_MOST: Duration = Duration::from_secs(420);

/// What is killed when nobody waits for it any more.
struct Power(Child);

impl Drop for Power {
    fn drop(&mut self) {
        // It may be off by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(super) fn boot(base: &Base, disk: &Path, verbose: bool) -> Result<Said, String> {
    let mut command = Command::new("qemu-system-x86_64");
    // An emulated processor: what is left of a machine's own may be none that the kernel can use. Without `cmpxchg16b`: with it
    // a 6.12 kernel now and then came back from one with other registers, and ended in a double fault as it began.
    command.args(["-M", "pc", "-cpu", "max,cx16=off", "-accel", "tcg,thread=multi", "-m", "768", "-smp", "2"]);
    command.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(base.kernel()).arg("-initrd").arg(base.initrd());
    command.args(["-append", "console=ttyS0 quiet panic=-1 systemd.show_status=0 systemd.log_target=journal"]);
    command.arg("-drive").arg(format!("file={},if=virtio,format=raw", disk.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut power = Power(command.spawn().map_err(|e| format!("qemu-system-x86_64: {e}"))?);
    let serial = power.0.stdout.take().ok_or("no serial line")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_string();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let until = Instant::now() + AT_MOST;
    let mut heard: Vec<String> = Vec::new();
    let mut said = Vec::new();
    let next = loop {
        let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) else {
            let last = heard.len().saturating_sub(30);
            let tail = heard.get(last..).unwrap_or_default().join("\n   ");
            return Err(format!("the machine fell silent before its script had ended:\n   {tail}"));
        };
        if verbose {
            eprintln!("   | {line}");
        }
        // A console may have put something before it.
        match line.find("more: ").and_then(|at| line.get(at + 6..)) {
            Some("reboots") => break Next::Reboots,
            Some("dies") => break Next::Dies,
            Some("none") => break Next::Nothing,
            Some(_) | None => {}
        }
        let word = ["ok: ", "FAILED: ", "not run: "].into_iter().find_map(|word| line.find(word));
        said.extend(word.and_then(|at| line.get(at..)).map(str::to_string));
        heard.push(line);
    };
    if next == Next::Reboots {
        // With -no-reboot the emulator ends where a machine would begin anew, and its line with it.
        while lines.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {}
    }
    drop(power);
    // It ends with the line that it reads.
    drop(reader.join());
    Ok(Said { lines: said, next })
}
