//! `kin doctor`

use crate::cli::Face;
use crate::commands::{reload, unwritable};
use crate::definitions;
use crate::listing::json_line;
use crate::report::Failure;
use crate::screen::Colour;
use crate::table::{Cell, Column, Table};
use clap::Args;
use kin_client::api::job::ReloadRequest;
use kin_client::api::server::{Check, Doctor, Server};

/// How the server is: each thing that was looked at, and what to do about it.
///
/// Exits with 1 when something is wrong; a warning is only what could be better.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin doctor\n  kin doctor --json | jq -r .guard")]
pub(crate) struct DoctorArgs {
    /// As a JSON object.
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub(crate) async fn run(self, face: &Face) -> Result<u8, Failure> {
        let mut doctor = face.client.doctor().await?;
        let own = job_files()?;
        let of_the_server = if own.is_none() { clashes(face).await } else { None };
        doctor.checks.extend(own.or(of_the_server));
        let text = if self.json {
            json_line(&doctor).map_err(unwritable)? + "\n"
        } else {
            let server = face.client.server().await?;
            table(&doctor, &server, face.screen.width, face.screen.colour)
        };
        face.screen.print(&text)?;
        Ok(u8::from(doctor.checks.iter().any(|check| check.result == "failed")))
    }
}

/// What the files of the one who asks define: a server goes on with the last good jobs of one that is broken.
fn job_files() -> Result<Option<Check>, Failure> {
    let set = definitions::read(&definitions::directories()?);
    Ok((!set.is_whole()).then(|| Check {
        name: "job files".into(),
        result: "warning".into(),
        message: format!("they have {}; what they said before goes on", set.report.sum()),
        hint: Some("kin check shows them".into()),
    }))
}

/// What only the server knows: that they do not go together with what requests and projects defined.
async fn clashes(face: &Face) -> Option<Check> {
    // Who may not ask for it is told the rest.
    let reload = face.client.reload(&ReloadRequest { plan: true }).await.ok()?;
    let mistake = reload.mistakes.iter().find(|mistake| reload::is_error(mistake))?;
    let (file, message) = (&mistake.file, &mistake.message);
    Some(Check {
        name: "job files".into(),
        result: "warning".into(),
        message: format!("{file} does not hold as it is now: {message}"),
        hint: Some("kin reload --plan shows all of it".into()),
    })
}

fn table(doctor: &Doctor, server: &Server, width: Option<usize>, colour: bool) -> String {
    let mut table = Table::new(["check", "result", "message"].map(Column::new));
    let who = format!("kin {}, pid {}, {}", server.version, server.pid, server.state_dir);
    table.row([Cell::from("server"), Cell::painted("ok", Colour::Green), Cell::from(who)]);
    let guard = if doctor.guard == "whole" { Colour::Green } else { Colour::Yellow };
    table.row([Cell::from("guard"), Cell::painted(&doctor.guard, guard), Cell::from(keepers(server))]);
    for check in &doctor.checks {
        let colour = match check.result.as_str() {
            "ok" => Colour::Green,
            "failed" => Colour::Red,
            _ => Colour::Yellow,
        };
        table.row([
            Cell::from(check.name.as_str()),
            Cell::painted(&check.result, colour),
            Cell::from(check.message.as_str()),
        ]);
        if let Some(hint) = &check.hint {
            table.row([Cell::from(""), Cell::from(""), Cell::painted(format!("hint: {hint}"), Colour::Dim)]);
        }
    }
    table.render(width, colour)
}

fn keepers(server: &Server) -> String {
    let pid = |pid: Option<u32>| pid.map_or("none".to_owned(), |pid| pid.to_string());
    format!("elder {}, keeper {}", pid(server.elder_pid), pid(server.keeper_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_row_and_its_hint_another() {
        let check = |name: &str, result: &str, message: &str, hint: Option<&str>| Check {
            name: name.into(),
            result: result.into(),
            message: message.into(),
            hint: hint.map(str::to_owned),
        };
        let doctor = Doctor {
            ok: true,
            guard: "whole".into(),
            checks: vec![
                check("ledger", "ok", "12 runs", None),
                check("disk", "warning", "94 % full", Some("remove old logs")),
            ],
        };
        let server = Server {
            version: "0.1.0".into(),
            pid: 12,
            state_dir: "/var/lib/kin".into(),
            run_dir: "/run/kin".into(),
            started_at: "2026-11-20T13:54:01.120Z".into(),
            boot: "b".into(),
            guard: "whole".into(),
            durability: "full".into(),
            elder_pid: Some(10),
            keeper_pid: Some(11),
            front_pid: None,
            live_runs: 0,
            ledger: "ok".into(),
            upgrade: None,
        };
        insta::assert_snapshot!(table(&doctor, &server, None, false));
    }
}
