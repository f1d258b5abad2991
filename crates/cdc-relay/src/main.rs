//! The program `cdc-relay`; see `program`.

fn main() -> std::process::ExitCode {
    cdc_relay::program::main()
}
