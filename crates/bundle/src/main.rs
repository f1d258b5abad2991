//! `haus-am-see`: all programs in one executable, for the container image, where nine of them hold the same libraries
//! nine times. It acts as the program by whose name it is called: the image has a link for each.
//!
//! Promise: whatever a program does on its own it does here, its file aside. Nothing depends on this crate.

use std::{ffi::OsStr, path::Path, process::ExitCode};

type Program = fn() -> ExitCode;

const PROGRAMS: [(&str, Program); 9] = [
    ("catalog", catalog::main),
    ("cdc-relay", cdc_relay::program::main),
    ("haus", haus::main),
    ("lake", lake::main),
    ("ledger", ledger::program::main),
    ("object-server", object_server::main),
    ("registry", registry::main),
    ("s3-sink", s3_sink::main),
    ("seeder", seeder::program::main),
];

/// Usage error, as `clap` reports its own.
const USAGE: u8 = 2;

fn program(called: &OsStr) -> Option<Program> {
    let name = Path::new(called).file_stem()?;
    PROGRAMS.iter().find(|(program, _)| name == *program).map(|(_, main)| *main)
}

fn main() -> ExitCode {
    match std::env::args_os().next().as_deref().and_then(program) {
        Some(main) => main(),
        None => {
            let names = PROGRAMS.map(|(name, _)| name).join(", ");
            eprintln!("haus-am-see: call it by the name of a program, by a link to it: {names}");
            ExitCode::from(USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_name_of_its_link() {
        assert!(program(OsStr::new("/usr/local/bin/lake")).is_some());
        assert!(program(OsStr::new("cdc-relay")).is_some());
        assert!(program(OsStr::new("haus-am-see")).is_none());
        assert!(program(OsStr::new("")).is_none());
    }
}
