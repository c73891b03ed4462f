//! The hands. Stands in until the real one is merged.

pub mod daemon {
    pub fn main(args: &[std::ffi::OsString]) -> std::process::ExitCode {
        eprintln!("kin: no daemon yet: {args:?}");
        std::process::ExitCode::from(1)
    }
}

pub mod front {
    pub fn serve(args: &[std::ffi::OsString]) -> std::process::ExitCode {
        eprintln!("kin: no front yet: {args:?}");
        std::process::ExitCode::from(1)
    }
}
