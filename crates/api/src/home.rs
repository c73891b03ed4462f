//! Where kin's files are. Server and clients must agree on it, so it stands in the contract.
//!
//! `$KIN_HOME`, else `~/.kin_dir` if it exists, else XDG; root with none of these in its environment: `/etc/kin` and
//! `/var/lib/kin`. The runtime directory is chosen by the server alone, which leaves a symlink `<state>/run`: every client
//! follows that, and never works it out anew.
//!
//! A relative `KIN_HOME` is refused. Made absolute it would name another server from every directory, and a run would be
//! looked for where it is not; passed over it would name one that nobody meant. A relative `XDG_*` is passed over, as the
//! XDG specification says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Where job files are read from, in order of precedence; the first is where new ones are written.
    pub config: Vec<PathBuf>,
    pub state: PathBuf,
    /// Root's own, outside any user's home.
    pub system: bool,
}

/// Why nobody can say where kin's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoHome {
    /// Neither KIN_HOME, nor HOME, nor XDG_STATE_HOME says where.
    Unsaid,
    /// KIN_HOME does not begin with a `/`.
    Relative(PathBuf),
}

impl std::fmt::Display for NoHome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoHome::Unsaid => f.write_str(
                "no place for kin's files: neither KIN_HOME nor HOME nor XDG_STATE_HOME is set to an absolute path",
            ),
            NoHome::Relative(home) => {
                write!(
                    f,
                    "KIN_HOME is {:?}: not an absolute path, so each directory would have a server of its own",
                    home
                )
            }
        }
    }
}
impl std::error::Error for NoHome {}

impl Home {
    /// Reads the process's own environment.
    pub fn of_process(root: bool) -> Result<Home, NoHome> {
        Home::find(&|name| std::env::var_os(name), root, &|path| path.exists())
    }

    /// `env` looks up a variable; `exists` a path; `root`: the effective uid is 0.
    pub fn find(
        env: &dyn Fn(&str) -> Option<OsString>,
        root: bool,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<Home, NoHome> {
        let dir = |name: &str| env(name).map(PathBuf::from).filter(|p| p.is_absolute());
        if let Some(home) = env("KIN_HOME").map(PathBuf::from).filter(|home| !home.as_os_str().is_empty()) {
            if home.is_relative() {
                return Err(NoHome::Relative(home));
            }
            return Ok(Home { state: home.join("state"), config: vec![home], system: false });
        }
        let user_home = dir("HOME");
        let pm_dir = user_home.iter().map(|h| h.join(".pm_dir"));
        if let Some(kin_dir) = user_home.as_ref().map(|h| h.join(".kin_dir")).filter(|p| exists(p)) {
            let state = kin_dir.join("state");
            return Ok(Home { config: std::iter::once(kin_dir).chain(pm_dir).collect(), state, system: false });
        }
        let (config, state) = (dir("XDG_CONFIG_HOME"), dir("XDG_STATE_HOME"));
        if root && config.is_none() && state.is_none() {
            return Ok(Home { config: vec!["/etc/kin".into()], state: "/var/lib/kin".into(), system: true });
        }
        let or = |given: Option<PathBuf>, below: &str| given.or_else(|| user_home.as_ref().map(|h| h.join(below)));
        let config = or(config, ".config").ok_or(NoHome::Unsaid)?.join("kin");
        let state = or(state, ".local/state").ok_or(NoHome::Unsaid)?.join("kin");
        Ok(Home { config: std::iter::once(config).chain(pm_dir).collect(), state, system: false })
    }

    pub fn run_link(&self) -> PathBuf {
        self.state.join("run")
    }
    /// The native API's socket, by the server's own symlink.
    pub fn socket(&self) -> PathBuf {
        self.run_link().join("kin.sock")
    }
    /// The keeper's small door for descriptors.
    pub fn hand_socket(&self) -> PathBuf {
        self.run_link().join("hand.sock")
    }
    pub fn lock(&self) -> PathBuf {
        self.state.join("server.lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(vars: &[(&str, &str)], root: bool, there: &[&str]) -> Result<Home, NoHome> {
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Home::find(&env, root, &|path| there.iter().any(|t| Path::new(t) == path))
    }

    #[test]
    fn what_the_environment_says_wins_for_root_too() {
        let home = find(&[("KIN_HOME", "/k"), ("HOME", "/root")], true, &["/root/.kin_dir"]).expect("a home");
        assert_eq!((home.state.to_str(), home.config.len()), (Some("/k/state"), 1));
        let home = find(&[("XDG_STATE_HOME", "/x"), ("HOME", "/root")], true, &[]).expect("a home");
        assert_eq!(home.state.to_str(), Some("/x/kin"));
    }

    #[test]
    fn a_relative_home_is_refused_by_name_and_an_empty_one_is_none() {
        let refused = find(&[("KIN_HOME", "k"), ("HOME", "/h")], false, &[]).expect_err("no home");
        assert_eq!(refused, NoHome::Relative("k".into()));
        assert!(refused.to_string().contains("\"k\""), "{refused}");
        let home = find(&[("KIN_HOME", ""), ("HOME", "/h")], false, &[]).expect("a home");
        assert_eq!(home.state.to_str(), Some("/h/.local/state/kin"));
        let home = find(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")], false, &[]).expect("a home");
        assert_eq!(home.state.to_str(), Some("/h/.local/state/kin"), "as XDG says");
    }

    #[test]
    fn roots_own_directory_comes_before_the_system() {
        let home = find(&[("HOME", "/root")], true, &["/root/.kin_dir"]).expect("a home");
        assert_eq!((home.state.to_str(), home.system), (Some("/root/.kin_dir/state"), false));
    }

    #[test]
    fn kinetics_directory_is_used_where_it_exists() {
        let home = find(&[("HOME", "/h")], false, &["/h/.kin_dir"]).expect("a home");
        assert_eq!(home.state.to_str(), Some("/h/.kin_dir/state"));
        assert_eq!(home.config, [Path::new("/h/.kin_dir"), Path::new("/h/.pm_dir")]);
    }

    #[test]
    fn root_without_any_of_them_is_the_system() {
        let home = find(&[("HOME", "/root")], true, &[]).expect("a home");
        assert_eq!((home.state.to_str(), home.system), (Some("/var/lib/kin"), true));
    }

    #[test]
    fn a_login_is_xdg_and_nothing_at_all_is_refused() {
        let home = find(&[("HOME", "/h")], false, &[]).expect("a home");
        assert_eq!(home.state.to_str(), Some("/h/.local/state/kin"));
        assert_eq!(find(&[("HOME", "relative")], false, &[]), Err(NoHome::Unsaid));
    }
}
