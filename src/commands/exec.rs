//! `kin exec`

use crate::caller;
use crate::cli::Face;
use crate::commands::unwritable;
use crate::commands::with_client::{Guard, rest};
use crate::durations;
use crate::input::{self, Input, RawTerminal};
use crate::interrupts::{Interrupts, Ladder};
use crate::listing::json_line;
use crate::printer::{Cleaned, Printer};
use crate::report::{Failure, Fate};
use crate::screen::Screen;
use crate::verdict;
use clap::Args;
use kin_client::api::run::{Serial, TtySize, to_wire};
use kin_client::api::{JobName, Run, RunRequest};
use kin_client::{Client, Error, Events, HandKey, Key, Keyboard, Offsets, Piece};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Run any command under kin, with this directory, environment, umask, limits and nice value.
///
/// Attached, its output and exit code pass through, and Ctrl-C goes to it: once to interrupt it, twice to stop it. It
/// outlives this client: close the terminal and it runs on; kin tail -f follows it again. With --detach its id is
/// printed, and that is all.
///
/// Its two streams are kept apart, and come in the order in which they were written, as far as that is known: to about
/// two milliseconds. It has no terminal: a program that wants one (an editor, a pager, a password, colours) needs --tty.
#[derive(Args, Debug)]
#[command(
    override_usage = "kin exec [OPTIONS] -- CMD [ARG]...",
    after_help = "\
EXAMPLE
  kin exec -- make -j4
  kin exec --tty -- vim notes
  kin exec --detach --id backup --timeout '1h 30m' --no-overlap -- pg_dump app

