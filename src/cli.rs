//! The command line: every verb, and the words that introduce it.

use crate::clean;
use crate::commands::{
    adopt, check, completions, config, cron, disable, disown, doctor, down, edit, exec, jl, kill, list, list_disabled,
    listen, log, man, next, ps, queue, release, reload, restart, run, scale, serve, show, shutdown, signal, start,
    stop, tail, token, up, upgrade, wait, why, with_client,
};
use crate::report::{self, Failure};
use crate::screen::Screen;
use crate::verdict;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use kin_client::api::Run;
use kin_client::{Client, Error};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Run it, keep it running, know what happened.
#[derive(Debug, Parser)]
#[command(
    name = "kin",
    version,
    disable_help_subcommand = false,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    help_template = TEMPLATE
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

\x1b[1mBegin with\x1b[0m
  kin exec -- make release      any command, run under kin
  kin edit                      jobs of your own: services, schedules, tasks
  kin up                        the jobs of this directory's kin.toml

\x1b[1mJobs\x1b[0m
  list           the jobs that are defined, and how each stands
  show           the definition of a job, and those it had before
  edit           open the file of a job, check it, put it in place
  check          all that is wrong with the files
  reload         read the files again now; --plan says what would change
  config         settings: what holds, where it is written, what may be

\x1b[1mProjects\x1b[0m
  up             the jobs of kin.toml in this directory: start, follow; again after a change
  down           stop them all, and forget them

\x1b[1mRun\x1b[0m
  exec           run any command under kin: output, exit code and Ctrl-C pass through
  adopt          take a process that kin did not start into its care
  disown         give such a process up again: it goes on, and kin watches it no more
  run            run a job now; --wait follows its output and ends as it did
  start          start services, and keep them running
  restart        restart services, one instance after the other or all at once
  scale          give services so many instances: kin scale web=4
  enable         let jobs run again
  disable        keep jobs from running
  list-disabled  the jobs that are disabled
  queue          queues: who has a place, who waits; pause, resume, resize
  release        let the runs go that are held at a latch

\x1b[1mLook\x1b[0m
  ps             runs that live
  log            runs there were, as a table             (history, hist)
  jl             what one run has written                (output)
  tail           last lines of runs, and those to come   (logs)
  listen         what happens, as it happens
  wait           until runs have ended, or a state is reached
  why            the story of a run in words; of a job, how it stands
  next           when jobs are due
  cron           what a schedule does, and when

\x1b[1mEnd\x1b[0m
  stop           ask runs to end, then make them; services stay down
  kill           end runs at once, with all they started
  signal         send runs a signal

\x1b[1mServer\x1b[0m
  serve          the server in the foreground
  shutdown       end the server; runs go on unless told otherwise
  upgrade        replace the server in place; runs notice nothing
  doctor         how the server is, and what to do about it
  token          what opens the API on TCP, where it is offered

\x1b[1mShell\x1b[0m
  completions    verbs and options, for bash, zsh, fish, ...
  man            manual pages

\x1b[1mExit codes\x1b[0m
  0  done                                       1  what was asked about failed, or kin did
  2  wrong usage, setting or KIN_HOME           3  no server, or it does not answer
  4  no such job or run                         5  refused
  124  the time was over                      exec  the command's own: kin help exec

kin VERB --help says more and shows an example. A server is started when a verb needs one.

{options}
";

/// Only the one that is typed is made with all of its arguments: making all of them costs as much as the request.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Edit(edit::EditArgs),
    Check(check::CheckArgs),
    Reload(reload::ReloadArgs),
    Config(config::ConfigArgs),
    Token(token::TokenArgs),
    Up(up::UpArgs),
    Down(down::DownArgs),
    Exec(exec::ExecArgs),
    Adopt(adopt::AdoptArgs),
    Disown(disown::DisownArgs),
    Run(run::RunArgs),
    Start(start::StartArgs),
    Restart(restart::RestartArgs),
    Scale(scale::ScaleArgs),
    Enable(disable::EnableArgs),
    Disable(disable::DisableArgs),
    ListDisabled(list_disabled::ListDisabledArgs),
    Queue(queue::QueueArgs),
    Release(release::ReleaseArgs),
    Ps(ps::PsArgs),
    #[command(visible_aliases = ["history", "hist"])]
    Log(log::LogArgs),
    #[command(visible_alias = "output")]
    Jl(jl::JlArgs),
    #[command(visible_alias = "logs")]
    Tail(tail::TailArgs),
    Listen(listen::ListenArgs),
    Wait(wait::WaitArgs),
    Why(why::WhyArgs),
    Next(next::NextArgs),
    Cron(cron::CronArgs),
    Stop(stop::StopArgs),
    Kill(kill::KillArgs),
    Signal(signal::SignalArgs),
    Serve(serve::ServeArgs),
    Shutdown(shutdown::ShutdownArgs),
    Upgrade(upgrade::UpgradeArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[command(hide = true)]
    WithClient(with_client::WithClientArgs),
}

/// What every verb is given.
#[derive(Clone)]
pub(crate) struct Face {
    pub(crate) client: Client,
    pub(crate) screen: Screen,
}

impl Face {
    /// The run once it has ended; that its end cannot be recorded yet is said.
    pub(crate) async fn wait(&self, id: &str) -> Result<Run, Failure> {
        let told = |run: &Run| self.screen.note(&verdict::unrecorded(run, &self.client));
        let ended = self.client.wait_told(id, None, told).await?;
        ended.ok_or_else(|| Error::Strange { what: "waiting ended before the run did".into() }.into())
    }

    /// What a server that was started on the way had to say, on stderr.
    pub(crate) fn notices(&self) {
        for notice in self.client.take_notices() {
            notice.lines().for_each(|line| self.screen.note(line.strip_prefix("kin: ").unwrap_or(line)));
        }
    }
}

pub(crate) fn main(become_front: fn(&[OsString]) -> ExitCode) -> ExitCode {
    let matches = Cli::command().try_get_matches_from(as_meant(std::env::args_os().collect()));
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    match cli {
        Ok(Cli { verb: Verb::Serve(args) }) => args.run(become_front),
        Ok(Cli { verb: Verb::Completions(args) }) => report::exit(args.run(for_people())),
        Ok(Cli { verb: Verb::Man(args) }) => report::exit(args.run(for_people())),
        Ok(Cli { verb: Verb::Cron(args) }) => report::exit(args.run(&Screen::of_process())),
        // Files alone: no server is asked for, and none is started.
        Ok(Cli { verb: Verb::Check(args) }) => report::exit(args.run(&Screen::of_process())),
        Ok(Cli { verb: Verb::Config(args) }) => report::exit(args.run(&Screen::of_process())),
        Ok(Cli { verb: Verb::Token(args) }) => report::exit(args.run(&Screen::of_process())),
        Ok(Cli { verb }) => {
            let result = kin_client::block_on(perform(verb));
            report::exit(result.unwrap_or_else(|source| Err(Failure::System { what: "could not begin", source })))
        }
        Err(words) => {
            let code = if words.use_stderr() { 2 } else { 0 };
            // They repeat what was typed, which may have come from anywhere.
            if words.use_stderr() && std::io::stderr().is_terminal() {
                // A terminal that is gone shows nothing to anybody.
                drop(std::io::stderr().lock().write_all(clean::text(&words.render().ansi().to_string()).as_bytes()));
                return ExitCode::from(code);
            }
            match words.print() {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::from(1),
                Ok(()) | Err(_) => ExitCode::from(code),
            }
        }
    }
}

/// What other tools have taught fingers to type.
fn as_meant(mut args: Vec<OsString>) -> Vec<OsString> {
    let word = |n: usize| args.get(n).and_then(|arg| arg.to_str());
    match (word(1), word(2)) {
        (Some("help"), Some("--help" | "-h")) => args.truncate(2),
        (Some("version"), None) => args[1] = "--version".into(),
        (_, _) => {}
    }
    args
}

/// The command line without what nobody types, for shells and `man`.
fn for_people() -> Command {
    let mut cli = Cli::command();
    cli.build();
    let is_typed = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    let verbs: Vec<Command> = cli.get_subcommands().filter(is_typed).cloned().collect();
    Command::new("kin")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run it, keep it running, know what happened.")
        .subcommands(verbs)
}

async fn perform(verb: Verb) -> Result<u8, Failure> {
    let face = Face { client: Client::of_process()?, screen: Screen::of_process() };
    let result = match verb {
        Verb::List(args) => args.run(&face).await,
        Verb::Show(args) => args.run(&face).await,
        Verb::Reload(args) => args.run(&face).await,
        Verb::Edit(args) => args.run(&face).await,
        Verb::Up(args) => args.run(&face).await,
        Verb::Down(args) => args.run(&face).await,
        Verb::Exec(args) => args.run(&face).await,
        Verb::Adopt(args) => args.run(&face).await,
        Verb::Disown(args) => args.run(&face).await,
        Verb::Run(args) => args.run(&face).await,
        Verb::Start(args) => args.run(&face).await,
        Verb::Restart(args) => args.run(&face).await,
        Verb::Scale(args) => args.run(&face).await,
        Verb::Enable(args) => args.run(&face).await,
        Verb::Disable(args) => args.run(&face).await,
        Verb::ListDisabled(args) => args.run(&face).await,
        Verb::Queue(args) => args.run(&face).await,
        Verb::Release(args) => args.run(&face).await,
        Verb::Ps(args) => args.run(&face).await,
        Verb::Log(args) => args.run(&face).await,
        Verb::Jl(args) => args.run(&face).await,
        Verb::Tail(args) => args.run(&face).await,
        Verb::Listen(args) => args.run(&face).await,
        Verb::Wait(args) => args.run(&face).await,
        Verb::Why(args) => args.run(&face).await,
        Verb::Next(args) => args.run(&face).await,
        Verb::Stop(args) => args.run(&face).await,
        Verb::Kill(args) => args.run(&face).await,
        Verb::Signal(args) => args.run(&face).await,
        Verb::Serve(_)
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::Cron(_)
        | Verb::Check(_)
        | Verb::Config(_)
        | Verb::Token(_) => Err(Failure::usage("it asks no server")),
        Verb::Shutdown(args) => args.run(&face).await,
        Verb::Upgrade(args) => args.run(&face).await,
        Verb::Doctor(args) => args.run(&face).await,
        Verb::WithClient(args) => args.run(&face).await,
    };
    face.notices();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_sentence_and_an_example() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        for verb in cli.get_subcommands_mut().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let help = plain(&verb.render_long_help().to_string());
            assert!(help.contains("EXAMPLE"), "{help}");
            assert!(TEMPLATE.contains(&format!("\n  {} ", verb.get_name())), "{} in the list", verb.get_name());
            insta::assert_snapshot!(format!("help_{}", verb.get_name()), help);
        }
    }

    #[test]
    fn the_first_page() {
        insta::assert_snapshot!(plain(&Cli::command().term_width(100).render_long_help().to_string()));
    }
}
