//! What a machine is made of: Debian as debootstrap makes it, its kernel, and a first file system of our own.

use super::cpio::Archive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What must be there, and Debian's package that has it.
const TOOLS: [(&str, &str); 4] = [
    ("debootstrap", "debootstrap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("mke2fs", "e2fsprogs"),
    ("xz", "xz-utils"),
];

/// In what the machine is made of beside the least.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,udev,busybox-static,cron,linux-image-cloud-amd64";

/// What reads a disk; which of them are modules depends on the kernel.
const MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"];

const INIT: &str = include_str!("../../machine/init.sh");
const LIB: &str = include_str!("../../machine/lib.sh");
const TRIAL_UNIT: &str = include_str!("../../machine/trial.service");

/// Says what is missing, or installs it.
pub(super) fn tools(install: bool) -> Result<(), String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the machine is an x86_64 one, and so is the kin in it".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("debootstrap needs root".into());
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let is_there = |name: &str| path.split(':').any(|dir| Path::new(dir).join(name).exists());
    let missing: Vec<&str> = TOOLS.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !install {
        return Err(format!("this needs more programs; with --install it runs: {words}"));
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

/// One release, made once and kept.
#[derive(Debug)]
pub(super) struct Base {
    dir: PathBuf,
}

impl Base {
    pub(super) fn of(suite: &str, dir: &Path) -> Result<Base, String> {
        let base = Base { dir: dir.join(suite) };
        if base.initrd().exists() {
            return Ok(base);
        }
        eprintln!("── {suite}: made once, kept in {}", base.dir.display());
        let io = |e: std::io::Error| format!("{}: {e}", base.dir.display());
        let unfinished = base.dir.join("unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io)?;
        }
        std::fs::create_dir_all(&base.dir).map_err(io)?;
        run(Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite])
            .arg(&unfinished)
            .stdout(Stdio::null()))?;
        std::fs::rename(&unfinished, base.root()).map_err(io)?;
        let kernel = base.find("boot", "vmlinuz-")?;
        std::fs::copy(kernel, base.kernel()).map_err(io)?;
        let initrd = base.first_files()?;
        // What a machine does not use once it runs need not be copied for each trial.
        for large in ["usr/lib/modules", "usr/share/doc", "usr/share/locale", "var/cache/apt", "var/lib/apt", "boot"] {
            drop(std::fs::remove_dir_all(base.root().join(large)));
        }
        // Last: it says that all the rest is there.
        std::fs::write(base.dir.join("initrd.new"), initrd).map_err(io)?;
        std::fs::rename(base.dir.join("initrd.new"), base.initrd()).map_err(io)?;
        Ok(base)
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    fn find(&self, dir: &str, prefix: &str) -> Result<PathBuf, String> {
        let dir = self.root().join(dir);
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let found = entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        found.map(|entry| entry.path()).ok_or(format!("no {prefix}… in {}", dir.display()))
    }

    /// busybox, the modules that read the disk, and a script that goes on from there.
    fn first_files(&self) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        for dir in ["bin", "dev", "proc", "mnt", "lib"] {
            archive.directory(dir);
        }
        let busybox = self.root().join("bin/busybox");
        archive.file("bin/busybox", &std::fs::read(&busybox).map_err(|e| format!("{}: {e}", busybox.display()))?);
        archive.file("init", INIT.as_bytes());
        let modules =
            output(Command::new("find").arg(self.root().join("usr/lib/modules")).args(["-name", "virtio*.ko*"]))?;
        for name in MODULES {
            let is_it = |path: &&str| {
                let file = path.rsplit('/').next().unwrap_or_default();
                file.strip_prefix(name).is_some_and(|rest| rest.starts_with(".ko"))
            };
            let Some(path) = modules.lines().find(is_it) else { continue };
            let content = if path.ends_with(".xz") {
                let out = Command::new("xz").args(["-dc", path]).output().map_err(|e| format!("xz: {e}"))?;
                out.stdout
            } else {
                std::fs::read(path).map_err(|e| format!("{path}: {e}"))?
            };
            archive.file(&format!("lib/{name}.ko"), &content);
        }
        Ok(archive.end())
    }

    /// A disk with this kin and this trial in it.
    pub(super) fn disk(&self, kin: &Path, script: &str) -> Result<tempfile::NamedTempFile, String> {
        let io = |e: std::io::Error| format!("the disk: {e}");
        let root = self.root();
        let put = |path: &str, content: &[u8]| -> Result<(), String> {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().ok_or("no directory")?).map_err(io)?;
            std::fs::write(path, content).map_err(io)
        };
        let contrib = crate::step::root().join("contrib/kin.service");
        put("etc/systemd/system/kin.service", &std::fs::read(contrib).map_err(io)?)?;
        put("etc/systemd/system/trial.service", TRIAL_UNIT.as_bytes())?;
        put("etc/hostname", b"trial\n")?;
        put("trial/lib.sh", LIB.as_bytes())?;
        put("trial/trial.sh", script.as_bytes())?;
        let wants = root.join("etc/systemd/system/multi-user.target.wants");
        std::fs::create_dir_all(&wants).map_err(io)?;
        for (target, link) in [
            ("../trial.service".into(), wants.join("trial.service")),
            // A login would hang up the line that the trial speaks on.
            (PathBuf::from("/dev/null"), root.join("etc/systemd/system/serial-getty@ttyS0.service")),
            (PathBuf::from("/lib/systemd/system/multi-user.target"), root.join("etc/systemd/system/default.target")),
        ] {
            drop(std::fs::remove_file(&link));
            std::os::unix::fs::symlink(target, link).map_err(io)?;
        }
        // Without what a debugger would want it is a fifth.
        let program = root.join("usr/bin/kin");
        std::fs::copy(kin, &program).map_err(io)?;
        run(Command::new("strip").arg("--strip-debug").arg(&program))?;
        let disk = tempfile::Builder::new().prefix("kin-machine-").tempfile_in(&self.dir).map_err(io)?;
        disk.as_file().set_len(1200 << 20).map_err(io)?;
        run(Command::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(disk.path()))?;
        Ok(disk)
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{name}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: {status}")) }
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| format!("{name}: {e}"))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