EXIT CODES
  the command's own, or 128+n when signal n ended it
  127  not found                      126  could not be started
  124  timed out by kin                 5  refused, skipped or cancelled
    3  no server; the run goes on       1  lost
    2  wrong usage                    141  nobody reads the output; the run goes on
  130  interrupted before it was taken  0  with --detach: accepted"
)]
pub(crate) struct ExecArgs {
    /// The job's name; without it, the program's.
    #[arg(long, value_name = "JOB")]
    id: Option<String>,
    /// Print the run's id and leave it to kin.
    #[arg(long, short = 'd')]
    detach: bool,
    /// With --detach: the run as a JSON object, not its id alone.
    #[arg(long, requires = "detach")]
    json: bool,
    /// End it when it has run for so long: 90, 90s, 1h 30m.
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    timeout: Option<Duration>,
    /// Hold it until this latch is released.
    #[arg(long, short = 'p', value_name = "LATCH")]
    pending: Option<String>,
    /// Refuse while another run of the job lives.
    #[arg(long, short = 'o')]
    no_overlap: bool,
    /// Wait until no other run of the job, or of its group, is running.
    #[arg(long, short = 's')]
    serial: bool,
    /// As --serial, with places for so many at once.
    #[arg(long, short = 'm', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_executions: Option<u32>,
    /// As --serial, together with all runs of this group.
    #[arg(long, short = 'g', value_name = "GROUP")]
    execution_group: Option<String>,
    /// Give it a terminal of its own, and this one to that.
    #[arg(long, short = 't', conflicts_with = "bypass_output")]
    tty: bool,
    /// Let it write to our own stdout and stderr; kin keeps nothing of it, and the run ends with this client.
    #[arg(long, short = 'b', conflicts_with = "detach")]
    bypass_output: bool,
    /// With --detach: give it our stdin, a file or a pipe, instead of /dev/null.
    #[arg(long)]
    stdin: bool,
    /// Stop it when this client ends, whatever ends it.
    #[arg(long, conflicts_with = "detach")]
    with_client: bool,
    /// A tag, for listings and as @TAG; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// What kin stop sends first, in place of TERM.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// How long it has after that before KILL.
    #[arg(long, value_name = "TIME", value_parser = durations::parse)]
    stop_wait: Option<Duration>,
    /// Say nothing of our own on stderr.
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Its output as it is, also on a terminal: a progress bar, say. Without it what could move the cursor is shown, not done.
    #[arg(long, conflicts_with = "detach")]
    raw: bool,
    /// The command and its arguments.
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// What a shell says of a program that wrote to a pipe nobody reads: 128 + PIPE.
pub(crate) const NOBODY_READS: u8 = 141;
/// And of one that was interrupted: 128 + INT.
const INTERRUPTED: u8 = 130;
/// How long after a server did not say whether the run has begun.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl ExecArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut request = self.request()?;
        if self.detach {
            self.hand_over(face, &mut request).await?;
            let run = face.client.submit(&request, &Key::random()?).await?;
            face.notices();
            let text = if self.json { json_line(&run).map_err(unwritable)? } else { run.id };
            face.screen.print(&format!("{text}\n"))?;
            return Ok(0);
        }
        let mut interrupts = Interrupts::listen()?;
        // Nothing was asked for yet, so there is nothing to keep a signal for.
        let handed = tokio::select! {
            handed = self.hand_over(face, &mut request) => Some(handed),
            _ = interrupts.next() => None,
        };
        let Some(handed) = handed else { return Ok(INTERRUPTED) };
        let (input, key) = (handed?, Key::random()?);
        let ends_with_us = self.with_client || self.bypass_output;
        let mut guard = ends_with_us.then(|| Guard::of(&key, &request)).transpose()?;
        let Some((accepted, pending)) = interrupts.meanwhile(face.client.submit(&request, &key)).await else {
            // It may have been accepted. Whoever guards it finds that out, and nothing of it goes on.
            drop(guard.map_or_else(|| Guard::of(&key, &request), Ok)?);
            if !self.quiet {
                face.screen.note("the server has not said whether it took the run; it is withdrawn in the background");
            }
            return Ok(INTERRUPTED);
        };
        let run = match accepted {
            Ok(run) => run,
            Err(error) => {
                if let (Error::Refused(_), Some(guard)) = (&error, guard) {
                    guard.release();
                }
                return Err(error.into());
            }
        };
        if let Some(guard) = &mut guard {
            guard.accepted(&run.id);
        }
        face.notices();
        if face.screen.err_terminal && !self.quiet {
            face.screen.note(&introduction(&run));
        }
        match self.attached(face, &run, input, interrupts, pending, guard).await {
            Err(failure @ Failure::Client(_)) => {
                let fate = match ends_with_us {
                    true => Fate::Stopped,
                    false => Fate::of_what_goes_on(face.client.server_lives().unwrap_or(false)),
                };
                Err(Failure::Left { run: run.id, fate, source: Box::new(failure) })
            }
            ended => ended,
        }
    }

    fn request(&self) -> Result<RunRequest, Failure> {
        if let Some(id) = &self.id {
            JobName::parse(id).map_err(|bad| Failure::usage(bad.to_string()))?;
        }
        let stop_signal =
            self.stop_signal.as_deref().map(kin_config::signal::parse).transpose().map_err(Failure::usage)?;
        let stop_signal = stop_signal.map(kin_config::signal::name);
        let serial = (self.serial || self.max_executions.is_some() || self.execution_group.is_some())
            .then(|| Serial { group: self.execution_group.clone(), max: self.max_executions.unwrap_or(1) });
        let size = || input::terminal_size().unwrap_or((24, 80));
        Ok(RunRequest {
            job: self.id.clone(),
            argv: self.command.iter().map(|arg| to_wire(arg.as_bytes())).collect(),
            timeout_ms: self.timeout.map(millis),
            latch: self.pending.clone(),
            no_overlap: self.no_overlap,
            serial,
            hand: None,
            bypass: self.bypass_output,
            tty: self.tty.then(size).map(|(rows, cols)| TtySize { rows, cols }),
            stop_signal,
            stop_wait_ms: self.stop_wait.map(millis),
            tags: self.tags.clone(),
            ..caller::request()?
        })
    }

    /// Gives the keeper what the run is to read, and to write to. A server is there then.
    async fn hand_over(&self, face: &Face, request: &mut RunRequest) -> Result<Input, Failure> {
        let wanted = if self.tty || (self.detach && !self.stdin) { Input::Nothing } else { Input::of_process()? };
        let stdin = std::io::stdin();
        let null;
        let first = match &wanted {
            Input::Typed { .. } if self.detach => {
                return Err(Failure::Usage {
                    message: "stdin is a terminal, which a detached run cannot have".into(),
                    hint: Some("give it a file or a pipe: kin exec --detach --stdin -- CMD < FILE".into()),
                });
            }
            Input::Nothing if !self.bypass_output => {
                face.client.reach().await?;
                return Ok(wanted);
            }
            Input::Nothing => {
                null = File::open("/dev/null")
                    .map_err(|source| Failure::System { what: "could not open /dev/null", source })?;
                null.as_fd()
            }
            // With its output bypassed the run ends with us, and so the terminal stays ours.
            Input::Typed { read, .. } if !self.bypass_output => read.as_fd(),
            Input::Own | Input::Typed { .. } => stdin.as_fd(),
        };
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let fds = [first, out.as_fd(), err.as_fd()];
        let key = HandKey::random()?;
        face.client.reach().await?;
        face.client.hand(key, if self.bypass_output { &fds } else { &fds[..1] }).await?;
        request.hand = Some(key.0);
        Ok(wanted)
    }

    /// From the accepted run to its end.
    async fn attached(
        &self,
        face: &Face,
        run: &Run,
        input: Input,
        mut interrupts: Interrupts,
        pending: Option<&'static str>,
        guard: Option<Guard>,
    ) -> Result<u8, Failure> {
        let mut raw_terminal = None;
        let mut begun = std::pin::pin!(until_begun(&face.client, run));
        let mut typing = false;
        if let Input::Typed { pump, .. } = input
            && !self.bypass_output
        {
            pump.start()?;
        }
        let cleaned = Cleaned::of(&face.screen, self.raw || self.tty);
        let output = output_of(face.client.clone(), face.screen.clone(), run.id.clone(), cleaned, self.quiet);
        let mut output = tokio::spawn(output);
        let mut ladder = Ladder::of(&face.client, &run.id);
        if let Some(name) = pending {
            ladder.pass_on(name, &face.screen);
        }
        let ended = loop {
            tokio::select! {
                ended = &mut output => {
                    break ended.unwrap_or_else(|e| {
                        Err(Failure::System { what: "could not follow the run", source: std::io::Error::other(e) })
                    });
                }
                name = interrupts.next() => ladder.pass_on(name, &face.screen),
                // Until there is a terminal to type into, Ctrl-C is ours.
                () = &mut begun, if self.tty && !typing => {
                    typing = true;
                    raw_terminal = RawTerminal::begin();
                    type_into(Keyboard::of(&face.client, &run.id)?)?;
                }
            }
        };
        drop(raw_terminal);
        match ended {
            Ok(ended) => {
                if let Some(guard) = guard {
                    guard.release();
                }
                if let (Some(sentence), false) = (verdict::sentence(&ended), self.quiet) {
                    face.screen.note(&sentence);
                }
                Ok(verdict::exit_code(&ended))
            }
            // The run goes on, unless the guard stops it now.
            Err(Failure::Closed) => {
                if face.screen.err_terminal && !self.quiet {
                    face.screen.note(&unread(&run.id, guard.is_some()));
                }
                Ok(NOBODY_READS)
            }
            Err(failure) => Err(failure),
        }
    }
}

pub(crate) fn introduction(run: &Run) -> String {
    match (run.state.as_str(), &run.latch) {
        ("held", Some(latch)) => format!("run {} is held; kin release {latch} lets it go", run.id),
        ("queued", _) => format!("run {} waits for its turn", run.id),
        (_, _) => format!("run {}", run.id),
    }
}

pub(crate) fn unread(id: &str, guarded: bool) -> String {
    let what = if guarded { "is being stopped".into() } else { format!("goes on; kin stop {id} ends it") };
    format!("nobody reads its output any more: {id} {what}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Both streams of the run on ours, until it has ended.
pub(crate) async fn output_of(
    client: Client,
    screen: Screen,
    id: String,
    cleaned: Cleaned,
    quiet: bool,
) -> Result<Run, Failure> {
    let mut printer = Printer::new(cleaned);
    let mut reader = client.follow(&id, Offsets::default(), true);
    let mut ended = None;
    while let Some(piece) = reader.next().await? {
        match piece {
            Piece::Bytes { stream, bytes, .. } => printer.write(stream, bytes.into()).await?,
            Piece::Gap { stream, count, .. } if !quiet => {
                screen.note(&format!("{count} bytes of {} were not kept here", stream.word()));
            }
            Piece::Away if !quiet => screen.note(&verdict::away(&client, &id)),
            Piece::Unrecorded(run) if !quiet => screen.note(&verdict::unrecorded(&run, &client)),
            Piece::Gap { .. } | Piece::Away | Piece::Unrecorded(_) => {}
            Piece::End(run) => ended = Some(*run),
        }
    }
    printer.finish().await?;
    ended.ok_or_else(|| Error::Strange { what: "its output ended before the run did".into() }.into())
}

/// Waits until the run has a process, or had one. Whoever follows its output finds out that nobody will ever say so; here a
/// server that is silent, or was shut down, is only asked again.
async fn until_begun(client: &Client, run: &Run) {
    if has_begun(&run.state) {
        return;
    }
    let client = client.of_the_running();
    let mut events = client.events(None, Some(&run.id));
    while has_told(&client, &mut events, &run.id).await.is_err() {
        rest(ASK_AGAIN).await;
    }
}

async fn has_told(client: &Client, events: &mut Events, run: &str) -> Result<(), Error> {
    // First who listens, then the look, so that nothing happens in between.
    events.listening().await?;
    while !has_begun(&client.run(run).await?.state) {
        events.next().await?;
    }
    Ok(())
}

fn has_begun(state: &str) -> bool {
    matches!(state, "running" | "stopping" | "draining" | "ended")
}

/// What is typed goes to the run's terminal, and so does the size of ours.
fn type_into(mut keyboard: Keyboard) -> Result<(), Failure> {
    let mut keys = input::keys()?;
    let mut resized = signal(SignalKind::window_change())
        .map_err(|source| Failure::System { what: "could not listen for signals", source })?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                typed = keys.recv() => match typed {
                    // A run that takes no more input has ended, which its output will say.
                    Some(bytes) => if keyboard.send(&bytes).await.is_err() { return },
                    None => return,
                },
                _ = resized.recv() => {
                    if let Some((rows, cols)) = input::terminal_size() {
                        drop(keyboard.resize(rows, cols).await);
                    }
                }
            }
        }
    });
    Ok(())
}
